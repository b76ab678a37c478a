"""PersonaMem-v2 (arXiv 2512.06688) as released, read as it is.

    benchmark/text/{train,val,benchmark}.csv            questions, or their Parquet files (personamem_csv.py)
    data/chat_history_{32k,128k}/*.json                 {"metadata": {...}, "chat_history": [{role, content}, ...]}, or
                                                        the same object as the one row of a .parquet file

A split needs the table of its own questions and the histories of those that are asked. The default train and val splits
are cut out of both tables and the benchmark's personas.

The released val.csv shares 735 personas with train.csv, and one persona of the benchmark is in both. So by default
(`data.train_split: persona`) the two files are pooled, rid of the benchmark's personas, and cut by persona.

A history begins with a system message that describes the persona: it is the context's profile. Left out of a history:
messages whose content is null or empty. Kept: two user messages in a row. Mended: a reply whose text is split over
stray keys (split_replies.py). What was left out or mended is counted in the manifest (`odd_contexts`).

The release's 511 questions about sensitive information cite evidence that is in no history, as others report. The tag
`sensitive_evidence` sets such questions apart: nothing in the history tells their answers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, get_args

import httpx
from huggingface_hub import snapshot_download

from rft.config import DataConfig
from rft.data.dataset import (
    Dataset,
    RecordError,
    Split,
    files_fingerprint,
    held_out_clusters,
    shuffled_options,
)
from rft.data.readers.cells import CellError, one_line, parse_count, parse_json, to_messages
from rft.data.readers.data_files import HEAD_BYTES, SourceFolder, beside, looked_in, source_path, wrong_form
from rft.data.readers.format_options import check_options
from rft.data.readers.parquet_rows import read_object
from rft.data.readers.personamem_csv import CsvName, Window, csv_path, read_personas, read_questions, table_files
from rft.data.readers.sensitive_evidence import NOT_SENSITIVE, TAG, sensitive_tags
from rft.data.readers.split_replies import put_together
from rft.git_lfs import POINTER_PROBLEM, POINTER_START, is_pointer
from rft.records import Context, Question

PAPER_SEED = 42

MOST_NUMBERS = 5
"""Messages that a note names."""


class PersonaMemV2(Dataset):
    """Users whose chats reveal what they prefer, and multiple-choice questions that such a preference decides."""

    splits: ClassVar[tuple[str, ...]] = get_args(CsvName)
    eval_split: ClassVar[str] = "val"
    breakdowns: ClassVar[tuple[str, ...]] = (
        "pref_type",
        "who",
        "updated",
        "sensitive",
        TAG,
        "scenario",
        "topic",
        "distance_tokens",
    )
    strata: ClassVar[tuple[str, ...]] = ("pref_type", "who", "updated")

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, (), "personamem_v2")
        self.window = window_of(config)
        self.root = resolve_source(config.source, config.revision, self.window)
        self.folder = SourceFolder(self.root, follow_links=config.follow_links)

    @property
    def name(self) -> str:
        return f"personamem_v2-{self.window}"

    def split(self, name: str) -> Split:
        """The questions in file order. `data.train_split: persona` needs all three CSV files for `train` and `val`;
        otherwise one split needs one file."""
        self.check_split(name)
        csv_name: CsvName = next(known for known in get_args(CsvName) if known == name)
        released = csv_name == "benchmark" or self.config.train_split == "paper"
        return self.with_evidence_tags(self.released_split(csv_name) if released else self.persona_split(csv_name))

    def with_evidence_tags(self, split: Split) -> Split:
        """The split with `sensitive_evidence` among the tags of its questions. The histories of sensitive ones are
        read for it."""
        tags = sensitive_tags(split.questions, self.context)
        questions = (
            replace(question, tags={**question.tags, TAG: tag})
            for question, tag in zip(split.questions, tags, strict=True)
        )
        sensitive = Counter(tag for tag in tags if tag != NOT_SENSITIVE)
        counts = {TAG: dict(sorted(sensitive.items()))} if sensitive else {}
        return replace(split, questions=tuple(questions), manifest=split.manifest | counts)

    def released_split(self, name: CsvName) -> Split:
        """One CSV as it is."""
        questions, skipped = read_questions(self.folder, name, self.window, self.config.bad_rows)
        manifest = {"csv_rows": {name: len(questions) + sum(skipped.values())}, "rows_skipped": skipped}
        return Split(name=name, questions=tuple(questions), manifest=manifest)

    def persona_split(self, name: CsvName) -> Split:
        """train.csv and val.csv pooled, without the benchmark's personas, and cut by persona."""
        self.check_all_files(name)
        pool: list[Question] = []
        skipped: Counter[str] = Counter()
        csv_rows: dict[str, int] = {}
        sources: tuple[CsvName, ...] = ("train", "val")
        for source in sources:
            questions, skips = read_questions(self.folder, source, self.window, self.config.bad_rows)
            pool += questions
            skipped.update(skips)
            csv_rows[source] = len(questions) + sum(skips.values())
        benchmark_personas = read_personas(self.folder, "benchmark")
        kept = [question for question in pool if question.cluster not in benchmark_personas]
        clusters = (question.cluster for question in kept)
        held_out = held_out_clusters(clusters, self.config.num_val_clusters, salt="persona ")
        chosen = tuple(question for question in kept if (question.cluster in held_out) == (name == "val"))
        assert chosen
        assert not {question.cluster for question in chosen} & benchmark_personas
        removed = {"persona_of_benchmark": len(pool) - len(kept), "other_split": len(kept) - len(chosen)}
        manifest = {"csv_rows": csv_rows, "rows_skipped": dict(skipped), "rows_of_other_splits": removed}
        return Split(name=name, questions=chosen, manifest=manifest)

    def check_all_files(self, name: str) -> None:
        for csv_name in get_args(CsvName):
            if not table_files(self.root, csv_name):
                raise ValueError(
                    f"{csv_path(self.root, csv_name)} does not exist{beside(csv_path(self.root, csv_name))}; with "
                    f"data.train_split=persona the {name} split is cut out of train.csv and val.csv without the "
                    "personas of benchmark.csv: add the file (or its Parquet file), or set data.train_split=paper, "
                    f"which reads {name}.csv alone"
                )

    def context(self, context_id: str) -> Context:
        return read_history(self.folder, context_id)

    def option_order(self, question: Question) -> tuple[int, ...]:
        """The paper's order for a CSV row: Python's `random.seed(42 + row)`, then a shuffle of [correct, *incorrect].
        Rows count from 0."""
        row = int(question.question_id.rpartition("/")[2])
        return shuffled_options(question, PAPER_SEED + row)

    def fingerprint(self) -> str:
        tables = [path for csv_name in get_args(CsvName) for path in table_files(self.root, csv_name)]
        histories = (self.root / "data" / f"chat_history_{self.window}").glob("*")
        config = self.config
        settings = [self.window, config.train_split, config.num_val_clusters, config.bad_rows]
        return files_fingerprint([*tables, *histories], settings)


