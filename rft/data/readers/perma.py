r"""PERMA (Liu et al., arXiv 2603.23231, Apache-2.0) as released: what users said over months, and multiple choice.

    tasks/user108/interleaved_timeline.json     [{"task_id": ..., "date": "2023-01-15 Morning"}, ...], in order
    tasks/user108/raw_dialogues_c.json          [{"topic": ..., "dialogs": [{"task_id", "conversation": [{role,
                                                 content}, ...], ...}]}, ...]; `_n` with noise, `_s` in the user's style
    evaluation/user108/meta/overall/SD-Books-task-1_3.json
                                                {"task_id", "question", "question_date": "2023-10-10", "task_type": 3,
                                                 "options": "A: ...\nB: ...", "gold_label": "E"}

A question's context is every session of the timeline up to the day of the question, by day, so contexts of one user
begin alike. A session of the same day counts as one before the question: the release gives questions no time of day.
What it says besides (preferences, descriptions, goals) is about the answers and is not read.

`data.options.dialogues` chooses c (clean, the default), n (noisy) or s (style).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.prompts import LETTERS
from rft.data.readers.cells import CellError, text_of, whole_number
from rft.data.readers.data_files import SourceFolder, looked_in, source_path
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import read_json, read_list
from rft.data.readers.perma_histories import History, day_of, history_of
from rft.data.readers.rows import read_usable_rows
from rft.data.readers.sessions import places_note
from rft.records import Context, Question

DIALOGUES = ("c", "n", "s")
QUESTIONS = "evaluation/*/meta/overall/*.json"
LABEL = re.compile(r"\s*([A-H]):")
"""How a line begins that seems to be an option: the release has up to eight."""
KINDS = {"SD": "single_domain", "MD": "multi_domain"}
STAGES = {1: "before", 2: "in_time", 3: "afterwards"}
"""By `task_type`: when a question is asked, compared with the sessions that matter for it."""


class Perma(Dataset):
    """Multiple-choice questions about users whose preferences grow and change; an evaluation alone."""

    splits: ClassVar[tuple[str, ...]] = ("benchmark",)
    eval_split: ClassVar[str] = "benchmark"
    breakdowns: ClassVar[tuple[str, ...]] = ("kind", "stage")
    strata: ClassVar[tuple[str, ...]] = ("kind", "stage")

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, ("dialogues",), "perma")
        self.dialogues = dialogues_of(config.options)
        self.path = source_path(config.source)
        self.folder = SourceFolder(self.path, follow_links=config.follow_links)
        self.files = sorted(self.path.glob(QUESTIONS))
        if not self.files:
            raise ValueError(
                f"data.source {config.source} holds no {QUESTIONS}{looked_in(self.path)}; fetch PERMA's release and "
                "name the folder that holds evaluation and tasks"
            )

    @property
    def name(self) -> str:
        return f"perma-{self.dialogues}"

    def split(self, name: str) -> Split:
        self.check_split(name)
        questions, skipped = read_usable_rows(
            self.files, self.read_question, self.config.bad_rows, self.path, "question"
        )
        questions.sort(key=lambda question: (question.cluster, question.context_id))
        users = {question.cluster for question in questions}
        unused = sum(self.history(user).num_unused for user in users)
        manifest = {"users": len(users), "dialogues_not_in_the_timeline": unused, "rows_skipped": skipped}
        return Split(name=name, questions=tuple(questions), manifest=manifest)

    def context(self, context_id: str) -> Context:
        user, _, day = context_id.partition("/")
        history, until = self.history(user), date.fromisoformat(day)
        shown = [session for session in history.sessions if session.day <= until]
        told = {
            "messages_without_text": (
                "sessions and messages without text are left out",
                [place for session in shown for place in session.silent],
            ),
            "sessions_out_of_order": (
                "sessions are put in the order of their days",
                [session.task for session in shown if session.task in history.moved],
            ),
        }
        return Context(
            context_id=context_id,
            cluster=user,
            messages=tuple(message for session in shown for message in session.messages),
            notes={name: places_note(context_id, *note) for name, note in told.items() if note[1]},
        )

    def fingerprint(self) -> str:
        read = [*self.files, *self.path.glob("tasks/*/*.json")]
        return files_fingerprint(read, [self.dialogues, self.config.bad_rows])

    def read_question(self, path: Path) -> Question:
        """Raises RecordError when the question, or the user's sessions, cannot be used."""
        user = path.parents[2].name
        try:
            self.folder.check(path)
            item = read_json(path)
        except ValueError as error:
            raise RecordError("question_file", str(error)) from None
        try:
            question = question_of(user, path.stem, item)
        except CellError as error:
            raise RecordError("question_format", f"{path} {error}") from None
        self.history(user)
        return question

    def history(self, user: str) -> History:
        """The sessions of a user.

        Raises:
            RecordError: they are absent or cannot be used.
        """
        if user not in self._histories:
            timeline = self.path / "tasks" / user / "interleaved_timeline.json"
            dialogues = timeline.with_name(f"raw_dialogues_{self.dialogues}.json")
            try:
                for path in (timeline, dialogues):
                    self.folder.check(path)
                found = [read_list(path, what) for path, what in ((timeline, "events"), (dialogues, "topics"))]
            except ValueError as error:
                raise RecordError("context_file", str(error)) from None
            try:
                self._histories[user] = history_of(*found)
            except CellError as error:
                raise RecordError("context_format", f"{timeline.parent} {error}") from None
        return self._histories[user]

    @cached_property
    def _histories(self) -> dict[str, History]:
        return {}


