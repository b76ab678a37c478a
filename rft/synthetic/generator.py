"""A data set in the released layout of PersonaMem-v2, written without any model or network.

    write_dataset("out", num_personas=1000, questions_per_persona=25, history_tokens=32_000, seed=0)

What each question is about is drawn first (`Fact`), then the conversations that show it (`Block`) among filler.

No shortcut: the values a question offers are drawn together and one of them is then made the right one, all options
share one sentence, and per 25 questions the generic reply is right in 4 of the 17 that offer it. So the longest, the
shortest, the most frequent or the generic option is right about one time in four.

For the kinds that a careless reader gets wrong, `incorrect_answers[0]` is what such a reader picks: the value that was
replaced, that was to be forgotten, that is another person's, or the number that should stay hidden. Options are
shuffled when they are shown, so the position in the file gives nothing away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from rft.assembly import filler
from rft.assembly.blocks import Block
from rft.assembly.history import History, make_folders, write_histories
from rft.assembly.table import CsvName, Window, write_table, written_answers, written_messages, written_query
from rft.synthetic import wording as text
from rft.synthetic.conversations import fact_blocks
from rft.synthetic.personas import Fact, draw_facts, draw_persona, expanded_persona, kinds_of, persona_card
from rft.synthetic.questions import likes, pref_type, preference, question_texts

WINDOW_FACTOR: dict[Window, int] = {"32k": 1, "128k": 4}
"""Length of a window's histories as a multiple of `history_tokens`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a persona's history and questions depend on, besides its number."""

    questions_per_persona: int
    history_tokens: int
    seed: int
    style: text.Style
    decoys: float
    windows: tuple[Window, ...]


def write_dataset(
    root: str | Path,
    *,
    num_personas: int,
    questions_per_persona: int = 25,
    history_tokens: int = 32_000,
    seed: int = 0,
    style: text.Style = "full",
    decoys: float = 0.5,
    num_val_personas: int | None = None,
    num_benchmark_personas: int | None = None,
    windows: Sequence[Window] = ("32k",),
    progress: bool = False,
) -> None:
    """Writes benchmark/text/{train,val,benchmark}.csv and data/chat_history_<window>/*.json under `root`.

    The same arguments write the same bytes. The three files share no persona. `raw_persona_file` and the links of
    windows that are not written name files that do not exist.

    Args:
        history_tokens: content tokens (`count_tokens`) up to which filler is added to a 32k history; a 128k one takes
            four times as many. What the questions are about is always there, about 7,000 tokens for 25 questions in
            the full style, 50 a question in the brief one.
        style: `full` has long texts as in the release, `brief` fits many questions into a few hundred tokens.
        decoys: probability that a wrong value of a question is mentioned in the history, too.
        num_val_personas, num_benchmark_personas: a tenth of the personas each by default.

    Raises:
        ValueError: more questions than topics, too few personas.
    """
    settings = Settings(
        questions_per_persona=questions_per_persona,
        history_tokens=history_tokens,
        seed=seed,
        style=style,
        decoys=decoys,
        windows=tuple(windows),
    )
    num_val = max(1, num_personas // 10) if num_val_personas is None else num_val_personas
    num_benchmark = max(1, num_personas // 10) if num_benchmark_personas is None else num_benchmark_personas
    num_train = num_personas - num_val - num_benchmark
    check(settings, num_train, num_val, num_benchmark)
    root = Path(root)
    make_folders(root, settings.windows)
    start = 0
    with tqdm(total=num_personas, desc="write personas", disable=not progress) as bar:
        parts: tuple[tuple[CsvName, int], ...] = (("train", num_train), ("val", num_val), ("benchmark", num_benchmark))
        for name, count in parts:
            write_table(root, name, persona_rows(root, range(start, start + count), settings, bar))
            start += count


def check(settings: Settings, num_train: int, num_val: int, num_benchmark: int) -> None:
    if min(num_train, num_val, num_benchmark) < 1:
        raise ValueError(f"{num_train} train, {num_val} val, {num_benchmark} benchmark personas: each needs at least 1")
    most = len(text.STYLE_TOPICS[settings.style])
    if not 1 <= settings.questions_per_persona <= most:
        asked = settings.questions_per_persona
        raise ValueError(f"questions_per_persona is {asked}; the {settings.style} style has topics for 1 to {most}")


# ---------------------------------------------------------------------------------------------------- one persona


def persona_rows(
    root: Path, persona_ids: Sequence[int], settings: Settings, bar: tqdm[Any]
) -> Iterator[dict[str, Any]]:
    for persona_id in persona_ids:
        yield from write_persona(root, persona_id, settings)
        bar.update()


def write_persona(root: Path, persona_id: int, settings: Settings) -> list[dict[str, Any]]:
    """Writes the histories of one persona and returns its CSV rows."""
    rng = random.Random(f"persona {settings.seed} {persona_id}")
    persona = draw_persona(rng)
    facts = draw_facts(
        rng, kinds_of(persona_id, settings.questions_per_persona, settings.seed), text.STYLE_TOPICS[settings.style]
    )
    blocks = [
        block
        for index, fact in enumerate(facts)
        for block in fact_blocks(rng, index, fact, settings.style, settings.decoys)
    ]
    history = History(
        persona_id=persona_id,
        file_name=f"chat_history_seed{settings.seed}_persona{persona_id}.json",
        raw_persona_file=raw_persona_file(persona_id),
        card=persona_card(persona, settings.style),
        blocks=blocks,
        num_facts=len(facts),
    )
    budgets = {window: settings.history_tokens * WINDOW_FACTOR[window] for window in settings.windows}
    draw = filler.full_filler if settings.style == "full" else filler.brief_filler
    columns = write_histories(rng, root, history, budgets, draw)
    shown = {block.fact: block for block in sorted(blocks, key=lambda block: block.place) if block.fact is not None}
    return [
        row | question_columns(rng, persona_id, persona, fact, shown[index], settings.style)
        for index, (row, fact) in enumerate(zip(columns, facts, strict=True))
    ]


def raw_persona_file(persona_id: int) -> str:
    return f"data/raw_data/raw_data_synthetic_persona{persona_id}.json"


def question_columns(
    rng: random.Random, persona_id: int, persona: dict[str, Any], fact: Fact, shown: Block, style: text.Style
) -> dict[str, Any]:
    """The columns of one question that do not depend on the window."""
    query, correct, incorrect = question_texts(rng, fact, style)
    return {
        "persona_id": persona_id,
        "raw_persona_file": raw_persona_file(persona_id),
        "short_persona": repr(persona["short_persona"]),
        "expanded_persona": expanded_persona(persona),
        "user_query": written_query(query),
        "correct_answer": correct,
        "incorrect_answers": written_answers(incorrect),
        "topic_query": fact.name,
        "preference": preference(fact),
        "topic_preference": fact.name,
        "conversation_scenario": shown.scenario,
        "pref_type": pref_type(fact, persona["leaning"]),
        "related_conversation_snippet": written_messages(shown.messages),
        "who": "others" if fact.kind == "others" else "self",
        "updated": fact.kind == "updated",
        "prev_pref": likes(fact.values[1], fact.name) if fact.kind == "updated" else "",
        "sensitive_info": fact.kind == "sensitive",
    }
