"""The tables of PersonaMem-v2 (arXiv 2512.06688): their 27 columns in order, and how a row's texts are written.

The release mixes JSON and Python literals; so does this.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Window = Literal["32k", "128k"]
WINDOWS: tuple[Window, ...] = ("32k", "128k")

CsvName = Literal["train", "val", "benchmark"]

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


def written_query(query: str) -> str:
    return repr({"role": "user", "content": query})


def written_answers(incorrect: Sequence[str]) -> str:
    return json.dumps(list(incorrect))


def written_messages(messages: Sequence[Mapping[str, str]]) -> str:
    return json.dumps(messages, ensure_ascii=False)


def write_table(root: Path, name: CsvName, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes benchmark/text/NAME.csv under `root`, each row as it comes; a row has all `COLUMNS`."""
    path = root / f"benchmark/text/{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
