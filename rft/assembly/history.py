"""From conversations to the history of one persona: filler up to a budget, the JSON file, the numbers of the table.

Whoever makes data in the released layout of PersonaMem-v2 (arXiv 2512.06688), from word lists or with a language model,
writes its histories here.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.assembly.blocks import Block, count_tokens, exchange
from rft.assembly.table import WINDOWS, Window

Filler = Callable[[random.Random], tuple[str, str]]
"""Draws what the user asks and what the assistant answers."""

NUMBER_COLUMNS = (
    "total_tokens_in_chat_history",
    "num_persona_relevant_tokens",
    "num_persona_irrelevant_tokens",
    "distance_from_related_snippet_to_query",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What one persona's histories are made of.

    Example:
        History(persona_id=7, file_name="chat_history_seed0_persona7.json", raw_persona_file="data/raw_data/...json",
                card="You talk with this person: ...", blocks=(Block(...), ...), num_facts=25)
    """

    persona_id: int
    file_name: str
    """The same in the folder of each window."""
    raw_persona_file: str
    card: str
    """The system message at the beginning."""
    blocks: Sequence[Block]
    num_facts: int
    """Each question's fact has one block, its evidence."""


def make_folders(root: Path, windows: Sequence[Window]) -> None:
    for window in windows:
        (root / f"data/chat_history_{window}").mkdir(parents=True, exist_ok=True)


def write_histories(
    rng: random.Random, root: Path, history: History, budgets: Mapping[Window, int], filler: Filler
) -> list[dict[str, Any]]:
    """Writes one history per window; returns each fact's columns of links and numbers, in order of the facts.

    Args:
        budgets: content tokens (`count_tokens`) up to which a window's history is filled. Windows without one get a
            link to a file that does not exist, and zeros.
    """
    columns: list[dict[str, Any]] = [{} for _ in range(history.num_facts)]
    for window in WINDOWS:
        link = f"data/chat_history_{window}/{history.file_name}"
        numbers: list[dict[str, Any]] = [
            dict.fromkeys((f"{name}_{window}" for name in NUMBER_COLUMNS), 0) for _ in range(history.num_facts)
        ]
        if window in budgets:
            numbers = write_history(rng, root / link, history, window, budgets[window], filler)
        for row, number in zip(columns, numbers, strict=True):
            row |= {f"chat_history_{window}_link": link} | number
    return columns


def write_history(
    rng: random.Random, path: Path, history: History, window: Window, budget: int, filler: Filler
) -> list[dict[str, Any]]:
    """Writes the blocks among filler up to `budget` tokens; returns each fact's numbers, in order of the facts."""
    blocks = fitting(history.blocks, budget - count_tokens(history.card))
    total = count_tokens(history.card) + sum(block.tokens for block in blocks)
    blocks = [*blocks, *fill(rng, budget - total, filler)]
    blocks.sort(key=lambda block: block.place)
    irrelevant = sum(block.tokens for block in blocks if not block.relevant)
    total += irrelevant
    messages = [
        {"role": "system", "content": history.card},
        *(message for block in blocks for message in block.messages),
    ]
    metadata = {
        "total_messages": len(messages),
        "final_token_count": total,
        "persona_id": history.persona_id,
        "input_filename": history.raw_persona_file,
    }
    if window == "128k":
        metadata |= {"num_relevant_tokens": total - irrelevant, "num_irrelevant_tokens": irrelevant}
    payload = {"metadata": metadata, "chat_history": messages}
    path.write_text(json.dumps(payload, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    distances = distances_to_end(blocks)
    assert sorted(distances) == list(range(history.num_facts)), "each fact has one block of evidence"
    counts = (total, total - irrelevant, irrelevant)
    names = [f"{name}_{window}" for name in NUMBER_COLUMNS]
    return [dict(zip(names, (*counts, distances[fact]), strict=True)) for fact in sorted(distances)]


def distances_to_end(blocks: Sequence[Block]) -> dict[int, int]:
    """Tokens from the beginning of each fact's evidence to the end of the history, where the question follows."""
    distances: dict[int, int] = {}
    behind = 0
    for block in reversed(blocks):
        behind += block.tokens
        if block.fact is not None:
            distances[block.fact] = behind
    return distances


def fitting(blocks: Sequence[Block], room: int) -> list[Block]:
    """All blocks that a question needs, and of the spare ones those that still fit, the first ones first."""
    room -= sum(block.tokens for block in blocks if not block.spare)
    kept = []
    for block in blocks:
        if block.spare:
            if block.tokens > room:
                continue
            room -= block.tokens
        kept.append(block)
    return kept


def fill(rng: random.Random, budget: int, filler: Filler) -> list[Block]:
    """Filler conversations, until the next one would not fit."""
    blocks: list[Block] = []
    while True:
        block = Block(place=rng.random(), messages=exchange(*filler(rng)), relevant=False)
        budget -= block.tokens
        if budget < 0:
            return blocks
        blocks.append(block)
