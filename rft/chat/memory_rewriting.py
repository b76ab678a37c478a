"""Writing a memory anew from a conversation, chunk by chunk: nothing that was paid for is lost, and no memory either.

Each update is kept beside the memory file before the next begins, and the file changes once, at the end. A reply that
drops nearly everything is not taken unless a person says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rft.chat.memory_files import MemoryFile, Progress, task_fingerprint
from rft.records import Message

if TYPE_CHECKING:
    from rft.chat.memory_models import MemoryModel
    from rft.data.chunks import Chunk

LONG_MEMORY = 40
"""Distinct words from which on a memory is long enough to be lost."""

SHARE_KEPT = 0.2
"""Of the distinct words of a long memory; a reply with fewer of them drops nearly everything."""

WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]|[^\W\u3040-\u9fff\uac00-\ud7af\u0e00-\u0e7f]+"
)
"""A run of letters and digits; a single character of the scripts that put no spaces between words."""


class UndecidedError(Exception):
    """Nothing came that can be used, or a person has to decide: why, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewriting:
    """Everything that one build or update needs.

    Example:
        Rewriting(memory_file=MemoryFile(Path("MEMORY.md")), model=model, chunks=[chunk], before="- Likes tea.",
                  may_drop=False, tell=print)
    """

    memory_file: MemoryFile
    model: MemoryModel
    chunks: Sequence[Chunk]
    before: str
    """The memory in the file."""
    may_drop: bool
    """A reply may drop nearly everything."""
    tell: Callable[[str], None]
    """Says a line while it goes on."""


def rewrite_memory(
    memory_file: MemoryFile,
    model: MemoryModel,
    messages: Sequence[Message],
    before: str,
    *,
    model_name: tuple[str, str | None],
    may_drop: bool,
    tell: Callable[[str], None],
) -> tuple[str, str]:
    """Reads a conversation chunk by chunk; the file changes once, at the end.

    Args:
        before: the memory in the file.
        model_name: with its revision; work that another one left is not continued.
        may_drop: a reply may drop nearly everything.
        tell: says a line while it goes on.

    Returns:
        What was done in a line, and a note, which may be empty.

    Raises:
        ValueError: the memory is too long, the endpoint went away, the disk is full.
        UndecidedError: nothing can be used, or a reply drops nearly everything.
    """
    from rft.data.chunks import cut_chunks

    check_length(model, memory_file.path, before)
    rewriting = Rewriting(
        memory_file=memory_file,
        model=model,
        chunks=cut_chunks(messages, model.writer.prompts.chat, model.config.chunk_tokens),
        before=before,
        may_drop=may_drop,
        tell=tell,
    )
    return finish(rewriting, rewrite(rewriting, begin(rewriting, model_name)))


def check_length(model: MemoryModel, path: Path, memory: str) -> None:
    """Refuses a memory that a person has made longer than a model may make it."""
    tokens, limit = model.writer.num_tokens(memory), model.config.max_memory_tokens
    if tokens > limit:
        raise ValueError(
            f"{path} has {tokens:,} tokens, {tokens - limit:,} more than --max-memory-tokens {limit:,}; shorten it, or "
            "raise the limit"
        )


def begin(rewriting: Rewriting, model_name: tuple[str, str | None]) -> Progress:
    """Where an interrupted run of the same command has stopped, or the beginning."""
    config = rewriting.model.config
    settings = [*model_name, config.chunk_tokens, config.max_memory_tokens]
    task = task_fingerprint(
        [rewriting.before, *(chunk.text for chunk in rewriting.chunks)], [*settings, config.max_update_length]
    )
    found = rewriting.memory_file.progress(task)
    if found is not None and found.total == len(rewriting.chunks):
        rewriting.tell(f"{rewriting.memory_file.part}: going on after {found.done} of {found.total} updates")
        return found
    return Progress(task=task, done=0, total=len(rewriting.chunks), memory=rewriting.before)


def rewrite(rewriting: Rewriting, progress: Progress) -> Progress:
    """Makes the updates that are missing; each is kept on disk before the next begins.

    Raises:
        ValueError: the endpoint went away, or the disk is full.
        UndecidedError: a reply drops nearly everything.
    """
    from tqdm import tqdm

    with tqdm(total=progress.total, initial=progress.done, desc="memory", unit="chunk", disable=None) as bar:
        for chunk in rewriting.chunks[progress.done :]:
            try:
                memory, failure = rewriting.model.update(chunk, progress.memory)
                what = f"reply {progress.done + 1} of {progress.total}"
                check_drop(rewriting, what, progress.memory, memory)
            except ValueError as error:
                raise ValueError(f"{error}{kept_work(rewriting, progress)}") from None
            failures = Counter(progress.failures)
            if failure is not None:
                failures[str(failure)] += 1
            progress = replace(progress, done=progress.done + 1, memory=memory, failures=dict(failures))
            rewriting.memory_file.keep(progress)
            bar.update()
    return progress


def kept_work(rewriting: Rewriting, progress: Progress) -> str:
    """What follows an error: nothing that was paid for is lost."""
    if not progress.done:
        return ""
    place = rewriting.memory_file.part
    return f"; {progress.done} of {progress.total} updates are kept in {place}, and the same command goes on"


def check_drop(rewriting: Rewriting, what: str, before: str, after: str) -> None:
    """A memory that is nearly lost is kept beside, and only with --yes does a run go on.

    Raises:
        UndecidedError: without --yes.
    """
    kept, words = words_kept(before, after)
    if words < LONG_MEMORY or kept >= SHARE_KEPT * words:
        return
    place = rewriting.memory_file.back_up(before)
    line = f"{what} keeps {kept} of the {words} words of the memory before it, which is kept in {place}"
    if not rewriting.may_drop:
        raise UndecidedError(f"{line}; {rewriting.memory_file.path} is as before, and --yes goes on")
    rewriting.tell(line)


def words_kept(before: str, after: str) -> tuple[int, int]:
    """How many distinct words of a memory are in another one, and how many it has."""
    words = set(WORD.findall(before.casefold()))
    return len(words & set(WORD.findall(after.casefold()))), len(words)


def finish(rewriting: Rewriting, progress: Progress) -> tuple[str, str]:
    """Replaces the memory, where any update could be used; what was done, and a note or nothing.

    Raises:
        ValueError: it cannot be written.
        UndecidedError: none could, or the memory is nearly lost.
    """
    memory_file, unusable = rewriting.memory_file, sum(progress.failures.values())
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(progress.failures.items()))
    if unusable == progress.total:
        memory_file.forget_progress()
        left = "is as before" if memory_file.exists() else "is not written"
        raise UndecidedError(f"none of the {unusable} replies is a memory: {reasons}; {memory_file.path} {left}")
    check_drop(rewriting, "the new memory", rewriting.before, progress.memory)  # little by little
    try:
        memory_file.write(progress.memory)
    except ValueError as error:
        raise ValueError(f"{error}{kept_work(rewriting, progress)}") from None
    memory_file.forget_progress()
    tokens = rewriting.model.writer.num_tokens(progress.memory)
    done = f"{memory_file.path}: {tokens} tokens after {progress.total} updates"
    if not unusable:
        return done, ""
    return done, (
        f"{unusable} of the {progress.total} updates could not be used: {reasons}; the memory before them stayed"
    )
