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
    return has_keys("user", "text", "ts")(payload)


def is_discord(payload: Any) -> bool:
    return isinstance(payload, dict) and "guild" in payload and "channel" in payload


def is_telegram(payload: Any) -> bool:
    chats = payload.get("chats") if isinstance(payload, dict) else None
    return has_keys("from_id", "text")(payload) or (isinstance(chats, dict) and "list" in chats)


def is_api_error(payload: Any) -> bool:
    return isinstance(payload, dict) and bool(payload.get("error")) and "messages" not in payload


REFUSED: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("Slack export", is_slack, f"a Slack export, {BETWEEN_PEOPLE}"),
    ("Telegram export", is_telegram, f"a Telegram export, {BETWEEN_PEOPLE}"),
    ("Discord export", is_discord, f"a Discord export, {BETWEEN_PEOPLE}"),
    ("Messenger export", has_keys("sender_name", "timestamp_ms"), f"a Messenger or Instagram export, {BETWEEN_PEOPLE}"),
    (
        "Google activity",
        has_keys("header", "title", "time", "products"),
        "an activity of Google Takeout, but not of Gemini; choose Gemini Apps under My Activity",
    ),
    ("preference pairs", has_keys("chosen", "rejected"), "a data set of preference pairs, of which no chat was held"),
    ("Alpaca", has_keys("instruction", "output"), "a data set of instructions (Alpaca), of which no chat was held"),
    (
        "prompts and completions",
        has_keys("prompt", "completion"),
        'a data set of prompts and completions; write them as {"messages": [...]} with roles',
    ),
    ("error of an API", is_api_error, "the error message of an API"),
)
"""Name, what fits, and what the line says after `is`."""