def dialogues_of(options: Mapping[str, Any]) -> str:
    """`data.options.dialogues`."""
    found = options.get("dialogues", DIALOGUES[0])
    if found not in DIALOGUES:
        raise ValueError(f"data.options.dialogues must be one of {', '.join(DIALOGUES)}, not {found!r}")
    return str(found)


# -------------------------------------------------------------------------------------------------------- questions


def question_of(user: str, name: str, item: Any) -> Question:
    """One question.

    Args:
        user: of it, such as `user108`.
        name: of its file.
        item: what the file holds.

    Raises:
        CellError: a key that is absent or holds something else.
    """
    if not isinstance(item, dict):
        raise CellError("is no object")
    day = day_of(text_of(item, "question_date"), "question_date")
    options = options_of(text_of(item, "options"))
    label = text_of(item, "gold_label").strip()
    if label not in options:
        raise CellError(f"gold_label is {label[:40]!r}, and the options are {', '.join(options)}")
    stage = STAGES.get(whole_number(item.get("task_type")) or 0)
    kind = KINDS.get(text_of(item, "task_id").partition("-")[0])
    if stage is None or kind is None:
        raise CellError("has a task_type other than 1, 2 or 3, or a task_id that begins with neither SD- nor MD-")
    right = options.pop(label)
    return Question(
        question_id=f"{user}/{name}",
        context_id=f"{user}/{day.isoformat()}",
        cluster=user,
        query=text_of(item, "question"),
        correct_answer=right,
        incorrect_answers=tuple(options.values()),
        tags={"kind": kind, "stage": stage},
    )


def options_of(text: str) -> dict[str, str]:
    """By its letter, each option of a text such as `A: Tea.\\nB: Milk.`. An option may have several lines: the next one
    begins at the first line that begins with the next letter and a colon.

    Raises:
        CellError: fewer than two options, one without text, or two alike; a letter that is left out or used again.
    """
    body, begins = f"\n{text.strip()}", [-1]
    for letter in LETTERS:
        begin = body.find(f"\n{letter.upper()}:", begins[-1] + 1)
        if begin < 0:
            break
        begins.append(begin)
    if begins[1:2] != [0]:
        raise CellError(f"options does not begin with A: but with {text[:40]!r}")
    texts = [body[begin + 3 : end].strip() for begin, end in pairwise([*begins[1:], len(body)])]
    found = {letter.upper(): said for letter, said in zip(LETTERS, texts, strict=False)}
    if len(found) < 2:
        raise CellError("options holds fewer than two options")
    if not all(found.values()):
        raise CellError(f"option {next(letter for letter, said in found.items() if not said)} has no text")
    if len(set(found.values())) < len(found):
        raise CellError("options holds the same option twice")
    for letter, said in found.items():
        further = next(filter(None, map(LABEL.match, said.split("\n")[1:])), None)
        if further is not None:
            raise CellError(
                f"option {letter} has a line that begins with {further[1]}:, so that letters are not in order"
            )
    return found
