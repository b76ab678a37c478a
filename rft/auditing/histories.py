"""Every history of one window: its messages, its length, the evidence of its questions; in several processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from multiprocessing import get_context
from typing import Any

from tqdm.auto import tqdm

from rft.assembly.blocks import count_tokens
from rft.auditing.config import AuditSettings
from rft.auditing.evidence import EvidenceSearch
from rft.auditing.findings import Case
from rft.auditing.lookalikes import as_read
from rft.auditing.messages import check_messages
from rft.auditing.sources import Source, Stored, stored_history
from rft.config import DataConfig, ModelConfig
from rft.data.dataset import Dataset, RecordError, check_cluster
from rft.data.formats import open_dataset
from rft.data.readers.data_files import source_path
from rft.plain_text import without_half_surrogates
from rft.records import Context, Question

WINDOW_TOKENS = {"32k": 32_000, "128k": 128_000, "1M": 1_000_000}

FEW = 50
"""Histories that this process reads by itself: others take seconds to start."""

HISTORIES_PER_CALL = 8

FEWEST_CHARS = 25
"""Of a right answer that is looked for in the history: shorter ones may stand there by chance."""

FAR_OFF = 1.5
"""Factor between the tokens that a file says it has and those that are counted, from which on it may be cut."""

MOST_BYTES = 6
"""Of a token, on the average of a text."""

REFUSED = ("message_format", "unknown_role", "no_user")
"""Checks of messages that say why a reader refuses a history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What reading histories takes; travels to other processes.

    Example:
        Job(data=DataConfig(...), settings=AuditSettings(), tokenizer=None, limit=35_200)
    """

    data: DataConfig
    settings: AuditSettings
    tokenizer: ModelConfig | None
    """What counts tokens; None counts words, digits and punctuation marks."""
    limit: int | None
    """Tokens of a history; None is no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFacts:
    """What is found in one history.

    Example:
        HistoryFacts(file="data/chat_history_32k/h1.json", cases=[], num_tokens=31_842, said=frozenset({41}))
    """

    file: str
    cases: list[Case] = field(default_factory=list)
    num_tokens: int = 0
    said: frozenset[int] = frozenset()
    """A number for each message besides the user's description (`digests_of`)."""


class HistoryReader:
    """Reads one history after the other, in whichever process."""

    def __init__(self, job: Job, dataset: Dataset | None = None) -> None:
        self.job = job
        self.dataset = dataset or open_dataset(job.data)
        self.count = counter_of(job.tokenizer)

    def read(self, questions: Sequence[Question]) -> HistoryFacts:
        """The history that `questions` share."""
        file = questions[0].context_id
        try:
            stored = stored_history(self.dataset, file)
        except RecordError as error:
            return HistoryFacts(file=file, cases=self.unusable(questions, error))
        cases = list(check_messages(file, stored.items))
        cases += [Case(check="dropped_text", file=file, detail=found) for found in stored.lost]
        if stored.problem is not None and not any(case.check in REFUSED for case in cases):
            cases += self.unusable(questions, stored.problem)
        if stored.context is not None:
            cases += check_owner(stored.context, questions)
        num_tokens = self.count([text for text in stored.texts if text])
        cases += self.check_size(file, stored, num_tokens, questions)
        cases += answers_told(file, stored.shown, questions)
        search = EvidenceSearch(file, stored.shown, self.job.settings.fuzzy_evidence, stored.roles)
        if any(question.evidence for question in questions) or stored.metadata:
            cases += [case for question in questions for case in search.check(question)]
        return HistoryFacts(file=file, cases=cases, num_tokens=num_tokens, said=digests_of(stored.shown))

    def unusable(self, questions: Sequence[Question], error: RecordError) -> list[Case]:
        detail = f"{error.reason}: {without_folder(error.problem, self.job.data.source)}"
        return [
            Case(check="history_unusable", question=question.question_id, file=question.context_id, detail=detail)
            for question in questions
        ]

    def check_size(self, file: str, stored: Stored, num_tokens: int, questions: Sequence[Question]) -> Iterator[Case]:
        limit, metadata, num_messages = self.job.limit, stored.metadata, len(stored.items)
        # Without a tokenizer two estimates hold what a tokenizer would count between them.
        other = num_tokens if self.job.tokenizer else by_bytes(stored.texts)
        least, most = sorted((num_tokens, other))
        if limit is not None and most > limit:
            yield Case(check="over_budget", file=file, detail=f"{most:,} tokens, {limit:,} are allowed")
        recorded = metadata.get("total_messages", num_messages)
        if recorded != num_messages:
            yield Case(
                check="recorded_totals", file=file, detail=f"total_messages is {recorded}, there are {num_messages}"
            )
        if is_far_off(metadata.get("final_token_count"), least, most):
            says = metadata["final_token_count"]
            yield Case(
                check="recorded_totals", file=file, detail=f"final_token_count is {says}, {num_tokens} are counted"
            )
        told: set[Any] = set()
        for question in questions:
            total = question.columns.get("total_tokens")
            if is_far_off(total, least, most) and total not in told:
                told.add(total)
                yield Case(
                    check="recorded_totals",
                    question=question.question_id,
                    file=file,
                    detail=f"the row says {total} tokens, {num_tokens} are counted",
                )


