"""Writes SQuAD (arXiv 1606.05250) in the `jsonl` layout: whole articles, each with all of its questions.

    python examples/long_document_qa/make_data.py .cache/long_document_qa [--source HUB_ID_OR_FOLDER --revision COMMIT]

The data set has a row per question, with the paragraph that answers it. Here the paragraphs of an article are one text.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets

SPLITS = ("train", "validation")
QUESTION_WORDS = ("what", "who", "when", "where", "which", "how", "why")


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes SQuAD as whole articles with their questions.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", default="rajpurkar/squad")
    parser.add_argument("--revision", default="7b6d24c440a36b6815f21b70d25016731768db1f")
    arguments = parser.parse_args()
    try:
        rows = {split: read_rows(arguments.source, arguments.revision, split) for split in SPLITS}
    except Exception as error:  # the hub, the disk and the files can each fail in many ways
        print(f"error: cannot read {arguments.source}: {' '.join(str(error).split())[:300]}", file=sys.stderr)
        return 2
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out / "contexts.jsonl", (line for split in SPLITS for line in contexts(rows[split])))
    write(arguments.out / "questions.jsonl", (line for split in SPLITS for line in questions(split, rows[split])))
    return 0


def read_rows(source: str, revision: str, split: str) -> list[dict[str, Any]]:
    """Rows with title, context (a paragraph), question and answers; of a folder those in train.jsonl, say."""
    if Path(source).is_dir():
        found = datasets.load_dataset("json", data_files=str(Path(source, f"{split}.jsonl")), split="train")
    else:
        found = datasets.load_dataset(source, revision=revision, split=split)
    return found.select_columns(["title", "context", "question", "answers"]).to_list()


def contexts(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    paragraphs: dict[str, dict[str, None]] = {}
    for row in rows:
        paragraphs.setdefault(row["title"], {})[row["context"]] = None
    for title, texts in paragraphs.items():
        yield {"context_id": title, "text": "\n\n".join(texts)}


def questions(split: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A question that is asked of several paragraphs is asked once, and each of its answers is right."""
    answers: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        answers.setdefault((row["title"], row["question"].strip()), {}).update(dict.fromkeys(row["answers"]["text"]))
    for (title, question), texts in answers.items():
        word = next((word for word in question.lower().split() if word in QUESTION_WORDS), "other")
        line = {"context_id": title, "split": split, "query": question, "answer": next(iter(texts))}
        yield line | {"columns": {"answers": list(texts)}, "tags": {"asks": word}}


def write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
