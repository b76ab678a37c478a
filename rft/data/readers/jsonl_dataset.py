"""The layout for data of your own, `data.format: jsonl`: a folder with two files, one JSON object per line.

`contexts.jsonl`, what questions share; not needed where no question has a context:

    {"context_id": "lease", "text": "The lease begins on ..."}
    {"context_id": "chat-7", "messages": [{"role": "user", "content": "Hi"}, ...], "cluster": "ann"}

    context_id   unique
    messages     roles system, user and assistant; messages without text are left out, and that is counted
    text         instead of messages: one user message
    cluster      optional: who or what the context belongs to, where several contexts belong together
    profile      optional: a text that describes the user, shown only with data.persona_card=keep

`questions.jsonl`:

    {"context_id": "lease", "query": "When does it end?", "answer": "2031", "tags": {"kind": "date"}}
    {"query": "Which is prime?", "answer": "7", "incorrect_answers": ["8", "9"]}

    query, answer       what is asked, and the reference answer
    question_id         optional, unique: else questions/LINE, lines counted from 1
    context_id          optional: without one the context is empty, and its id is the question's
    incorrect_answers   optional: 1 to 25 other options
    tags                optional: what results are broken down by; a text, a number or true/false each
    columns             optional: any JSON values, handed to reward functions by name; null in questions without them
    cluster             optional: the context's, else the context's id; questions of one context have the same one
    split               in every line or in none
    evidence            optional: the messages of the context that hold the answer

Where lines have a split, these are the splits. Else `train` and `val` are cut so that they share no cluster, with
data.num_val_clusters clusters in `val`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint, held_out_clusters
from rft.data.readers.data_files import SourceFolder, beside, check_text_file, looked_in, source_path
from rft.data.readers.format_options import check_options
from rft.data.readers.jsonl_records import (
    ContextIndex,
    Linker,
    QuestionReader,
    QuestionRow,
    index_contexts,
    parse_context,
    with_all_columns,
)
from rft.data.readers.jsonl_rows import read_jsonl, read_line_at
from rft.data.readers.rows import read_rows
from rft.records import Context, Question

MOST_STRATUM_VALUES = 20
"""A tag with more values is a breakdown but no stratum."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedData:
    """All that is held in memory.

    Example:
        LoadedData(questions=(...), split_of={"questions/1": "train"}, contexts=ContextIndex(...),
                   without_context=frozenset({"questions/2"}), num_lines=3, skipped={"answer": 1})
    """

    questions: tuple[Question, ...]
    """In file order, usable ones alone."""
    split_of: Mapping[str, str]
    """Split by question id; empty where no line has one."""
    contexts: ContextIndex
    without_context: frozenset[str]
    """Ids of questions that have an empty context of their own."""
    num_lines: int
    """Of questions.jsonl, blank ones left out."""
    skipped: dict[str, int]
    """Unusable lines of questions.jsonl by reason (`data.bad_rows: skip`)."""


