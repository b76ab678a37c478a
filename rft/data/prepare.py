"""A split made ready for the engine: every history tokenised once, cached on disk, its questions appended on demand.

    data = prepare(config, tokenizer, "train")
    prompt = data.prompt(0, data.eval_order(0))

The cache is a folder per (files, settings, tokenizer, code): histories.arrow and questions.arrow, both memory-mapped,
and manifest.json with what was read, left out and measured. It appears by one rename, so it is whole or absent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
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

from rft.config import Config, DataConfig, to_dict
from rft.data import chat_template, histories, personamem, prompts, splits, truncation
from rft.data.chat_template import ChatParts, ChatTemplate
from rft.data.histories import Tally, TokenizedHistory
from rft.data.splits import Split, SplitName
from rft.records import Message, Prompt, Question

MESSAGE_TYPE = pa.struct([("role", pa.string()), ("content", pa.string())])

QUESTION_SCHEMA = pa.schema(
    {
        "question_id": pa.string(),
        "row": pa.int64(),
        "persona_id": pa.int64(),
        "history_id": pa.string(),
        "query": pa.string(),
        "correct_answer": pa.string(),
        "incorrect_answers": pa.list_(pa.string()),
        "pref_type": pa.string(),
        "who": pa.string(),
        "updated": pa.bool_(),
        "sensitive": pa.bool_(),
        "scenario": pa.string(),
        "topic": pa.string(),
        "preference": pa.string(),
        "distance_tokens": pa.int64(),
        "evidence": pa.list_(MESSAGE_TYPE),
    }
)

HISTORY_SCHEMA = pa.schema(
    {
        "history_id": pa.string(),
        "input_ids": pa.list_(pa.int32()),
        "header": pa.string(),
        "footer": pa.string(),
    }
)


# ---------------------------------------------------------------------------------------------------- what comes out


class PreparedSplit:
    """The questions of a split, and their prompts on demand. Token ids of histories stay on disk, memory-mapped.

    `questions` is in file order; `manifest` says what was read, left out and measured.
    """

    def __init__(self, folder: Path, chat: ChatTemplate, max_prompt_length: int) -> None:
        self.manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self.questions = read_questions(folder / "questions.arrow")
        self._chat = chat
        self._max_prompt_length = max_prompt_length
        self._histories = datasets.Dataset.from_file(str(folder / "histories.arrow")).with_format("numpy")
        self._row_of = {history_id: row for row, history_id in enumerate(self._histories["history_id"])}
        # Questions of one history come next to each other.
        self._history = lru_cache(maxsize=4)(self._read_history)

    def __len__(self) -> int:
        return len(self.questions)

    def eval_order(self, index: int) -> tuple[int, ...]:
        """The paper's option order of question `index`."""
        return prompts.paper_option_order(self.questions[index].row)

    def prompt(self, index: int, option_order: Sequence[int]) -> Prompt:
        """Question `index` as token ids, its answers shown in `option_order`.

        Another order can be a token or two longer than `eval_order`, with which every prompt is known to fit. Where
        it would not fit `max_prompt_length`, `eval_order` is shown instead; `Prompt.option_order` says what is.
        """
        question = self.questions[index]
        history_ids, parts = self._history(question.history_id)
        tail = self._tail(question, parts, option_order)
        if len(history_ids) + len(tail) > self._max_prompt_length:
            option_order = self.eval_order(index)
            tail = self._tail(question, parts, option_order)
        assert len(history_ids) + len(tail) <= self._max_prompt_length
        letters = prompts.LETTERS[: len(option_order)]
        return Prompt(
            question_id=question.question_id,
            persona_id=question.persona_id,
            history_id=question.history_id,
            token_ids=history_ids + tail,
            num_history_tokens=len(history_ids),
            letters=letters,
            gold=prompts.gold_letter(option_order),
            option_order=tuple(option_order),
            pref_type=question.pref_type,
            who=question.who,
            updated=question.updated,
            sensitive=question.sensitive,
            scenario=question.scenario,
            query=question.query,
        )

    def _tail(self, question: Question, parts: ChatParts, option_order: Sequence[int]) -> tuple[int, ...]:
        content = prompts.question_message(question, option_order).content
        return tuple(self._chat.encode([parts.tail(content)])[0].tolist())

    def _read_history(self, history_id: str) -> tuple[tuple[int, ...], ChatParts]:
        row = self._histories[self._row_of[history_id]]
        parts = ChatParts(history="", header=str(row["header"]), footer=str(row["footer"]))
        return tuple(row["input_ids"].tolist()), parts


def prepare(config: Config, tokenizer: PreTrainedTokenizerBase, name: SplitName) -> PreparedSplit:
    """Reads split `name`, tokenises its histories or finds them in `data.cache_dir`. Loads no model.

    Processes that prepare the same split wait for the first one and take its result.

    Raises:
        ValueError: a source, file or row that cannot be used, a prompt that is too long with `length_policy: error`,
            a chat template whose prompts do not share their history.
    """
    data = config.data
    root = personamem.resolve_source(data.source, data.revision, data.window)
    chat = ChatTemplate(tokenizer)
    identity = cache_identity(data, root, chat, name)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = Path(data.cache_dir) / "prepared" / f"{name}-{key[:24]}"
    make_folder(folder.parent)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            build(data, root, chat, name, folder, settings=identity)
    return PreparedSplit(folder, chat, data.max_prompt_length)


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data.cache_dir: cannot make {folder} ({error.strerror}); name a folder that can be written"
        ) from None


# ---------------------------------------------------------------------------------------------------------- the cache