def by_bytes(texts: Sequence[str | None]) -> int:
    """Tokens of texts whatever their words: some writing has no spaces."""
    return sum(len(text.encode("utf-8", "replace")) for text in texts if text) // MOST_BYTES


def is_far_off(says: Any, least: int, most: int) -> bool:
    """Whether a number of tokens is not the one that is counted, however tokenizers differ."""
    return isinstance(says, int | float) and says > 0 and not (says / FAR_OFF < most and least < says * FAR_OFF)


def check_owner(context: Context, questions: Sequence[Question]) -> Iterator[Case]:
    """Where the history says whose it is."""
    for question in questions:
        try:
            check_cluster(context, question)
        except RecordError as error:
            file, detail = context.context_id, error.problem
            yield Case(check="history_of_another", question=question.question_id, file=file, detail=detail)


def answers_told(file: str, texts: Sequence[str | None], questions: Sequence[Question]) -> Iterator[Case]:
    """Questions with options whose right one, and no other, is a part of the history."""
    whole = flat("\n".join(text for text in texts if text))
    for question in questions:
        right, *wrong = map(flat, (question.correct_answer, *question.incorrect_answers))
        if len(right) >= FEWEST_CHARS and wrong and right in whole and not any(text in whole for text in wrong):
            detail = repr(question.correct_answer.strip()[:80])
            yield Case(check="answer_in_history", question=question.question_id, file=file, detail=detail)


def flat(text: str) -> str:
    """The text whatever its letters' case, its white space and its disguises."""
    return " ".join(as_read(text).casefold().split())


def digests_of(texts: Sequence[str | None]) -> frozenset[int]:
    """A number for each text, the same one whatever its letters' case and its white space."""
    said = (flat(text).encode("utf-8", "surrogatepass") for text in texts if text)
    return frozenset(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) for text in said)


def without_folder(problem: str, source: str) -> str:
    """A reader's message without the place of the data set on this machine."""
    return problem.replace(f"{source_path(source)}/", "")


def counter_of(tokenizer: ModelConfig | None) -> Callable[[Sequence[str]], int]:
    """Counts the tokens of texts.

    Raises:
        ValueError: the tokenizer cannot be read.
    """
    if tokenizer is None:
        return lambda texts: sum(map(count_tokens, texts))
    from rft.models import load_tokenizer

    try:
        loaded = load_tokenizer(tokenizer)
    except (OSError, ValueError) as error:
        place, first = tokenizer.model_name_or_path, str(error).splitlines()[0]
        raise ValueError(f"audit.tokenizer: cannot read a tokenizer from {place}: {first}") from None

    def count(texts: Sequence[str]) -> int:
        whole = [without_half_surrogates(text)[0] for text in texts]
        return sum(map(len, loaded(whole, add_special_tokens=False)["input_ids"])) if whole else 0

    return count


# ------------------------------------------------------------------------------------------------------ all of them


def read_histories(source: Source, job: Job, progress: bool) -> list[HistoryFacts]:
    """Every history that a row links, in order of first appearance."""
    by_context: dict[str, list[Question]] = {}
    for question in chain.from_iterable(source.questions.values()):
        by_context.setdefault(question.context_id, []).append(question)
    groups = list(by_context.values())
    processes = job.settings.processes or os.cpu_count() or 1
    bar = tqdm(total=len(groups), desc=f"read {source.window} histories", unit="history", disable=not progress)
    found = []
    with bar:
        for facts in read_groups(groups, job, processes, source.dataset):
            found.append(facts)
            bar.update()
    return found


def read_groups(groups: Sequence[list[Question]], job: Job, processes: int, dataset: Dataset) -> Iterator[HistoryFacts]:
    reader = HistoryReader(job, dataset)
    if processes == 1 or len(groups) <= FEW:
        yield from map(reader.read, groups)
        return
    yield reader.read(groups[0])  # where there is none at all, no process is started
    with ProcessPoolExecutor(processes, get_context("spawn"), start_reader, (job,)) as pool:
        yield from pool.map(read_here, groups[1:], chunksize=HISTORIES_PER_CALL)


_reader: HistoryReader | None = None
"""Of a process that reads for another one."""


def start_reader(job: Job) -> None:
    global _reader
    _reader = HistoryReader(job)


def read_here(questions: list[Question]) -> HistoryFacts:
    assert _reader is not None, "made when the process starts"
    return _reader.read(questions)
