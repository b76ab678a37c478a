"""The history files of PersonaMem-v2 (arXiv 2512.06688).

    data/chat_history_{32k,128k}/*.json                 {"metadata": {...}, "chat_history": [{role, content}, ...]}, or
                                                        the same object as the one row of a .parquet file

A history begins with a system message that describes the persona: it is the context's profile. Left out of a history:
messages without text. Kept: two user messages in a row. Mended: a reply whose text is split over stray keys
(split_replies.py). What was left out or mended is counted in the manifest (`odd_contexts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError, parse_count, parse_json, to_messages
from rft.data.readers.data_files import HEAD_BYTES, SourceFolder, beside, wrong_form
from rft.data.readers.parquet_rows import read_object
from rft.data.readers.split_replies import OWN_KEYS, put_together
from rft.git_lfs import POINTER_PROBLEM, POINTER_START, is_pointer
from rft.records import Context

MOST_NUMBERS = 5
"""Messages that a note names."""


def read_history(folder: SourceFolder, history_id: str) -> Context:
    """One history file. Its notes are `recorded_totals` that do not match what is there, `messages_without_text` that
    are left out, and `replies_put_together`.

    Args:
        history_id: the file's path in the folder.

    Raises:
        RecordError: absent, out of the folder, empty, not UTF-8, not whole JSON or not in the layout.
    """
    path = history_path(folder, history_id)
    return to_context(path, history_id, parse_history_file(path))


def to_context(path: Path, history_id: str, payload: dict[str, Any]) -> Context:
    """What `parse_history_file` gives, as `read_history` returns it."""
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
    """The file's object, messages and metadata as they are stored.

    Raises:
        RecordError: empty, not UTF-8, not whole JSON or not in the layout.
    """
    payload = read_history_table(path) if path.suffix == ".parquet" else read_history_json(path)
    if not isinstance(payload, dict) or not isinstance(payload.get("metadata"), dict) or "chat_history" not in payload:
        raise RecordError("history_format", f"{path} has no 'metadata' and 'chat_history' at its top level")
    return payload


def read_history_table(path: Path) -> Any:
    if is_pointer(path):
        raise RecordError("history_lfs_pointer", f"{path} {POINTER_PROBLEM}")
    try:
        payload = read_object(path)
    except ValueError as error:
        raise RecordError("history_parquet", str(error)) from None
    if isinstance(payload, dict) and isinstance(payload.get("chat_history"), list):
        payload["chat_history"] = list(map(without_gaps, payload["chat_history"]))
    return payload


def without_gaps(item: Any) -> Any:
    """A message without keys that only other messages of its table have: a table gives every row all columns."""
    if not isinstance(item, dict):
        return item
    return {key: value for key, value in item.items() if value is not None or key in OWN_KEYS}


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