def cache_identity(data: DataConfig, root: Path, chat: ChatTemplate, name: SplitName) -> dict[str, Any]:
    """Everything that changes what `build` writes; the cache key is its hash."""
    settings = to_dict(data)
    for key in ("questions_per_history", "permute_options", "cache_dir"):
        del settings[key]
    sources = [*(root / "benchmark" / "text").glob("*.csv"), *(root / "data" / f"chat_history_{data.window}").glob("*")]
    modules = (chat_template, histories, personamem, prompts, splits, truncation)
    code = [Path(path).read_bytes() for path in (__file__, *(str(module.__file__) for module in modules))]
    return {
        "split": name,
        "data": settings,
        "root": str(root.resolve()),
        "files": hashlib.sha256(
            json.dumps(sorted(file_state(path) for path in sources if path.is_file())).encode()
        ).hexdigest(),
        "tokenizer": chat.fingerprint,
        "code": hashlib.sha256(b"\0".join(code)).hexdigest(),
        "versions": {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__},
    }


def file_state(path: Path) -> tuple[str, int, int]:
    state = path.stat()
    return path.name, state.st_size, state.st_mtime_ns


def build(
    data: DataConfig, root: Path, chat: ChatTemplate, name: SplitName, folder: Path, settings: dict[str, Any]
) -> None:
    """Writes the cache folder. What an interrupted build left behind is removed first."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        manifest = write_tables(data, root, chat, name, partial)
        manifest |= {"tokenizer": chat.name, "cache_identity": settings}
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_tables(data: DataConfig, root: Path, chat: ChatTemplate, name: SplitName, folder: Path) -> dict[str, Any]:
    """Writes both tables and returns the manifest."""
    split = splits.load_split(data, root, name)
    tally = Tally()
    lengths = Lengths()
    kept: set[str] = set()
    with (
        pa.OSFile(str(folder / "histories.arrow"), "wb") as file,
        pa.ipc.new_stream(file, HISTORY_SCHEMA) as writer,
        tqdm(total=len({q.history_id for q in split.questions}), desc=f"tokenize {name}", unit="history") as bar,
    ):
        for chunk in histories.tokenize_histories(data, root, split.questions, chat, tally):
            writer.write_batch(history_batch(chunk))
            lengths.add(chunk)
            kept.update(question.question_id for history in chunk for question in history.questions)
            bar.update(len(chunk))
    questions = [question for question in split.questions if question.question_id in kept]
    if not questions:
        raise ValueError(
            f"no question of the {name} split is left: {dict(tally.bad_rows)}, {dict(tally.too_long)}; "
            f"correct the data or raise data.max_prompt_length ({data.max_prompt_length})"
        )
    write_questions(folder / "questions.arrow", questions)
    tally.warn()
    return make_manifest(split, questions, lengths, tally)


@dataclasses.dataclass(frozen=True, slots=True)
class Lengths:
    """Token counts of everything that was prepared."""

    history: list[int] = dataclasses.field(default_factory=list)
    question: list[int] = dataclasses.field(default_factory=list)
    prompt: list[int] = dataclasses.field(default_factory=list)

    def add(self, chunk: Sequence[TokenizedHistory]) -> None:
        for item in chunk:
            self.history.append(len(item.token_ids))
            self.question.extend(item.tail_lengths)
            self.prompt.extend(len(item.token_ids) + tail for tail in item.tail_lengths)


def make_manifest(split: Split, questions: Sequence[Question], lengths: Lengths, tally: Tally) -> dict[str, Any]:
    """What was read, what was left out and why, and how long the rest is."""
    return {
        "split": split.name,
        "num_questions": len(questions),
        "num_histories": len(lengths.history),
        "num_personas": len({question.persona_id for question in questions}),
        "csv_rows": split.csv_rows,
        "rows_skipped": dict(sorted((Counter(split.skipped) + tally.bad_rows).items())),
        "rows_of_other_splits": split.removed,
        "length_policy": dict(sorted(tally.too_long.items())),
        "odd_histories": dict(sorted(tally.odd_histories.items())),
        "notes": tally.notes,
        "tokens": {
            "history": statistics(lengths.history),
            "question": statistics(lengths.question),
            "prompt": statistics(lengths.prompt),
        },
    }


def statistics(lengths: Sequence[int]) -> dict[str, float]:
    return {
        "min": int(np.min(lengths)),
        "median": float(np.median(lengths)),
        "max": int(np.max(lengths)),
        "sum": int(np.sum(lengths)),
    }


# ---------------------------------------------------------------------------------------------------------- the tables


def history_batch(chunk: Sequence[TokenizedHistory]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(item.token_ids) for item in chunk)], dtype=np.int32)
    values = np.concatenate([item.token_ids for item in chunk]) if chunk else np.empty(0, dtype=np.int32)
    columns = [
        pa.array([item.history_id for item in chunk], pa.string()),
        pa.ListArray.from_arrays(offsets, values),
        pa.array([item.parts.header for item in chunk], pa.string()),
        pa.array([item.parts.footer for item in chunk], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=HISTORY_SCHEMA)


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    rows = [dataclasses.asdict(question) for question in questions]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, QUESTION_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=QUESTION_SCHEMA))


def read_questions(path: Path) -> list[Question]:
    return [to_question(row) for row in datasets.Dataset.from_file(str(path)).to_list()]


def to_question(row: dict[str, Any]) -> Question:
    evidence = tuple(Message(**message) for message in row["evidence"])
    return Question(**row | {"incorrect_answers": tuple(row["incorrect_answers"]), "evidence": evidence})
