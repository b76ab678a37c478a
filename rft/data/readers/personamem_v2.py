"""PersonaMem-v2 (arXiv 2512.06688) as released, read as it is.

    benchmark/text/{train,val,benchmark}.csv            questions, or their Parquet files (personamem_csv.py)
    data/chat_history_{32k,128k}/*.json                 {"metadata": {...}, "chat_history": [{role, content}, ...]}, or
                                                        the same object as the one row of a .parquet file

A split needs the table of its own questions and the histories of those that are asked. The default train and val splits
are cut out of both tables and the benchmark's personas.

The released val.csv shares 735 personas with train.csv, and one persona of the benchmark is in both. So by default
(`data.train_split: persona`) the two files are pooled, rid of the benchmark's personas, and cut by persona.

The release's 511 questions about sensitive information cite evidence that is in no history, as others report. The tag
`sensitive_evidence` sets such questions apart: nothing in the history tells their answers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, get_args

import httpx
from huggingface_hub import snapshot_download

from rft.config import DataConfig
from rft.data.dataset import (
    Dataset,
    Split,
    files_fingerprint,
    held_out_clusters,
    shuffled_options,
)
from rft.data.readers.cells import one_line
from rft.data.readers.data_files import SourceFolder, beside, looked_in, source_path
from rft.data.readers.format_options import check_options
from rft.data.readers.personamem_csv import CsvName, Window, csv_path, read_personas, read_questions, table_files
from rft.data.readers.personamem_histories import read_history
from rft.data.readers.sensitive_evidence import NOT_SENSITIVE, TAG, sensitive_tags
from rft.records import Context, Question

PAPER_SEED = 42


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
