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
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import tokenizers
import transformers
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from rft.config import DataConfig, to_dict
from rft.data.cache_folder import MANIFEST, find_damage, hash_of, locked, make_folder, remove
from rft.data.chat_template import ChatParts, ChatTemplate
from rft.data.contexts import Rendering, Tally, TokenizedContext, tokenize_contexts
from rft.data.dataset import Dataset, Split, content_fingerprint
from rft.data.prepared_tables import (
    CONTEXT_SCHEMA,
    CONTEXTS,
    QUESTIONS,
    TABLES,
    context_batch,
    read_questions,
    write_questions,
)
from rft.data.prompts import Wording, shown_order, wording_text
from rft.records import Prompt, Question

CACHE_VERSION = 7
"""Raised by whoever changes what is written for the same data, settings, tokenizer and wording."""

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
    if find_damage(folder, identity, TABLES) is not None:
        make_folder(folder.parent)
        with locked(Path(f"{folder}.lock")):
            # Another process may have built it meanwhile.
            if (damage := find_damage(folder, identity, TABLES)) is not None:
                if os.path.lexists(folder):
                    warnings.warn(f"{folder} is damaged ({damage}); it is removed and built again", stacklevel=2)
                    remove(folder)
                build(rendering, name, folder, settings=identity)
    return PreparedSplit(folder, rendering)


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
