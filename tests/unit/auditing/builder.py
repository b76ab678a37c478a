"""A clean synthetic data set, and ways to spoil it: cells of a row, messages of a history."""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rft.audit import run
from rft.auditing.findings import Case, Report
from rft.synthetic.generator import write_dataset

Row = dict[str, str]


def write_clean(root: Path, style: Any = "full", personas: int = 12, questions: int = 8, tokens: int = 1200) -> Path:
    write_dataset(
        root,
        num_personas=personas,
        questions_per_persona=questions,
        history_tokens=tokens,
        seed=5,
        style=style,
        num_val_personas=2,
        num_benchmark_personas=2,
    )
    return root


def read_table(root: Path, name: str = "train") -> list[Row]:
    with (root / f"benchmark/text/{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def link_of(root: Path, number: int = 3) -> str:
    return read_table(root)[number]["chat_history_32k_link"]


def write_table(root: Path, rows: list[Row], name: str = "train") -> None:
    with (root / f"benchmark/text/{name}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def change_row(root: Path, number: int, change: Callable[[Row], object], name: str = "train") -> Row:
    """Applies `change` to one row and returns the row."""
    rows = read_table(root, name)
    change(rows[number])
    write_table(root, rows, name)
    return rows[number]


def change_history(root: Path, link: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Applies `change` to the messages of one history; its own count of them is kept right."""
    path = root / link
    payload = json.loads(path.read_text(encoding="utf-8"))
    change(payload["chat_history"])
    payload["metadata"]["total_messages"] = len(payload["chat_history"])
    path.write_text(json.dumps(payload), encoding="utf-8")


def find_row(root: Path, fits: Callable[[Row], bool], name: str = "train") -> int:
    return next(number for number, row in enumerate(read_table(root, name)) if fits(row))


def query_of(row: Row) -> str:
    return str(ast.literal_eval(row["user_query"])["content"])


def set_query(row: Row, query: str) -> None:
    row["user_query"] = repr({"role": "user", "content": query})


def evidence_of(row: Row) -> list[dict[str, str]]:
    return list(json.loads(row["related_conversation_snippet"]))


def audit_of(root: Path, *overrides: str) -> Report:
    return run(str(root), None, list(overrides), root.parent / "audit")


def cases_of(report: Report, check: str) -> list[Case]:
    return [case for finding in report.findings if finding.check == check for case in finding.cases]


def over(report: Report) -> set[str]:
    return {finding.check for finding in report.findings if finding.is_over}
