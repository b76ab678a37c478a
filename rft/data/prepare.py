"""A split made ready for the engine: every context tokenised once, cached on disk, its questions appended on demand.

    data = prepare(config.data, dataset, tokenizer, wording, "train")
    prompt = data.prompt(0, data.eval_order(0))

The cache is a folder per (data, settings, tokenizer, wording): contexts.arrow and questions.arrow, both memory-mapped,
and manifest.json with what was read, left out and measured. It appears by one rename; one that was damaged later (cut,
overwritten, emptied by a crash of the machine) is noticed by the hashes in its manifest and built again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import tokenizers
import transformers
from filelock import FileLock
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from rft.config import DataConfig, to_dict
from rft.data.chat_template import ChatParts, ChatTemplate
from rft.data.contexts import Rendering, Tally, TokenizedContext, tokenize_contexts
from rft.data.dataset import Dataset, Split, content_fingerprint
from rft.data.prompts import Wording, shown_order, wording_text
from rft.records import Message, Prompt, Question

CACHE_VERSION = 5
"""Raised by whoever changes what is written for the same data, settings, tokenizer and wording."""

MANIFEST = "manifest.json"
TABLES = (CONTEXTS, QUESTIONS) = ("contexts.arrow", "questions.arrow")

MESSAGE_TYPE = pa.struct([("role", pa.string()), ("content", pa.string())])

QUESTION_SCHEMA = pa.schema(
    {
        "question_id": pa.string(),
        "context_id": pa.string(),
        "query": pa.string(),
        "correct_answer": pa.string(),
        "incorrect_answers": pa.list_(pa.string()),
        "cluster": pa.string(),
        "evidence": pa.list_(MESSAGE_TYPE),
        "tags": pa.string(),
        "columns": pa.string(),
    }
)
"""`tags` and `columns` are JSON: their names are the data set's."""

CONTEXT_SCHEMA = pa.schema(
    {
        "context_id": pa.string(),
        "input_ids": pa.list_(pa.int32()),
        "header": pa.string(),
        "footer": pa.string(),
    }
)


# ---------------------------------------------------------------------------------------------------- what comes out


class PreparedSplit:
    """The questions of a split, and their prompts on demand. Token ids of contexts stay on disk, memory-mapped.

    `questions` is in the data set's order; `manifest` says what was read, left out and measured, and has the
    `fingerprint` of its content.
    """

    def __init__(self, folder: Path, rendering: Rendering) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        self.questions = read_questions(folder / QUESTIONS)
        self._rendering = rendering
        self._contexts = datasets.Dataset.from_file(str(folder / CONTEXTS)).with_format("numpy")
        self._row_of = {context_id: row for row, context_id in enumerate(self._contexts["context_id"])}
        # Questions of one context come next to each other.
        self._context = lru_cache(maxsize=4)(self._read_context)

    def __len__(self) -> int:
        return len(self.questions)

    def eval_order(self, index: int) -> tuple[int, ...]:
        """The order in which an evaluation shows the options of question `index`."""
        return self._rendering.dataset.option_order(self.questions[index])

    def prompt(self, index: int, option_order: Sequence[int]) -> Prompt:
        """Question `index` as token ids, its answers shown in `option_order`.

        Another order can be a token or two longer than `eval_order`, with which every prompt is known to fit. Where
        it would not fit `max_prompt_length`, `eval_order` is shown instead; `Prompt.option_order` says what is.
        """
        question = self.questions[index]
        limit = self._rendering.data.max_prompt_length
        context_ids, parts = self._context(question.context_id)
        tail = self._tail(question, parts, option_order)
        if len(context_ids) + len(tail) > limit:
            option_order = self.eval_order(index)
            tail = self._tail(question, parts, option_order)
        assert len(context_ids) + len(tail) <= limit
        return Prompt(
            question=question,
            token_ids=context_ids + tail,
            num_context_tokens=len(context_ids),
            option_order=shown_order(self._rendering.wording, question, option_order),
        )

    def _tail(self, question: Question, parts: ChatParts, option_order: Sequence[int]) -> tuple[int, ...]:
        asked = self._rendering.wording.ask(question, option_order)
        return tuple(self._rendering.chat.encode([parts.tail(asked)])[0].tolist())

    def _read_context(self, context_id: str) -> tuple[tuple[int, ...], ChatParts]:
        row = self._contexts[self._row_of[context_id]]
        header, footer = str(row["header"]), str(row["footer"])
        parts = ChatParts(history="", header=header, footer=footer, quote=self._rendering.chat.quote)
        return tuple(row["input_ids"].tolist()), parts