# ---------------------------------------------------------------------------------------------------------- source


def window_of(config: DataConfig) -> Window:
    """`data.window`, where PersonaMem-v2 has it."""
    for window in get_args(Window):
        if window == config.window:
            known: Window = window
            return known
    raise ValueError(
        f"PersonaMem-v2 has no histories of data.window={config.window}; set it to {' or '.join(get_args(Window))}"
    )


def resolve_source(source: str, revision: str | None, window: Window) -> Path:
    """The folder that holds the data set: `source` itself, or the hub's snapshot at a commit.

    Only the questions' tables and the histories of one window are downloaded. `revision` is a full commit hash:
    a branch or a tag may move, and then a run could not be repeated.

    Raises:
        ValueError: no such folder, a hub id without a commit, a download that fails.
    """
    folder = source_path(source)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source) or source.startswith("."):
        raise ValueError(
            f"data.source '{source}' is not a folder{looked_in(folder)}; name one in the PersonaMem-v2 layout, or a "
            "hub id"
        )
    if folder.parent.is_dir():
        raise ValueError(
            f"data.source '{source}' is not a folder{looked_in(folder)}, although {folder.parent} is one; correct the "
            "name, or start where it is relative to"
        )
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise ValueError(
            f"data.source '{source}' is not a folder{looked_in(folder)}, and as a hub data set it needs data.revision, "
            f"the 40 digits of a commit, not {revision!r}"
        )
    patterns = ["benchmark/text/*.csv", "data/*_text-*.parquet", f"data/chat_history_{window}/*.json"]
    try:
        return Path(snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise ValueError(
            f"data.source '{source}' is not a folder{looked_in(folder)}, and the hub data set of that name cannot be "
            f"downloaded at revision {revision} ({one_line(error)}); "
            "check the id, the revision and the network, or set data.source to a folder that holds it"
        ) from None


# -------------------------------------------------------------------------------------------------------- histories


def read_history(folder: SourceFolder, history_id: str) -> Context:
    """One history file. Its notes are `recorded_totals` that do not match what is there, `messages_without_text` that
    are left out, and `replies_put_together`.

    Args:
        history_id: the file's path in the folder.

    Raises:
        RecordError: absent, out of the folder, empty, not UTF-8, not whole JSON or not in the layout.
    """
    path = history_path(folder, history_id)
    payload = parse_history_file(path)
    metadata = payload["metadata"]
    try:
        persona = str(parse_count(str(metadata.get("persona_id"))))
        mended, repaired = mend(payload["chat_history"])
        stored = list(to_messages(mended))
    except CellError as error:
        raise RecordError("history_format", f"{path}: metadata.persona_id or chat_history {error}") from None
    messages = tuple(message for message in stored if message is not None)
    if not messages:
        raise RecordError("history_empty", f"{path}: chat_history has no message with text")
    notes = {}
    recorded = metadata.get("total_messages", len(stored))
    if recorded != len(stored):
        notes["recorded_totals"] = f"{history_id}: metadata.total_messages is {recorded}, but there are {len(stored)}"
    if len(messages) < len(stored):
        notes["messages_without_text"] = (
            f"{history_id}: {len(stored) - len(messages)} messages without text are left out "
            f"({numbers(index for index, message in enumerate(stored) if message is None)})"
        )
    if repaired:
        notes["replies_put_together"] = f"{history_id}: text under stray keys is put together ({numbers(repaired)})"
    profile = messages[0] if messages[0].role == "system" else None
    return Context(
        context_id=history_id,
        messages=messages[1:] if profile else messages,
        cluster=persona,
        profile=profile,
        notes=notes,
    )


def mend(items: Any) -> tuple[Any, list[int]]:
    """A history's messages with split replies put together, and the numbers of those that were, from 0."""
    if not isinstance(items, list):
        return items, []
    mended = [put_together(item) for item in items]
    return mended, [index for index, item in enumerate(items) if mended[index] is not item]


def numbers(found: Iterable[int]) -> str:
    """Numbers of messages for a note, the first few of many."""
    shown = list(found)
    more = f" and {len(shown) - MOST_NUMBERS} more" if len(shown) > MOST_NUMBERS else ""
    return f"message {', '.join(map(str, shown[:MOST_NUMBERS]))}{more}, counted from 0"


def history_path(folder: SourceFolder, history_id: str) -> Path:
    """The file of a history: of that name, or with the ending `.parquet` instead.

    Raises:
        RecordError: there is none, or it may not be read.
    """
    path = folder.path / history_id
    try:
        if not path.exists() and path.with_suffix(".parquet").is_file():
            path = path.with_suffix(".parquet")
        if not path.exists():
            raise RecordError("history_absent", f"{path} does not exist{beside(path)}")
        if problem := folder.problem_of(path):
            raise RecordError("history_link", f"{path} {problem}")
        if not path.is_file():
            raise RecordError("history_unreadable", f"{path} cannot be read (it is no file)")
    except OSError as error:
        raise RecordError("history_unreadable", f"{path} cannot be read ({error.strerror})") from None
    return path


def parse_history_file(path: Path) -> dict[str, Any]:
    payload = read_history_table(path) if path.suffix == ".parquet" else read_history_json(path)
    if not isinstance(payload, dict) or not isinstance(payload.get("metadata"), dict) or "chat_history" not in payload:
        raise RecordError("history_format", f"{path} has no 'metadata' and 'chat_history' at its top level")
    return payload


def read_history_table(path: Path) -> Any:
    if is_pointer(path):
        raise RecordError("history_lfs_pointer", f"{path} {POINTER_PROBLEM}")
    try:
        return read_object(path)
    except ValueError as error:
        raise RecordError("history_parquet", str(error)) from None


def read_history_json(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError("history_unreadable", f"{path} cannot be read ({error.strerror})") from None
    if problem := wrong_form(content[:HEAD_BYTES]):
        reason = "history_lfs_pointer" if content.startswith(POINTER_START) else "history_encoding"
        raise RecordError(reason, f"{path} {problem}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordError("history_encoding", f"{path} is not UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise RecordError("history_empty", f"{path} is empty")
    try:
        return parse_json(text)
    except CellError as error:
        raise RecordError("history_json", f"{path} {error}") from None
