"""PersonaMem v1 (Jiang et al., arXiv 2504.14225) as released: a table of questions, a file of shared contexts.

    questions_{32k,128k}.csv            15 columns, one question a row
    shared_contexts_{32k,128k}.jsonl    a line {shared_context_id: [{role, content}, ...]}

A question is asked after the first `end_index_in_shared_context` messages of its context, so questions of one context
share what comes first. Options keep the letters of the release. What version 1 does not say (whose preference it is,
whether it was updated) is left at its plainest value, and there is no evidence. In 17 of the 589 questions at 32k an
other option repeats the right one; they are kept, its letter alone is right, and the manifest counts them.
"""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

from rft.data.personamem import CellError, parse_count, to_messages
from rft.data.prompts import LETTERS
from rft.records import History, Message, Question

COLUMNS = (
    "persona_id",
    "question_id",
    "question_type",
    "topic",
    "distance_to_ref_in_tokens",
    "user_question_or_message",
    "correct_answer",
    "all_options",
    "shared_context_id",
    "end_index_in_shared_context",
)
"""Those of the 15 that are read."""


def read_questions(root: Path, window: str) -> tuple[tuple[Question, ...], dict[str, tuple[int, ...]]]:
    """The questions in file order, and by question id which answer each letter shows (0 is the correct one).

    Raises:
        ValueError: a file or row that cannot be used, with its row number.
    """
    path = root / f"questions_{window}.csv"
    if not path.is_file():
        raise ValueError(f"{path} does not exist; data.source must hold it, as the released PersonaMem v1 does")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} lacks the column {missing[0]}; fetch it again")
        questions, orders = [], {}
        for row, cells in enumerate(reader):
            try:
                question, order = read_row(row, cells)
            except CellError as error:
                raise ValueError(f"{path} row {row} (rows count from 0) {error}; correct it") from None
            if question.question_id in orders:
                raise ValueError(f"{path} row {row} (rows count from 0) repeats question_id {question.question_id}")
            questions.append(question)
            orders[question.question_id] = order
    if not questions:
        raise ValueError(f"{path} holds no question; fetch it again")
    return tuple(questions), orders


def read_row(row: int, cells: dict[str, str]) -> tuple[Question, tuple[int, ...]]:
    if any(cells[name] is None for name in COLUMNS):
        raise CellError("has fewer cells than the header")
    options = read_options(cells["all_options"])
    gold = cells["correct_answer"].strip().strip("()").lower()
    if gold not in LETTERS:
        raise CellError(f"correct_answer is {cells['correct_answer']!r} instead of a letter from (a) to (d)")
    correct = LETTERS.index(gold)
    others = [index for index in range(len(options)) if index != correct]
    question = Question(
        question_id=f"v1/{cells['question_id']}",
        row=row,
        persona_id=parse_count(cells["persona_id"]),
        history_id=f"{cells['shared_context_id']}:{parse_count(cells['end_index_in_shared_context'])}",
        query=cells["user_question_or_message"],
        correct_answer=options[correct],
        incorrect_answers=tuple(options[index] for index in others),
        pref_type=cells["question_type"],
        who="self",
        updated=False,
        sensitive=False,
        scenario="",
        topic=cells["topic"],
        preference="",
        distance_tokens=parse_count(cells["distance_to_ref_in_tokens"]),
        evidence=(),
    )
    return question, tuple(0 if index == correct else 1 + others.index(index) for index in range(len(options)))


def read_options(text: str) -> list[str]:
    """The four texts behind the labels `(a)` to `(d)`; the column is a Python list in both quoting styles."""
    try:
        options: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise CellError("all_options is not a Python list") from None
    if not isinstance(options, list) or len(options) != len(LETTERS) or not all(isinstance(o, str) for o in options):
        raise CellError("all_options does not hold four texts")
    labels = [f"({letter})" for letter in LETTERS]
    if [option[:3] for option in options] != labels:
        raise CellError("all_options are not labelled (a), (b), (c), (d) in this order")
    texts = [option[3:].strip() for option in options]
    if not all(texts):
        raise CellError("all_options holds an empty one")
    return texts


class SharedContexts:
    """The contexts, each read when it is first asked for."""

    def __init__(self, root: Path, window: str) -> None:
        self.path = root / f"shared_contexts_{window}.jsonl"
        self._offsets: dict[str, int] | None = None
        self._last: tuple[str, tuple[Message | None, ...]] = ("", ())

    def history(self, history_id: str) -> History:
        """The first messages of a context, by `CONTEXT:END`.

        Raises:
            ValueError: no such context, or fewer messages than `END`.
        """
        context, _, end = history_id.rpartition(":")
        messages = self._messages(context)
        if int(end) > len(messages):
            raise ValueError(f"{self.path}: context {context} has {len(messages)} messages, a question asks for {end}")
        kept = tuple(message for message in messages[: int(end)] if message is not None)
        return History(history_id=history_id, persona_id=-1, messages=kept)

    def _messages(self, context: str) -> tuple[Message | None, ...]:
        if self._last[0] != context:
            if self._offsets is None:
                self._offsets = dict(self._index())
            if context not in self._offsets:
                raise ValueError(f"{self.path} has no context {context}; fetch the file that belongs to the questions")
            with self.path.open("rb") as file:
                file.seek(self._offsets[context])
                stored = json.loads(file.readline())[context]
            try:
                self._last = context, tuple(to_messages(stored))
            except CellError as error:
                raise ValueError(f"{self.path}: context {context} {error}; correct it") from None
        return self._last[1]

    def _index(self) -> list[tuple[str, int]]:
        """Each context's id and the position of its line."""
        if not self.path.is_file():
            raise ValueError(f"{self.path} does not exist; it is released beside the questions of PersonaMem v1")
        found, position = [], 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    (context,) = json.loads(line)
                except ValueError:
                    raise ValueError(f"{self.path} line {number} is not one JSON object with one key") from None
                found.append((context, position))
                position += len(line)
        return found
