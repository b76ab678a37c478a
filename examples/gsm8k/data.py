"""GSM8K (arXiv 2110.14168): word problems without a shared context, each with a worked-out answer that ends in
`#### 72`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split
from rft.data.readers.rows import read_rows
from rft.records import Context, Question


class Gsm8k(Dataset):
    """`data.source` is a hub id such as openai/gsm8k, or a folder with train.jsonl and test.jsonl of the same rows:
    `{"question": "...", "answer": "... #### 72"}`."""

    splits = ("train", "test")
    eval_split = "test"

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        self.folder = Path(config.source).expanduser()
        if not self.folder.is_dir() and not re.fullmatch(r"[0-9a-f]{40}", config.revision or ""):
            raise ValueError(
                f"data.source '{config.source}' is not a folder, and as a hub data set it needs data.revision, the 40 "
                f"digits of a commit, not {config.revision!r}"
            )

    @property
    def name(self) -> str:
        return "gsm8k"

    def split(self, name: str) -> Split:
        self.check_split(name)
        rows = enumerate(self.rows(name))
        questions, skipped = read_rows(rows, lambda row: to_question(name, *row), self.config.bad_rows)
        if not questions:
            raise ValueError(f"{self.config.source} has no usable row of {name}; check that it holds GSM8K")
        return Split(name=name, questions=tuple(questions), manifest={"rows_skipped": skipped})

    def rows(self, name: str) -> datasets.Dataset:
        source, revision = self.config.source, self.config.revision
        try:
            if self.folder.is_dir():
                return datasets.load_dataset("json", data_files=str(self.folder / f"{name}.jsonl"), split="train")
            return datasets.load_dataset(source, "main", revision=revision, split=name)
        except Exception as error:  # the hub, the disk and the file can each fail in many ways
            raise ValueError(f"cannot read {name} of {source}: {' '.join(str(error).split())[:300]}") from None

    def context(self, context_id: str) -> Context:
        return Context(context_id=context_id, messages=())


def to_question(split: str, index: int, row: Mapping[str, Any]) -> Question:
    """Raises RecordError for a row without a question, or whose answer does not end with a number after ####."""
    query, answer = row.get("question") or "", row.get("answer") or ""
    if not query or not re.search(r"####\s*-?[0-9]", answer):
        raise RecordError("row", f"{split} row {index} (rows count from 0) has no question, or no number after ####")
    question_id = f"{split}/{index}"
    return Question(
        question_id=question_id, context_id=question_id, cluster=question_id, query=query, correct_answer=answer
    )
