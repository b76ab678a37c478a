"""Every history of one window: its messages, its length, the evidence of its questions; in several processes."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import defaultdict
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
from rft.auditing.messages import check_messages
from rft.auditing.sources import Source, raw_messages
from rft.config import DataConfig, ModelConfig
from rft.data.dataset import Dataset, RecordError, check_cluster
from rft.data.formats import open_dataset
from rft.data.readers.split_replies import put_together
from rft.records import Question

WINDOW_TOKENS = {"32k": 32_000, "128k": 128_000, "1M": 1_000_000}

FEW = 50
"""Histories that this process reads by itself: others take seconds to start."""

HISTORIES_PER_CALL = 8

FEWEST_CHARS = 25
"""Of a right answer that is looked for in the history: shorter ones may stand there by chance."""

FEWEST_HISTORIES = 5
"""Of which a usual length can be told."""

FAR_OFF = 1.5
"""Factor between the tokens that a file says it has and those that are counted, from which on it may be cut."""

FAR_OUT = 2.25
"""Factor between a history's length and the median, from which on it is none of its kind."""


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
        HistoryFacts(file="data/chat_history_32k/h1.json", cases=[], num_tokens=31_842, digest="9f86d0")
    """

    file: str
    cases: list[Case] = field(default_factory=list)
    num_tokens: int = 0
    digest: str = ""
    """Of the messages without the leading system message; empty where there are none."""


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
            items, metadata = raw_messages(self.dataset, file)
        except RecordError as error:
            detail = f"{error.reason}: {without_folder(error.problem, self.dataset)}"
            cases = [
                Case(check="history_unusable", question=q.question_id, file=file, detail=detail) for q in questions
            ]
            return HistoryFacts(file=file, cases=cases)
        cases = list(check_messages(file, items))
        texts = [text_of(item) for item in items]
        num_tokens = self.count([text for text in texts if text])
        cases += self.check_size(file, len(items), num_tokens, metadata)
        cases += self.check_owner(file, questions, metadata)
        cases += answers_told(file, texts, questions)
        search = EvidenceSearch(file, texts, self.job.settings.fuzzy_evidence)
        if any(question.evidence for question in questions) or metadata:
            cases += [case for question in questions for case in search.check(question)]
        return HistoryFacts(file=file, cases=cases, num_tokens=num_tokens, digest=digest_of(items, texts))

    def check_size(self, file: str, num_messages: int, num_tokens: int, metadata: dict[str, Any]) -> Iterator[Case]:
        limit = self.job.limit
        if limit is not None and num_tokens > limit:
            yield Case(check="over_budget", file=file, detail=f"{num_tokens:,} tokens, {limit:,} are allowed")
        recorded = metadata.get("total_messages", num_messages)
        if recorded != num_messages:
            yield Case(
                check="recorded_totals", file=file, detail=f"total_messages is {recorded}, there are {num_messages}"
            )
        says = metadata.get("final_token_count")
        if isinstance(says, int) and says > 0 and not 1 / FAR_OFF < num_tokens / says < FAR_OFF:
            yield Case(
                check="recorded_totals", file=file, detail=f"final_token_count is {says}, {num_tokens} are counted"
            )

    def check_owner(self, file: str, questions: Sequence[Question], metadata: dict[str, Any]) -> Iterator[Case]:
        """Where the file says whose it is."""
        owner = metadata.get("persona_id")
        if owner is None and not metadata:
            for question in questions:
                try:
                    check_cluster(self.dataset.context(file), question)
                except RecordError as error:
                    yield Case(
                        check="history_of_another", question=question.question_id, file=file, detail=error.problem
                    )
            return
        for question in questions:
            if str(owner) != question.cluster:
                yield Case(
                    check="history_of_another",
                    question=question.question_id,
                    file=file,
                    detail=f"the row is of {question.cluster}, the file says persona_id {owner}",
                )


def answers_told(file: str, texts: Sequence[str | None], questions: Sequence[Question]) -> Iterator[Case]:
    """Questions with options whose right one, and no other, is a part of the history."""
    whole = "\n".join(text for text in texts if text)
    for question in questions:
        right, wrong = question.correct_answer.strip(), question.incorrect_answers
        if len(right) >= FEWEST_CHARS and wrong and right in whole and not any(w.strip() in whole for w in wrong):
            yield Case(check="answer_in_history", question=question.question_id, file=file, detail=repr(right[:80]))


def text_of(item: Any) -> str | None:
    """A message's text as our reader takes it."""
    whole = put_together(item)
    content = whole.get("content") if isinstance(whole, dict) else None
    return content if isinstance(content, str) and content.strip() else None


def digest_of(items: Sequence[Any], texts: Sequence[str | None]) -> str:
    start = 1 if items and isinstance(items[0], dict) and items[0].get("role") == "system" else 0
    said = [text for text in texts[start:] if text]
    return hashlib.sha256("\0".join(said).encode("utf-8", "surrogatepass")).hexdigest() if said else ""


def without_folder(problem: str, dataset: Dataset) -> str:
    """A reader's message without the place of the data set on this machine."""
    return problem.replace(f"{dataset.config.source.rstrip('/')}/", "")


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
    return lambda texts: sum(map(len, loaded(list(texts), add_special_tokens=False)["input_ids"])) if texts else 0


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


def repeated_histories(facts: Sequence[HistoryFacts], cluster_of: dict[str, str]) -> Iterator[Case]:
    """Histories of different clusters that say the same."""
    files: dict[str, list[str]] = defaultdict(list)
    for one in facts:
        if one.digest:
            files[one.digest].append(one.file)
    for same in files.values():
        if len({cluster_of[file] for file in same}) > 1:
            yield Case(
                check="repeated_history", file=same[1], detail=f"says the same as {', '.join([same[0], *same[2:]])}"
            )


def odd_lengths(facts: Sequence[HistoryFacts]) -> Iterator[Case]:
    """Histories that are far longer, or far shorter, than the others."""
    lengths = [one.num_tokens for one in facts if one.num_tokens]
    if len(lengths) < FEWEST_HISTORIES:
        return
    usual = statistics.median(lengths)
    for one in facts:
        if one.num_tokens and not 1 / FAR_OUT < one.num_tokens / usual < FAR_OUT:
            yield Case(
                check="odd_length", file=one.file, detail=f"{one.num_tokens:,} tokens, the median is {usual:,.0f}"
            )
