"""One turn of a chat as most programs write it: an object with a key for who speaks and a key for what is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rft.conversations.content import keys_of
from rft.conversations.conversation import Conversation, Transcript, speaker_of
from rft.data.readers.cells import CellError

SPEAKER_KEYS = ("role", "from", "sender", "speaker", "author")
CONTENT_KEYS = ("content", "value", "parts", "text", "message", "mes", "body", "contentChunks")
TIME_KEYS = ("timestamp", "time", "created_at", "createdAt", "create_time", "send_date", "date", "ts")
TOOL_KEYS = ("tool_calls", "function_call", "toolInvocations", "tool_use")
ID_KEYS = ("id", "uuid", "conversation_id", "conversationId", "chatId", "session_id", "sessionId", "thread_id",
           "custom_id", "question_id", "sample_id", "_id")  # fmt: skip
TITLE_KEYS = ("title", "name", "subject", "topic")
BEGIN_KEYS = ("create_time", "created_at", "createdAt", "inserted_at", "timestamp", "time", "date", "update_time",
              "updated_at", "updatedAt")  # fmt: skip

Item = Mapping[str, Any]


def is_turn(item: object) -> bool:
    """Whether an object says who speaks."""
    return isinstance(item, dict) and role_of(item) is not None


def is_turns(value: object) -> bool:
    """Whether a list begins with a turn."""
    return isinstance(value, list) and bool(value) and is_turn(value[0])


def role_of(item: Item) -> str | None:
    """Who speaks, as the file has it; None where it does not say."""
    for key in ("is_user", "isUser", "isCreatedByUser", "is_human"):
        if isinstance(found := item.get(key), bool):
            return "user" if found else "assistant"
    for key in SPEAKER_KEYS:
        found = item.get(key)
        if isinstance(found, dict):
            found = found.get("role", found.get("type"))
        if isinstance(found, str) and found.strip():
            return found
    kind = item.get("type")
    if isinstance(kind, str) and (kind == "constructor" or speaker_of(kind) is not None):
        return langchain_class(item) if kind == "constructor" else kind
    return None


def langchain_class(item: Item) -> str | None:
    """`HumanMessage` of LangChain's serialised messages."""
    name = item.get("id")
    last = name[-1] if isinstance(name, list) and name else None
    return last if isinstance(last, str) else None


def say_turn(transcript: Transcript, item: object) -> None:
    """Adds one turn.

    Raises:
        CellError: it is no object, or says neither who speaks nor what.
    """
    if not isinstance(item, dict):
        raise CellError(f"message {transcript.turns} is no object with a role and a content")
    role = role_of(item)
    if role is None:
        raise CellError(f"message {transcript.turns} does not say who speaks: it has {keys_of(item)}")
    time = next((item[key] for key in TIME_KEYS if item.get(key) is not None), None)
    calls_tools = any(item.get(key) for key in TOOL_KEYS)
    transcript.say(role, said(item), time=time, calls_tools=calls_tools)


def said(item: Item) -> object:
    """What is said; of several kinds of content the first that holds anything."""
    for inner in ("data", "kwargs"):  # LangChain
        if isinstance(item.get(inner), dict):
            item = {**item, **item[inner]}
    found = [item[key] for key in CONTENT_KEYS if key in item]
    return next((content for content in found if content not in (None, "", [])), None)


def read_turns(
    turns: Iterable[object], about: Item | None = None, *, say: Callable[[Transcript, object], None] = say_turn
) -> Conversation:
    """A list of turns as one conversation; `about` is the object around it.

    Raises:
        CellError: a turn that cannot be read.
    """
    transcript = Transcript()
    for item in turns:
        say(transcript, item)
    about = about or {}
    return transcript.conversation(
        conversation_id=first_of(about, ID_KEYS), title=first_of(about, TITLE_KEYS), time=first_of(about, BEGIN_KEYS)
    )


def first_of(item: Item, keys: Iterable[str]) -> object:
    return next((item[key] for key in keys if item.get(key) not in (None, "")), None)


def items_of(payload: object) -> list[Any]:
    """The conversations of a file that holds one or a list of them."""
    return payload if isinstance(payload, list) else [payload]


def read_each(
    payload: object, is_one: Callable[[Any], bool], read: Callable[[Any], Conversation]
) -> list[Conversation]:
    """Every conversation of an export; an entry that is none is counted.

    Raises:
        CellError: a message that cannot be read, with the number of its conversation where there are several.
    """
    items = items_of(payload)
    found = []
    for number, item in enumerate(items, 1):
        if not is_one(item):
            found.append(Conversation(messages=(), left_out=Counter({"entries that are no conversation": 1})))
            continue
        try:
            found.append(read(item))
        except CellError as error:
            raise CellError(f"conversation {number}: {error}" if len(items) > 1 else str(error)) from None
    return found
