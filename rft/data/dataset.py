"""The one interface of every data set: questions in splits, the contexts they share, the order of their options.

A new layout is one file with one subclass of `Dataset`; `data.format` names it (formats.py). Training, evaluation and
the cold start read all data through it.
"""

from __future__ import annotations

import hashlib
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.records import Context, Question

REMEDY = "correct it, or set data.bad_rows=skip to leave such rows out"


class RecordError(ValueError):
    """A row or a context that cannot be used.

    Args:
        reason: the name it is counted under when rows are skipped.
        problem: what is wrong and where; the remedy is put behind it.
    """

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(f"{problem}; {REMEDY}")
        self.reason = reason
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The questions of one split, and what was left out on the way.

    Example:
        Split(name="val", questions=(...), manifest={"csv_rows": {"train": 18549, "val": 2061},
              "rows_skipped": {"repeated_option": 1}})
    """

    name: str
    questions: tuple[Question, ...]
    """In the data set's own order; never empty."""
    manifest: dict[str, Any] = field(default_factory=dict)
    """What was read and left out, for results files. `rows_skipped` maps reasons to counts."""


class Dataset(ABC):
    """A data set that `config` names. Making one reads nothing but what tells whether it is there.

    Subclasses take a `DataConfig` and nothing else; settings of their own come from `data.options`.

    Raises:
        ValueError: `data.source` or another setting that cannot be used, in one line with a remedy.
    """

    splits: ClassVar[tuple[str, ...]]
    """The splits it has. `train` is trained on."""
    eval_split: ClassVar[str]
    """The split that is evaluated where `eval.split` names none."""
    breakdowns: ClassVar[tuple[str, ...]] = ()
    """Tags by which results are broken down."""
    strata: ClassVar[tuple[str, ...]] = ()
    """Those of `breakdowns` with few values: a subset keeps their proportions, and metrics show each value."""

    def __init__(self, config: DataConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def name(self) -> str:
        """For folders and tables, such as `personamem_v2-32k`."""

    @abstractmethod
    def split(self, name: str) -> Split:
        """Reads one split.

        Raises:
            RecordError: a row that cannot be used, with `data.bad_rows: error`.
            ValueError: a file that cannot be used; an unknown or empty split.
        """

    @abstractmethod
    def context(self, context_id: str) -> Context:
        """Reads one context.

        Raises:
            RecordError: it is absent or cannot be used.
        """

    def option_order(self, question: Question) -> tuple[int, ...]:
        """Which answer each option shows in an evaluation, 0 the correct one: always the same for a question."""
        return shuffled_options(question, f"options of {question.question_id}")

    def fingerprint(self) -> str:
        """Names what is cached of the data: changes whenever questions or contexts do. This one reads all of them; file
        readers have a quicker one, which also changes when a file is copied. What a checkpoint keeps is
        `content_fingerprint`, in the manifest of a split."""
        splits = [self.split(split).questions for split in self.splits]
        names = [name for questions in splits for name in dict.fromkeys(q.context_id for q in questions)]
        return content_fingerprint([q for questions in splits for q in questions], map(self.digest_of, names))

    def digest_of(self, context_id: str) -> str:
        """`context_digest` of a context, or why it cannot be used."""
        try:
            return context_digest(self.context(context_id))
        except RecordError as error:
            return error.reason

    def check_split(self, name: str) -> None:
        """Raises ValueError for a split that the data set does not have."""
        if name not in self.splits:
            has = f"it has {', '.join(self.splits)}"
            remedy = "train on another data set" if name == "train" else "set eval.split to one of these"
            raise ValueError(f"{self.name} has no split '{name}'; {has}: {remedy}")


def shuffled_options(question: Question, seed: str | int) -> tuple[int, ...]:
    """The options of a question in the order that `seed` draws, the same in every process; () without options."""
    if not question.incorrect_answers:
        return ()
    order = list(range(1 + len(question.incorrect_answers)))
    random.Random(seed).shuffle(order)
    return tuple(order)


def order_by_content(question: Question) -> tuple[int, ...]:
    """An order of the options that a row has in every process, and wherever it stands in a file: drawn from the user,
    the query and the right answer. The Agent Memory Leaderboard draws its own from the user and the query, but with a
    hash that differs from process to process."""
    return shuffled_options(question, "\0".join((question.cluster, question.query, question.correct_answer)))


def permuted_option_order(seed: int, epoch: int, question: Question) -> tuple[int, ...]:
    """A fresh order for every (seed, epoch, question), the same in every process."""
    return shuffled_options(question, f"{seed}/{epoch}/{question.question_id}")


def held_out_clusters(clusters: Iterable[str], count: int, salt: str = "") -> set[str]:
    """`count` of the clusters, chosen by a hash of each: the same in every process, whatever the order of rows.

    Raises:
        ValueError: fewer than `count` + 1 of them.
    """
    every = sorted(set(clusters), key=lambda cluster: hashlib.sha256(f"{salt}{cluster}".encode()).digest())
    if count >= len(every):
        raise ValueError(
            f"data.num_val_clusters is {count}, but there are {len(every)} clusters to hold them out of; lower it"
        )
    return set(every[:count])


def check_cluster(context: Context, question: Question) -> None:
    """Raises RecordError where a question links the context of another cluster (another user, say)."""
    if context.cluster is not None and context.cluster != question.cluster:
        raise RecordError(
            "context_of_another",
            f"question {question.question_id} belongs to {question.cluster}, but its context {context.context_id} says "
            f"it is of {context.cluster}",
        )


def content_fingerprint(questions: Iterable[Question], context_digests: Iterable[str]) -> str:
    """Changes when a question enters, leaves, changes or changes its place, and when a context does; with nothing else,
    such as where files are or when they were written.

    Args:
        questions: in their order.
        context_digests: `context_digest` of what they are about, in order of first appearance.
    """
    found = hashlib.sha256()
    for question in questions:
        found.update(json.dumps(asdict(question), sort_keys=True, default=repr).encode())
    for digest in context_digests:
        found.update(digest.encode())
    return found.hexdigest()


def context_digest(context: Context) -> str:
    """Changes with anything that a context says."""
    said = [*([context.profile] if context.profile else []), *context.messages]
    texts = [context.context_id, context.cluster, context.profile is not None, [[m.role, m.content] for m in said]]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def files_fingerprint(paths: Iterable[Path], settings: Sequence[Any] = ()) -> str:
    """A hash of names, sizes and times of change: quick, and different after any file was written again."""
    states = sorted([str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths if path.is_file())
    return hashlib.sha256(json.dumps([states, list(settings)]).encode()).hexdigest()
