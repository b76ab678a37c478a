"""Which format a file is in, told by what it holds and by nothing else; the first that fits is taken.

`FORMATS` is the list: whoever adds a reader adds a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rft.conversations import benchmarks, chatgpt, claude, coding_sessions, exports, gemini, lists, refused
from rft.conversations.content import keys_of
from rft.conversations.conversation import Conversation
from rft.data.readers.cells import CellError


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write conversations down.

    Example:
        Format(name="ChatGPT export", fits=is_chatgpt, read=read_chatgpt)
    """

    name: str
    fits: Callable[[Any], bool]
    """Whether a JSON value is in this format; looks at its beginning."""
    read: Callable[[Any], list[Conversation]]
    """Raises CellError for a message that cannot be read."""
    several_users: bool = False
    """Its conversations are of different people, so that one has to be chosen."""


FORMATS = (
    Format(name="ChatGPT export", fits=chatgpt.is_chatgpt, read=chatgpt.read_chatgpt),
    Format(name="DeepSeek export", fits=chatgpt.is_deepseek, read=chatgpt.read_deepseek),
    Format(name="Claude export", fits=claude.is_claude, read=claude.read_claude),
    Format(name="Open WebUI export", fits=exports.is_open_webui, read=exports.read_open_webui),
    Format(name="Gemini activity of Google Takeout", fits=gemini.is_gemini_activity, read=gemini.read_gemini_activity),
    Format(name="Gemini API contents", fits=gemini.is_gemini_api, read=gemini.read_gemini_api),
    Format(name="AI Studio prompt", fits=gemini.is_ai_studio, read=gemini.read_ai_studio),
    Format(name="Grok export", fits=exports.is_grok, read=exports.read_grok),
    Format(name="GitHub Copilot chat", fits=coding_sessions.is_copilot, read=coding_sessions.read_copilot),
    Format(name="LM Studio chat", fits=exports.is_lm_studio, read=exports.read_lm_studio),
    Format(name="Character.AI chat", fits=exports.is_character_ai, read=exports.read_character_ai),
    Format(name="SillyTavern chat", fits=exports.is_silly_tavern, read=exports.read_silly_tavern),
    Format(name="Le Chat export", fits=exports.is_le_chat, read=exports.read_le_chat),
    Format(name="Claude Code session", fits=coding_sessions.is_claude_code, read=coding_sessions.read_claude_code),
    Format(name="Codex session", fits=coding_sessions.is_codex, read=coding_sessions.read_codex),
    Format(name="LibreChat export", fits=exports.is_librechat, read=exports.read_librechat),
    Format(name="Cohere API request", fits=lists.is_cohere, read=lists.read_cohere),
    Format(name="PersonaMem history", fits=benchmarks.is_personamem, read=benchmarks.read_personamem),
    Format(name="LongMemEval", fits=benchmarks.is_longmemeval, read=benchmarks.read_longmemeval, several_users=True),
    Format(name="LoCoMo", fits=benchmarks.is_locomo, read=benchmarks.read_locomo, several_users=True),
    *(Format(name=name, fits=fits, read=refused.refuse(reason)) for name, fits, reason in refused.REFUSED),
    Format(name="ShareGPT", fits=lists.is_sharegpt, read=lists.read_sharegpt),
    Format(name="OpenAI Assistants thread", fits=lists.is_assistants_thread, read=lists.read_assistants_thread),
    Format(name="messages object", fits=lists.is_messages_object, read=lists.read_messages_objects),
    Format(name="OpenAI fine-tuning examples", fits=lists.is_messages_list, read=lists.read_messages_objects),
    Format(name="LangChain messages", fits=lists.is_langchain, read=lists.read_plain_list),
    Format(name="list of messages", fits=lists.is_plain_list, read=lists.read_plain_list),
    Format(name="questions with answers", fits=lists.is_pairs, read=lists.read_pairs),
    Format(name="list of sessions", fits=lists.is_sessions, read=lists.read_sessions),
    Format(name="conversations in one object", fits=lists.is_group, read=lists.read_group),
    Format(name="objects with a list of messages", fits=lists.is_objects, read=lists.read_objects),
)
"""In the order in which they are tried: those of one program before those that many share."""


WRAPPERS = ("conversations", "chats", "threads", "sessions", "data", "items", "history", "entries", "state", "values",
            "body", "request", "payload", "export", "results", "thread", "chat", "conversation")  # fmt: skip
"""Under one of these a program may put the whole of a format that is known here."""


def format_of(payload: Any) -> tuple[Format, Any]:
    """The format of a JSON value, and what of it is in that format: the value, or what another object wraps.

    Raises:
        CellError: none that is known here.
    """
    for inner in unwrapped(payload):
        for known in FORMATS:
            if known.fits(inner):
                return known, inner
    raise CellError(f"holds no conversation in a format that is known here: it is {described(payload)}")


def unwrapped(payload: Any, depth: int = 2) -> Iterator[Any]:
    """The value itself, then what it wraps: under a usual key, by ids, or in each object of a list."""
    yield payload
    if depth == 0:
        return
    inner: list[Any] = []
    if isinstance(payload, dict):
        inner = [payload[key] for key in WRAPPERS if isinstance(payload.get(key), dict | list) and payload[key]]
        if payload and all(isinstance(value, dict) for value in payload.values()):
            inner.append(list(payload.values()))
    elif isinstance(payload, list) and payload and isinstance(payload[0], dict):
        keys = [key for key in WRAPPERS if isinstance(payload[0].get(key), dict)]
        inner = [[item.get(key) for item in payload if isinstance(item, dict)] for key in keys]
    for value in inner:
        yield from unwrapped(value, depth - 1)


def described(payload: Any) -> str:
    if payload in ([], {}):
        return f"an empty {'list' if isinstance(payload, list) else 'object'}"
    if isinstance(payload, dict):
        return f"an object with {keys_of(payload)}"
    if isinstance(payload, list):
        first = payload[0]
        kind = "objects with " + keys_of(first) if isinstance(first, dict) else f"{json_kind(first)}s"
        return f"a list of {kind}"
    return f"a single {json_kind(payload)}"


def json_kind(value: Any) -> str:
    kinds = {bool: "truth value", int: "number", float: "number", str: "text", list: "list", type(None): "null"}
    return kinds.get(type(value), "value")
