"""From chosen candidates to the files of a data set, in the layout that rft/data/readers/personamem_v2.py reads."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rft.assembly.blocks import Block
from rft.assembly.filler import full_filler
from rft.assembly.history import Filler, History, make_folders, write_histories
from rft.assembly.table import CsvName, write_table, written_answers, written_messages, written_query
from rft.making.candidates import Candidate
from rft.making.config import MakingConfig
from rft.making.people import Person
from rft.making.rounds import Made
from rft.making.schemas import cleaned
from rft.making.seeds import rng_of
from rft.making.talks import Subject


def write_dataset(config: MakingConfig, made: Made, filler: Filler) -> tuple[Path, dict[str, int]]:
    """Writes OUTPUT_DIR/dataset, all at once: what was there before stays until the new one is whole.

    Returns:
        The folder; and for each window how many histories are longer, since the chats that their questions need are.
    """
    folder = Path(config.output_dir) / "dataset"
    part = folder.with_name("dataset.part")
    shutil.rmtree(part, ignore_errors=True)
    make_folders(part, tuple(config.history.windows))
    longer = dict.fromkeys(map(str, config.history.windows), 0)
    for split, chosen in made.chosen.items():
        rows = list(split_rows(config, made, split, chosen, part, filler))
        write_table(part, split, rows)
        for window, budget in config.history.windows.items():
            column = f"total_tokens_in_chat_history_{window}"
            longer[window] += len({row["persona_id"] for row in rows if row[column] > budget})
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    return folder, longer


def split_rows(
    config: MakingConfig, made: Made, split: CsvName, chosen: Sequence[Candidate], root: Path, filler: Filler
) -> Iterator[dict[str, Any]]:
    """The rows of one table, persona by persona; their histories are written on the way."""
    ids = {one.slot.id for one in chosen}
    for number in sorted({one.slot.persona for one in chosen}):
        mine = [one for one in chosen if one.slot.persona == number]
        spare = [
            one
            for one in made.candidates
            if one.passes and one.slot.persona == number and one.slot.split == split and one.slot.id not in ids
        ]
        yield from persona_rows(config, made.people[number], mine, spare, root, filler)


def persona_rows(
    config: MakingConfig,
    person: Person,
    chosen: Sequence[Candidate],
    spare: Sequence[Candidate],
    root: Path,
    filler: Filler,
) -> list[dict[str, Any]]:
    """
    Args:
        chosen: whose questions are asked.
        spare: whose conversations stand in the history as far as there is room.
    """
    blocks = [
        *(block for fact, one in enumerate(chosen) for block in blocks_of(config.seed, one, fact)),
        *(block for one in spare for block in blocks_of(config.seed, one, None)),
    ]
    raw_file = f"data/raw_data/raw_data_seed{config.seed}_persona{person.number}.json"
    write_raw(root / raw_file, person)
    history = History(
        persona_id=person.number,
        file_name=f"chat_history_seed{config.seed}_persona{person.number}.json",
        raw_persona_file=raw_file,
        card=f"The user of this chat:\n\n{person.expanded}\n\nAnswer in a way that fits this person.",
        blocks=blocks,
        num_facts=len(chosen),
    )
    rng = rng_of(config.seed, "history", person.number)
    columns = write_histories(rng, root, history, config.history.windows, filler)
    return [row | question_columns(person, raw_file, one) for row, one in zip(columns, chosen, strict=True)]


def write_raw(path: Path, person: Person) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    preferences = {kind: list(items.values()) for kind, items in person.preferences.items()}
    whole = {"persona": person.sentence, "expanded_persona": person.card, "preferences": preferences}
    path.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")


def blocks_of(seed: int, one: Candidate, fact: int | None) -> list[Block]:
    """A candidate's conversations; each later one stands after those before it.

    Args:
        fact: the question's number among those of the persona; None where its conversations are spare.
    """
    rng = rng_of(seed, "places", one.slot.id)
    place, blocks = rng.random(), []
    for number, messages in enumerate(one.talks):
        is_last = number == len(one.talks) - 1
        blocks.append(
            Block(
                place=place,
                messages=messages,
                fact=fact if is_last else None,
                scenario=one.slot.scenario,
                spare=fact is None,
            )
        )
        place = rng.uniform(place, 1.0)
    return blocks


def question_columns(person: Person, raw_file: str, one: Candidate) -> dict[str, Any]:
    """The columns of one question that do not depend on the window."""
    assert one.question is not None and one.subject is not None
    variant = one.slot.cell.variant
    return {
        "persona_id": person.number,
        "raw_persona_file": raw_file,
        "short_persona": repr({"persona": person.sentence}),
        "expanded_persona": person.expanded,
        "user_query": written_query(one.question.query),
        "correct_answer": one.question.right,
        "incorrect_answers": written_answers(one.question.wrong),
        "topic_query": one.question.topic,
        "preference": preference_text(one.subject),
        "topic_preference": one.subject.topic,
        "conversation_scenario": one.slot.scenario,
        "pref_type": one.slot.cell.pref_type,
        "related_conversation_snippet": written_messages(one.talks[-1]),
        "who": one.slot.cell.who,
        "updated": variant == "updated",
        "prev_pref": one.subject.opposite if variant == "updated" else "",
        "sensitive_info": variant == "secret",
    }


def preference_text(subject: Subject) -> str:
    """As the release has it."""
    if subject.secret:
        return "sensitive_info"
    if subject.slot.cell.variant == "forget":
        return f"Do not remember '{subject.preference}' in memory"
    return subject.preference


# ---------------------------------------------------------------------------------------------------------- filler


def filler_of(config: MakingConfig) -> Filler:
    """What stands between the conversations: our own, or that of a file.

    Raises:
        ValueError: a file that cannot be read, or a line of it.
    """
    if config.history.filler is None:
        return full_filler
    path = Path(config.history.filler)
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"history.filler: {path} cannot be read ({error}); name a JSON lines file") from None
    found = [read_exchange(path, number, line) for number, line in enumerate(lines, 1)]
    if not found:
        raise ValueError(f"history.filler: {path} is empty; leave the key out to use our own filler")

    def draw(rng: random.Random) -> tuple[str, str]:
        return rng.choice(found)

    return draw


def read_exchange(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        found = cleaned(json.loads(line))
        user, assistant = found["user"], found["assistant"]
    except (ValueError, KeyError, TypeError):
        user = assistant = None
    if not (isinstance(user, str) and isinstance(assistant, str) and user and assistant):
        raise ValueError(f'history.filler: {path} line {number} is no object with texts as "user" and "assistant"')
    return user, assistant
