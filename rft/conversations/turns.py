"""One turn of a chat as most programs write it: an object with a key for who speaks and a key for what is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rft.conversations.content import keys_of
from rft.conversations.conversation import Conversation, Transcript, speaker_of
from rft.data.readers.cells import CellError

SPEAKER_KEYS = ("role", "from", "sender", "speaker", "author", "Role", "Sender", "Author", "source", "kind")
VAGUE_KEYS = ("source", "kind")
"""They say who speaks only where they name a speaker."""
CONTENT_KEYS = ("content", "value", "parts", "text", "message", "mes", "body", "contentChunks", "blocks",
                "contentParts", "fragments", "segments", "Content", "Message", "Text", "refusal")  # fmt: skip
TIME_KEYS = ("timestamp", "time", "created_at", "createdAt", "create_time", "send_date", "date", "ts", "Time")
FILE_KEYS = ("files", "attachments", "experimental_attachments")
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
        if isinstance(found, str) and found.strip() and (key not in VAGUE_KEYS or speaker_of(found) is not None):
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
    if item.get("channel") in ("analysis", "commentary"):  # gpt-oss
        role = "thought"
    transcript.say(role, said(item), time=time, calls_tools=calls_tools)


def said(item: Item) -> object:
    """What is said; of several kinds of content the first that holds anything."""
    for inner in ("data", "kwargs"):  # LangChain
        if isinstance(item.get(inner), dict):
            item = {**item, **item[inner]}
    found = [item[key] for key in CONTENT_KEYS if key in item]
    audio = item.get("audio")
    found.append(audio.get("transcript") if isinstance(audio, dict) else None)
    content = next((content for content in found if content not in (None, "", [])), None)
    files = [file for key in FILE_KEYS for file in named_files(item.get(key))]
    return [content, *files] if files else content


def named_files(files: object, *, without_images: bool = False) -> list[Item]:
    """Files that stand beside a message, as parts of it; only those with a name, without what is in them.

    Args:
        without_images: they are parts already.
    """
    found: list[Item] = []
    for file in files if isinstance(files, list) else ():
        if not isinstance(file, dict):
            continue
        name = first_of(file, ("name", "file_name", "filename"))
        kinds = " ".join(str(file.get(key)) for key in ("type", "mime_type", "mimeType", "contentType"))
        is_image = "image" in kinds.lower()
        if isinstance(name, str) and not (is_image and without_images):
            found.append({"type": "image" if is_image else "file", "name": name})
    return found


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
