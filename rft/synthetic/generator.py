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

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from rft.synthetic import wording as text
from rft.synthetic.conversations import Block, count_tokens, fact_blocks, fill
from rft.synthetic.personas import Fact, draw_facts, draw_persona, expanded_persona, kinds_of, persona_card
from rft.synthetic.questions import likes, pref_type, preference, question_texts

Window = Literal["32k", "128k"]

WINDOW_FACTOR: dict[Window, int] = {"32k": 1, "128k": 4}
"""Length of a window's histories as a multiple of `history_tokens`."""

NUMBER_COLUMNS = (
    "total_tokens_in_chat_history",
    "num_persona_relevant_tokens",
    "num_persona_irrelevant_tokens",
    "distance_from_related_snippet_to_query",
)

COLUMNS = (
    "persona_id",
    "chat_history_32k_link",
    "chat_history_128k_link",
    "raw_persona_file",
    "short_persona",
    "expanded_persona",
    "user_query",
    "correct_answer",
    "incorrect_answers",
    "topic_query",
    "preference",
    "topic_preference",
    "conversation_scenario",
    "pref_type",
    "related_conversation_snippet",
    "who",
    "updated",
    "prev_pref",
    "sensitive_info",
    "total_tokens_in_chat_history_32k",
    "total_tokens_in_chat_history_128k",
    "distance_from_related_snippet_to_query_32k",
    "distance_from_related_snippet_to_query_128k",
    "num_persona_relevant_tokens_32k",
    "num_persona_relevant_tokens_128k",
    "num_persona_irrelevant_tokens_32k",
    "num_persona_irrelevant_tokens_128k",
)


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
    for window in settings.windows:
        (root / f"data/chat_history_{window}").mkdir(parents=True, exist_ok=True)
    (root / "benchmark/text").mkdir(parents=True, exist_ok=True)
    start = 0
    with tqdm(total=num_personas, desc="write personas", disable=not progress) as bar:
        for name, count in (("train", num_train), ("val", num_val), ("benchmark", num_benchmark)):
            with (root / f"benchmark/text/{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                for persona_id in range(start, start + count):
                    writer.writerows(write_persona(root, persona_id, settings))
                    bar.update()
            start += count


def check(settings: Settings, num_train: int, num_val: int, num_benchmark: int) -> None:
    if min(num_train, num_val, num_benchmark) < 1:
        raise ValueError(f"{num_train} train, {num_val} val, {num_benchmark} benchmark personas: each needs at least 1")
    most = len(text.STYLE_TOPICS[settings.style])
    if not 1 <= settings.questions_per_persona <= most:
        asked = settings.questions_per_persona
        raise ValueError(f"questions_per_persona is {asked}; the {settings.style} style has topics for 1 to {most}")


# ---------------------------------------------------------------------------------------------------- one persona


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
    columns: list[dict[str, Any]] = [{} for _ in facts]
    for window in WINDOW_FACTOR:
        link = f"data/chat_history_{window}/chat_history_seed{settings.seed}_persona{persona_id}.json"
        numbers: list[dict[str, Any]] = [
            dict.fromkeys((f"{name}_{window}" for name in NUMBER_COLUMNS), 0) for _ in facts
        ]
        if window in settings.windows:
            budget = settings.history_tokens * WINDOW_FACTOR[window]
            numbers = write_history(rng, root / link, persona_id, persona, blocks, window, budget, settings.style)
        for row, number in zip(columns, numbers, strict=True):
            row |= {f"chat_history_{window}_link": link} | number
    shown = {block.fact: block for block in sorted(blocks, key=lambda block: block.place) if block.fact is not None}
    return [
        row | question_columns(rng, persona_id, persona, fact, shown[index], settings.style)
        for index, (row, fact) in enumerate(zip(columns, facts, strict=True))
    ]


def write_history(
    rng: random.Random,
    path: Path,
    persona_id: int,
    persona: dict[str, Any],
    blocks: Sequence[Block],
    window: str,
    budget: int,
    style: text.Style,
) -> list[dict[str, Any]]:
    """Writes `blocks` among filler up to `budget` tokens; returns each fact's token counts, in order of the facts."""
    card = {"role": "system", "content": persona_card(persona, style)}
    total = count_tokens(card["content"]) + sum(block.tokens for block in blocks)
    blocks = [*blocks, *fill(rng, budget - total, style)]
    blocks.sort(key=lambda block: block.place)
    total += sum(block.tokens for block in blocks if not block.relevant)
    irrelevant = sum(block.tokens for block in blocks if not block.relevant)
    messages = [card, *(message for block in blocks for message in block.messages)]
    metadata = {
        "total_messages": len(messages),
        "final_token_count": total,
        "persona_id": persona_id,
        "input_filename": raw_persona_file(persona_id),
    }
    if window == "128k":
        metadata |= {"num_relevant_tokens": total - irrelevant, "num_irrelevant_tokens": irrelevant}
    payload = {"metadata": metadata, "chat_history": messages}
    path.write_text(json.dumps(payload, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    distances: dict[int, int] = {}
    behind = 0
    for block in reversed(blocks):
        behind += block.tokens
        if block.fact is not None:
            distances[block.fact] = behind
    counts = (total, total - irrelevant, irrelevant)
    names = [f"{name}_{window}" for name in NUMBER_COLUMNS]
    return [dict(zip(names, (*counts, distances[index]), strict=True)) for index in sorted(distances)]


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
        "user_query": repr({"role": "user", "content": query}),
        "correct_answer": correct,
        "incorrect_answers": json.dumps(incorrect),
        "topic_query": fact.name,
        "preference": preference(fact),
        "topic_preference": fact.name,
        "conversation_scenario": shown.scenario,
        "pref_type": pref_type(fact, persona["leaning"]),
        "related_conversation_snippet": json.dumps(shown.messages, ensure_ascii=False),
        "who": "others" if fact.kind == "others" else "self",
        "updated": fact.kind == "updated",
        "prev_pref": likes(fact.values[1], fact.name) if fact.kind == "updated" else "",
        "sensitive_info": fact.kind == "sensitive",
    }
