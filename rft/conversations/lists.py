"""Messages in plain lists, under the names that APIs, data sets and small programs give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft.conversations.content import read_time
from rft.conversations.conversation import Conversation, Transcript
from rft.conversations.turns import TIME_KEYS, is_turn, is_turns, items_of, read_each, read_turns

SHAREGPT_KEYS = ("conversations", "items")
LIST_KEYS = ("messages", "turns", "conversation", "conversations", "dialog", "dialogue", "history", "chat", "log",
             "items", "thread", "input", "output", "bubbles")  # fmt: skip
"""Under which an object has its list of messages."""
GROUP_KEYS = ("conversations", "chats", "threads", "sessions", "data", "items", "history", "tabs", "chat-sessions",
              "results")  # fmt: skip
"""Under which an object has a list of conversations."""


def list_key(item: Any) -> str | None:
    """Under which key an object has its messages."""
    return next((key for key in LIST_KEYS if is_turns(item.get(key))), None) if isinstance(item, dict) else None


def read_object(item: Mapping[str, Any]) -> Conversation:
    key = list_key(item)
    assert key is not None, "it was asked for"
    return read_turns(item[key], item)


def has_list(item: Any) -> bool:
    return list_key(item) is not None


# ----------------------------------------------------------------------------------------------------------- ShareGPT


def is_sharegpt_turns(value: Any) -> bool:
    return is_turns(value) and "from" in value[0] and "value" in value[0]


def is_sharegpt_item(item: Any) -> bool:
    """Turns with `from` and `value`, or the newer `role` and `content`, under a key of ShareGPT's own."""
    return isinstance(item, dict) and any(
        is_sharegpt_turns(item.get(key)) or (key == "conversations" and is_turns(item.get(key)))
        for key in SHAREGPT_KEYS
    )


def is_sharegpt(payload: Any) -> bool:
    return is_sharegpt_turns(payload) or any(is_sharegpt_item(item) for item in items_of(payload)[:3])


def read_sharegpt(payload: Any) -> list[Conversation]:
    return [read_turns(payload)] if is_turns(payload) else read_each(payload, is_sharegpt_item, read_object)


# ------------------------------------------------------------------------------------------------------------- OpenAI


def has_messages(item: Any) -> bool:
    """A request of the OpenAI or the Anthropic API, a fine-tuning example, or whatever else calls them `messages`."""
    return isinstance(item, dict) and is_turns(item.get("messages"))


def is_messages_object(payload: Any) -> bool:
    return has_messages(payload)


def is_messages_list(payload: Any) -> bool:
    return isinstance(payload, list) and any(has_messages(item) for item in payload[:3])


def read_messages_objects(payload: Any) -> list[Conversation]:
    return read_each(payload, has_messages, lambda item: read_turns(item["messages"], item))


def is_assistants_thread(payload: Any) -> bool:
    return isinstance(payload, dict) and payload.get("object") == "list" and is_turns(payload.get("data"))


def read_assistants_thread(payload: Any) -> list[Conversation]:
    """The API lists the newest message first."""
    messages = sorted(
        payload["data"], key=lambda item: read_time(item.get("created_at")) or 0.0 if is_turn(item) else 0.0
    )
    return [read_turns(messages, {"id": payload["data"][0].get("thread_id")})]


# ------------------------------------------------------------------------------------------------------- plain lists


def is_langchain(payload: Any) -> bool:
    if not is_turns(payload):
        return False
    first = payload[0]
    return "lc" in first or ("role" not in first and isinstance(first.get("data"), dict))


def is_plain_list(payload: Any) -> bool:
    """A list of messages, or JSON lines of which there is one."""
    alone = is_turn(payload) and any(key in payload for key in ("content", "value", "text", "parts"))
    return is_turns(payload) or alone


def read_plain_list(payload: Any) -> list[Conversation]:
    return [read_turns(items_of(payload))]


def is_sessions(payload: Any) -> bool:
    return isinstance(payload, list) and any(is_turns(session) for session in payload[:3])


def read_sessions(payload: Any) -> list[Conversation]:
    """A list of lists, in its own order."""
    return read_each(payload, lambda session: session == [] or is_turns(session), read_turns)


def is_group(payload: Any) -> bool:
    return isinstance(payload, dict) and group_key(payload) is not None


def group_key(payload: Mapping[str, Any]) -> str | None:
    for key in GROUP_KEYS:
        value = payload.get(key)
        found = list(value.values()) if isinstance(value, dict) else value
        if isinstance(found, list) and any(has_list(item) or is_turns(item) for item in found[:3]):
            return key
    return None


def read_group(payload: Any) -> list[Conversation]:
    """One object with all conversations, in a list or by their ids."""
    key = group_key(payload)
    assert key is not None, "it was asked for"
    value = payload[key]
    items = list(value.values()) if isinstance(value, dict) else value
    return read_each(
        items,
        lambda item: has_list(item) or is_turns(item),
        lambda item: read_object(item) if isinstance(item, dict) else read_turns(item),
    )


PAIR_KEYS = (
    ("user", "assistant"), ("user", "bot"), ("user", "ai"), ("human", "assistant"), ("human", "ai"), ("human", "bot"),
    ("query", "response"), ("query", "answer"), ("prompt", "response"), ("prompt", "answer"), ("question", "response"),
    ("question", "answer"),
)  # fmt: skip
"""Under which an object has what was asked and what was answered."""


def pair_of(item: Any) -> tuple[Any, Any] | None:
    """What was asked and what was answered, where an object or a list of two texts holds them."""
    if isinstance(item, dict):
        keys = next((keys for keys in PAIR_KEYS if all(isinstance(item.get(key), str) for key in keys)), None)
        return (item[keys[0]], item[keys[1]]) if keys else None
    is_pair = isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)
    return (item[0], item[1]) if is_pair and isinstance(item[1], str | None) else None


def pairs_in(payload: Any) -> list[Any]:
    """The pairs of a file: a list of them, or one object around it as chat windows save it."""
    if isinstance(payload, dict):
        payload = next((payload[key] for key in ("internal", "history", "entries", "pairs") if key in payload), None)
    return payload if isinstance(payload, list) else []


def is_pairs(payload: Any) -> bool:
    return any(pair_of(item) is not None for item in pairs_in(payload)[:3])


def read_pairs(payload: Any) -> list[Conversation]:
    """Questions with their answers, one after another."""
    transcript = Transcript()
    for item in pairs_in(payload):
        asked = pair_of(item)
        if asked is None:
            transcript.left_out["entries that are no conversation"] += 1
            continue
        time = next((item[key] for key in TIME_KEYS if key in item), None) if isinstance(item, dict) else None
        transcript.say("user", asked[0], time=time)
        transcript.say("assistant", asked[1])
    return [transcript.conversation()]


def is_cohere(payload: Any) -> bool:
    return (
        isinstance(payload, dict) and is_turns(payload.get("chat_history")) and isinstance(payload.get("message"), str)
    )


def read_cohere(payload: Any) -> list[Conversation]:
    """A request of Cohere's API: what was said, and what is asked now."""
    return [read_turns([*payload["chat_history"], {"role": "user", "content": payload["message"]}], payload)]


def is_objects(payload: Any) -> bool:
    return any(has_list(item) for item in items_of(payload)[:3])


def read_objects(payload: Any) -> list[Conversation]:
    return read_each(payload, has_list, read_object)