def prepare(
    data: DataConfig, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, wording: Wording, name: str
) -> PreparedSplit:
    """Reads split `name`, tokenises its contexts or finds them in `data.cache_dir`. Loads no model.

    Processes that prepare the same split wait for the first one and take its result.

    Raises:
        ValueError: a source, file or row that cannot be used, a prompt that is too long with `length_policy: error`,
            a chat template whose prompts do not share their context.
    """
    dataset.check_split(name)
    rendering = Rendering(data=data, dataset=dataset, chat=ChatTemplate(tokenizer), wording=wording)
    identity = cache_identity(rendering, name)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = Path(data.cache_dir) / "prepared" / f"{name}-{key[:24]}"
    if find_damage(folder, identity) is not None:
        make_folder(folder.parent)
        with locked(Path(f"{folder}.lock")):
            # Another process may have built it meanwhile.
            if (damage := find_damage(folder, identity)) is not None:
                if os.path.lexists(folder):
                    warnings.warn(f"{folder} is damaged ({damage}); it is removed and built again", stacklevel=2)
                    remove(folder)
                build(rendering, name, folder, settings=identity)
    return PreparedSplit(folder, rendering)


def find_damage(folder: Path, identity: dict[str, Any]) -> str | None:
    """What is wrong with a cache folder; None where it is as it was built."""
    if not folder.is_dir():
        return "it is no folder" if os.path.lexists(folder) else "it is absent"
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return f"{MANIFEST} cannot be read"
    if not isinstance(manifest, dict) or manifest.get("cache_identity") != json.loads(json.dumps(identity)):
        return f"{MANIFEST} is not the one that was written"
    hashes = manifest.get("sha256")
    for name in TABLES:
        try:
            found = hash_of(folder / name)
        except OSError:
            return f"{name} cannot be read"
        if not isinstance(hashes, dict) or hashes.get(name) != found:
            return f"{name} is not what was written"
    return None


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(folder: Path) -> None:
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            folder.unlink()
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: {folder} is damaged and cannot be removed ({error.strerror}); remove it by hand"
        ) from None


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Holds a lock that other processes, of other machines too, wait for.

    Raises:
        ValueError: the file system has no locks. (Where it only lacks `flock`, filelock uses the file's existence.)
    """
    lock = FileLock(file)
    try:
        lock.acquire()
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: {file.parent} cannot be locked ({error.strerror}); name a folder on another file system, "
            "each machine may have its own"
        ) from None
    try:
        yield
    finally:
        lock.release()


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: cannot make {folder} ({error.strerror}); name a folder that can be written"
        ) from None


# ---------------------------------------------------------------------------------------------------------- the cache


def cache_identity(rendering: Rendering, name: str) -> dict[str, Any]:
    """Everything that changes what `build` writes; the cache key is its hash."""
    settings = to_dict(rendering.data)
    for key in ("questions_per_context", "permute_options", "cache_dir", "follow_links", "curriculum"):
        del settings[key]
    return {
        "version": CACHE_VERSION,
        "split": name,
        "settings": settings,
        "data": rendering.dataset.fingerprint(),
        "tokenizer": rendering.chat.fingerprint,
        "wording": hashlib.sha256(wording_text(rendering.wording).encode()).hexdigest(),
        "versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__},
    }


def build(rendering: Rendering, name: str, folder: Path, settings: dict[str, Any]) -> None:
    """Writes the cache folder. What an interrupted build left behind is removed first.

    Raises:
        ValueError: it cannot be written; or what `write_tables` raises.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        manifest = write_tables(rendering, name, partial)
        manifest |= {"tokenizer": rendering.chat.name, "cache_identity": settings}
        manifest["sha256"] = {table: hash_of(partial / table) for table in TABLES}
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        os.rename(partial, folder)
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: cannot write {partial} ({error.strerror or error}); name a folder that has room and "
            "can be written"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_tables(rendering: Rendering, name: str, folder: Path) -> dict[str, Any]:
    """Writes both tables and returns the manifest."""
    split = rendering.dataset.split(name)
    tally = Tally()
    lengths = Lengths()
    kept: set[str] = set()
    digests: list[str] = []
    with (
        pa.OSFile(str(folder / CONTEXTS), "wb") as file,
        pa.ipc.new_stream(file, CONTEXT_SCHEMA) as writer,
        tqdm(total=len({q.context_id for q in split.questions}), desc=f"tokenize {name}", unit="context") as bar,
    ):
        for some in tokenize_contexts(rendering, split.questions, tally):
            writer.write_batch(context_batch(some))
            lengths.add(some)
            kept.update(question.question_id for context in some for question in context.questions)
            digests += [item.digest for item in some]
            bar.update(len(some))
    questions = [question for question in split.questions if question.question_id in kept]
    if not questions:
        raise ValueError(
            f"no question of the {name} split is left: {dict(tally.bad_rows)}, {dict(tally.too_long)}; "
            f"correct the data or raise data.max_prompt_length ({rendering.data.max_prompt_length})"
        )
    write_questions(folder / QUESTIONS, questions)
    tally.warn()
    fingerprint = content_fingerprint(questions, digests)
    return make_manifest(split, questions, lengths, tally) | {"fingerprint": fingerprint}


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of everything that was prepared."""

    context: list[int] = dataclasses.field(default_factory=list)
    question: list[int] = dataclasses.field(default_factory=list)
    prompt: list[int] = dataclasses.field(default_factory=list)

    def add(self, some: Sequence[TokenizedContext]) -> None:
        for item in some:
            self.context.append(len(item.token_ids))
            self.question.extend(item.tail_lengths)
            self.prompt.extend(len(item.token_ids) + tail for tail in item.tail_lengths)


def make_manifest(split: Split, questions: Sequence[Question], lengths: Lengths, tally: Tally) -> dict[str, Any]:
    """What was read, what was left out and why, and how long the rest is."""
    return {
        "split": split.name,
        "num_questions": len(questions),
        "num_contexts": len(lengths.context),
        "num_clusters": len({question.cluster for question in questions}),
        **split.manifest,
        "rows_skipped": rows_skipped(split, tally),
        "length_policy": dict(sorted(tally.too_long.items())),
        "odd_contexts": dict(sorted(tally.odd_contexts.items())),
        "notes": tally.notes,
        "tokens": {
            "context": statistics(lengths.context),
            "question": statistics(lengths.question),
            "prompt": statistics(lengths.prompt),
        },
    }


def rows_skipped(split: Split, tally: Tally) -> dict[str, int]:
    """Questions left out by reason: what was wrong with their rows, or with their contexts."""
    return dict(sorted((Counter(split.manifest.get("rows_skipped", {})) + tally.bad_rows).items()))


def statistics(lengths: Sequence[int]) -> dict[str, float]:
    return {
        "min": int(np.min(lengths)),
        "median": float(np.median(lengths)),
        "max": int(np.max(lengths)),
        "sum": int(np.sum(lengths)),
    }


# ---------------------------------------------------------------------------------------------------------- the tables


def context_batch(some: Sequence[TokenizedContext]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(item.token_ids) for item in some)], dtype=np.int32)
    values = np.concatenate([item.token_ids for item in some]) if some else np.empty(0, dtype=np.int32)
    columns = [
        pa.array([item.context_id for item in some], pa.string()),
        pa.ListArray.from_arrays(offsets, values),
        pa.array([item.parts.header for item in some], pa.string()),
        pa.array([item.parts.footer for item in some], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CONTEXT_SCHEMA)


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    rows = [
        dataclasses.asdict(question)
        | {"tags": json.dumps(dict(question.tags)), "columns": json.dumps(dict(question.columns))}
        for question in questions
    ]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, QUESTION_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=QUESTION_SCHEMA))


def read_questions(path: Path) -> list[Question]:
    return [to_question(row) for row in datasets.Dataset.from_file(str(path)).to_list()]


def to_question(row: dict[str, Any]) -> Question:
    return Question(
        **row
        | {
            "incorrect_answers": tuple(row["incorrect_answers"]),
            "evidence": tuple(Message(**message) for message in row["evidence"]),
            "tags": json.loads(row["tags"]),
            "columns": json.loads(row["columns"]),
        }
    )