class JsonlDataset(Dataset):
    """See the module's text for the layout. Questions are held in memory, contexts are read one at a time.

    Raises:
        ValueError: no folder, no questions.jsonl in it, a file that may not be read or is no text in UTF-8.
    """

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, (), "jsonl")
        self.folder = source_path(config.source)
        self.questions_path = self.folder / "questions.jsonl"
        self.contexts_path = self.folder / "contexts.jsonl"
        if not self.folder.is_dir():
            raise ValueError(
                f"data.source '{config.source}' is not a folder{looked_in(self.folder)}; name one that holds "
                "questions.jsonl"
            )
        if not self.questions_path.exists():
            raise ValueError(
                f"{self.questions_path} does not exist{beside(self.questions_path)}; data.format jsonl needs it in "
                "data.source"
            )
        folder = SourceFolder(self.folder, follow_links=config.follow_links)
        check_text_file(self.questions_path, folder)
        if self.contexts_path.exists():
            check_text_file(self.contexts_path, folder)

    @property
    def name(self) -> str:
        return f"jsonl-{self.folder.resolve().name}"

    # What the base class says for all instances is here said by the file. It is read at the first question.

    @cached_property
    def splits(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(self.loaded.split_of.values())) or ("train", "val")

    @cached_property
    def eval_split(self) -> str:  # type: ignore[override]
        others = [split for split in self.splits if split != "train"]
        return "val" if "val" in others else next(iter(others), "train")

    @cached_property
    def breakdowns(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(dict.fromkeys(tag for question in self.loaded.questions for tag in question.tags))

    @cached_property
    def strata(self) -> tuple[str, ...]:  # type: ignore[override]
        values: dict[str, set[str]] = {}
        for question in self.loaded.questions:
            for tag, value in question.tags.items():
                values.setdefault(tag, set()).add(value)
        return tuple(tag for tag in self.breakdowns if len(values[tag]) <= MOST_STRATUM_VALUES)

    def split(self, name: str) -> Split:
        self.check_split(name)
        loaded = self.loaded
        split_of = loaded.split_of or cut_by_cluster(loaded.questions, self.config.num_val_clusters)
        questions = tuple(question for question in loaded.questions if split_of[question.question_id] == name)
        assert questions, "a named split has a question, and a cut leaves clusters on both sides"
        return Split(
            name=name,
            questions=questions,
            manifest={
                "question_lines": loaded.num_lines,
                "rows_skipped": loaded.skipped,
                "contexts_skipped": loaded.contexts.skipped,
                "other_split": len(loaded.questions) - len(questions),
            },
        )

    def context(self, context_id: str) -> Context:
        if context_id in self.loaded.without_context:
            return Context(context_id=context_id, messages=())
        place = self.loaded.contexts.places.get(context_id)
        if place is None:
            raise RecordError("context_absent", f"{self.contexts_path} holds no usable context {context_id!r}")
        try:
            context = parse_context(read_line_at(self.contexts_path, place.number, place.offset))
        except (OSError, RecordError):
            context = None
        if context is None or context.context_id != context_id:
            raise ValueError(f"{self.contexts_path} has changed while it was in use; start again")
        return context

    def fingerprint(self) -> str:
        settings = ["jsonl", self.config.bad_rows, self.config.num_val_clusters]
        return files_fingerprint([self.questions_path, self.contexts_path], settings)

    @cached_property
    def loaded(self) -> LoadedData:
        """Read at first need. Mistakes in the questions are found before the contexts are read, which may be many."""
        bad_rows = self.config.bad_rows
        rows, unreadable = read_rows(read_jsonl(self.questions_path), QuestionReader().read, bad_rows)
        self.check_contexts(rows)
        linked = any("context_id" in row.values for row in rows)
        contexts = index_contexts(self.contexts_path, bad_rows) if linked else ContextIndex(places={}, skipped={})
        questions, unlinked = read_rows(rows, Linker(contexts.places).link, bad_rows)
        skipped = Counter(unreadable) + Counter(unlinked)
        if not questions:
            raise ValueError(
                f"{self.questions_path} holds no usable line ({skipped.total()} skipped); check that it is whole"
            )
        usable = {question.question_id for question in questions}
        rows = [row for row in rows if row.question_id in usable]
        return LoadedData(
            questions=with_all_columns(questions),
            split_of=named_splits(rows),
            contexts=contexts,
            without_context=frozenset(row.question_id for row in rows if "context_id" not in row.values),
            num_lines=len(questions) + skipped.total(),
            skipped=dict(skipped),
        )

    def check_contexts(self, rows: Sequence[QuestionRow]) -> None:
        """Raises ValueError where questions have contexts but the file does not exist, or the other way round."""
        first = next((row for row in rows if "context_id" in row.values), None)
        if first is not None and not self.contexts_path.exists():
            raise ValueError(
                f"{self.contexts_path} does not exist, but {first.row.place} has a context_id; add the file, or "
                "leave context_id out of every line"
            )
        if rows and first is None and self.contexts_path.exists() and any(read_jsonl(self.contexts_path)):
            raise ValueError(
                f"{self.contexts_path} holds contexts, but no line of {self.questions_path} has a context_id; add it "
                "to the questions, or remove the file"
            )


def named_splits(rows: Sequence[QuestionRow]) -> dict[str, str]:
    """The split that each question names, by its id; empty where none names one.

    Raises:
        ValueError: only some of them do.
    """
    named = [row for row in rows if "split" in row.values]
    if 0 < len(named) < len(rows):
        other = next(row for row in rows if "split" not in row.values)
        raise ValueError(
            f"{other.row.place} has no split, but line {named[0].row.number} has one; give one to every line or to none"
        )
    return {row.question_id: row.values["split"] for row in named}


def cut_by_cluster(questions: Sequence[Question], num_val_clusters: int) -> dict[str, str]:
    """`train` or `val` by question id.

    Raises:
        ValueError: too few clusters to cut.
    """
    clusters = {question.cluster for question in questions}
    if len(clusters) == 1:
        raise ValueError(
            f"all questions of questions.jsonl are of the cluster {clusters.pop()!r}, so that none can be held out for "
            "val; give every line a split, or give questions clusters"
        )
    held_out = held_out_clusters(clusters, num_val_clusters)
    return {question.question_id: "val" if question.cluster in held_out else "train" for question in questions}
