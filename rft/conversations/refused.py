"""JSON that holds no conversation of a user with an assistant, told apart so that the refusal can name it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from rft.conversations.turns import items_of
from rft.data.readers.cells import CellError

BETWEEN_PEOPLE = "a chat between people; nobody in it is an assistant"


def refuse(reason: str) -> Callable[[Any], NoReturn]:
    """A reader that refuses."""

    def read(payload: Any) -> NoReturn:
        raise CellError(f"is {reason}")

    return read


def has_keys(*keys: str) -> Callable[[Any], bool]:
    """Whether the first objects of a file, or of the `messages` in it, have all of these keys."""

    def fits(payload: Any) -> bool:
        inner = payload.get("messages") if isinstance(payload, dict) else None
        items = [*items_of(payload)[:5], *(inner[:5] if isinstance(inner, list) else [])]
        return any(isinstance(item, dict) and all(key in item for key in keys) for item in items)

    return fits


def is_slack(payload: Any) -> bool:
    return has_keys("user", "text", "ts")(payload) or has_keys("name", "creator", "members")(payload)


def is_discord(payload: Any) -> bool:
    exported = isinstance(payload, dict) and "guild" in payload and "channel" in payload
    return exported or has_keys("ID", "Timestamp", "Contents")(payload)


def is_telegram(payload: Any) -> bool:
    chats = payload.get("chats") if isinstance(payload, dict) else None
    listed = isinstance(chats, dict) and "list" in chats
    return listed or has_keys("from_id", "text")(payload) or has_keys("actor_id", "action")(payload)


def is_signal(payload: Any) -> bool:
    return has_keys("conversationId", "sent_at", "body")(payload)


def is_phone(payload: Any) -> bool:
    """Messages of a telephone: WhatsApp's, iMessage's and SMS tools mark those that its owner sent."""
    chats = payload.get("chats") if isinstance(payload, dict) else None
    inner = chats if isinstance(chats, list) else []
    return any(has_keys(key)(one) for key in ("fromMe", "from_me", "is_from_me") for one in (payload, *inner[:3]))


def is_teams(payload: Any) -> bool:
    inner = payload.get("conversations") if isinstance(payload, dict) else None
    return isinstance(inner, list) and has_keys("MessageList")(inner)


def is_matrix(payload: Any) -> bool:
    inner = payload.get("messages") if isinstance(payload, dict) else payload
    kinds = [item.get("type") for item in items_of(inner)[:50] if isinstance(item, dict)]
    return any(isinstance(kind, str) and kind.startswith("m.room.") for kind in kinds)


def is_mail(payload: Any) -> bool:
    return has_keys("from", "to", "subject")(payload)


def is_beside_chats(payload: Any) -> bool:
    """The other files of an export of ChatGPT or Claude: account, ratings, projects, links."""
    kinds = (
        ("email", "chatgpt_plus_user"), ("full_name", "email_address"), ("conversation_id", "rating"),
        ("conversation_id", "is_anonymous"), ("uuid", "docs"), ("uuid", "prompt_template"),
    )  # fmt: skip
    holds_chats = any(isinstance(item, dict) and "messages" in item for item in items_of(payload)[:5])
    return not holds_chats and any(has_keys(*keys)(payload) for keys in kinds)


def is_reply(payload: Any) -> bool:
    """A reply of an API by itself: what it answers is not in it."""
    kinds = (("object", "choices"), ("choices", "model"), ("candidates",), ("type", "role", "content", "stop_reason"))
    alone = isinstance(payload, dict) and "messages" not in payload
    return alone and any(all(key in payload for key in keys) for keys in kinds)


def is_pairs_of_preference(payload: Any) -> bool:
    return has_keys("chosen", "rejected")(payload) or has_keys("preferred_output", "non_preferred_output")(payload)


def is_api_error(payload: Any) -> bool:
    return isinstance(payload, dict) and bool(payload.get("error")) and "messages" not in payload


REFUSED: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("Slack export", is_slack, f"a Slack export, {BETWEEN_PEOPLE}"),
    ("Telegram export", is_telegram, f"a Telegram export, {BETWEEN_PEOPLE}"),
    ("Discord export", is_discord, f"a Discord export, {BETWEEN_PEOPLE}"),
    ("Signal export", is_signal, f"a Signal export, {BETWEEN_PEOPLE}"),
    ("messages of a telephone", is_phone, f"an export of messages of a telephone (WhatsApp, SMS), {BETWEEN_PEOPLE}"),
    ("Teams export", is_teams, f"a Teams export, {BETWEEN_PEOPLE}"),
    ("Matrix export", is_matrix, f"a Matrix export, {BETWEEN_PEOPLE}"),
    ("Google Chat export", has_keys("creator", "created_date"), f"a Google Chat export, {BETWEEN_PEOPLE}"),
    ("e-mail", is_mail, "a list of e-mails, which no assistant is in"),
    (
        "other file of an export",
        is_beside_chats,
        "part of an export that holds no chat; name the conversations.json beside it",
    ),
    (
        "reply of an API",
        is_reply,
        "a reply of an API without the chat that it answers; save the request's messages too",
    ),
    ("Messenger export", has_keys("sender_name", "timestamp_ms"), f"a Messenger or Instagram export, {BETWEEN_PEOPLE}"),
    (
        "Google activity",
        has_keys("header", "title", "time", "products"),
        "an activity of Google Takeout, but not of Gemini; choose Gemini Apps under My Activity",
    ),
    ("preference pairs", is_pairs_of_preference, "a data set of preference pairs, of which no chat was held"),
    ("Alpaca", has_keys("instruction", "output"), "a data set of instructions (Alpaca), of which no chat was held"),
    (
        "prompts and completions",
        has_keys("prompt", "completion"),
        'a data set of prompts and completions; write them as {"messages": [...]} with roles',
    ),
    ("error of an API", is_api_error, "the error message of an API"),
)
"""Name, what fits, and what the line says after `is`."""
