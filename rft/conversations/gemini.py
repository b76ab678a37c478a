"""Gemini: bodies of its API, prompts saved by AI Studio, and the activity that Google's Takeout holds."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from rft.conversations.content import read_time
from rft.conversations.conversation import Conversation, Transcript
from rft.conversations.turns import is_turn, items_of, read_each, read_turns
from rft.data.readers.cells import CellError

PROMPTED = "Prompted "
"""How the title of an activity begins in English; other languages have other words, or none."""

TAG = re.compile(r"<[^<>]*>")
BLOCK_END = re.compile(r"<br\s*/?>|</(?:p|div|li|h[1-6]|tr|pre)>", re.IGNORECASE)


def is_contents(value: Any) -> bool:
    """A list of {"role", "parts"}; other programs name the type of each part."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return False
    parts = value[0].get("parts")
    parts = [parts] if isinstance(parts, dict) else parts
    names_types = isinstance(parts, list) and any(
        isinstance(part, dict) and any(key in part for key in ("type", "part_kind", "kind")) for part in parts
    )
    return isinstance(parts, list) and not names_types and "content" not in value[0] and "kind" not in value[0]


def has_contents(item: Any) -> bool:
    """A request of the API, or a chat that its library keeps."""
    if not isinstance(item, dict):
        return False
    one = isinstance(item.get("contents"), str) and bool(item["contents"].strip())
    return one or is_contents(item.get("contents")) or is_contents(item.get("history"))


def is_gemini_api(payload: Any) -> bool:
    return is_contents(payload) or any(has_contents(item) for item in items_of(payload)[:3])


def read_gemini_api(payload: Any) -> list[Conversation]:
    if is_contents(payload):
        return [read_turns(map(with_role, payload))]

    def read(item: Mapping[str, Any]) -> Conversation:
        contents = item["contents"] if is_contents(item.get("contents")) else item.get("history")
        if isinstance(item.get("contents"), str):
            contents = [{"role": "user", "parts": [{"text": item["contents"]}]}]
        assert isinstance(contents, list), "it was asked for"
        return read_turns(map(with_role, contents), item)

    return read_each(payload, has_contents, read)


def with_role(turn: Any) -> Any:
    """A content without a role is the user's, as the API has it."""
    return {"role": "user", **turn} if isinstance(turn, dict) and not is_turn(turn) else turn


def is_ai_studio_prompt(item: Any) -> bool:
    prompt = item.get("chunkedPrompt") if isinstance(item, dict) else None
    return isinstance(prompt, dict) and isinstance(prompt.get("chunks"), list)


def is_ai_studio(payload: Any) -> bool:
    return any(is_ai_studio_prompt(item) for item in items_of(payload)[:3])


def read_ai_studio(payload: Any) -> list[Conversation]:
    """A chunk is a turn, with its text or a file; thoughts are marked."""

    def say(transcript: Transcript, chunk: object) -> None:
        if not isinstance(chunk, dict):
            raise CellError(f"message {transcript.turns} is no object")
        files = [
            {"type": "image" if "Image" in key else "file"} for key in chunk if key.startswith(("drive", "inline"))
        ]
        spoken = {key: chunk[key] for key in ("text", "isThought", "thought") if key in chunk}
        transcript.say(chunk.get("role") or "user", [spoken, *files], time=chunk.get("createTime"))

    return read_each(
        payload, is_ai_studio_prompt, lambda item: read_turns(item["chunkedPrompt"]["chunks"], item, say=say)
    )


# ----------------------------------------------------------------------------------------------------------- activity


def is_activity_entry(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("title"), str) and "header" in item and "time" in item


def is_gemini_activity(payload: Any) -> bool:
    return any(is_activity_entry(item) and of_gemini(item) for item in items_of(payload)[:200])


def of_gemini(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of Google's activity is Gemini's, which was Bard."""
    products = entry.get("products")
    names = [entry.get("header"), *(products if isinstance(products, list) else [])]
    return any(isinstance(name, str) and ("gemini" in name.lower() or "bard" in name.lower()) for name in names)


def read_gemini_activity(payload: Any) -> list[Conversation]:
    """Each entry holds what was asked in its title and the reply as HTML, the newest first: one conversation in time
    order, since the file does not say where one ends."""
    entries = [item for item in items_of(payload) if is_activity_entry(item)]
    english = any(entry["title"].startswith(PROMPTED) for entry in entries)
    transcript = Transcript()
    transcript.left_out["entries that are no conversation"] += len(items_of(payload)) - len(entries)
    for entry in sorted(entries, key=lambda entry: read_time(entry["time"]) or 0.0):
        if not of_gemini(entry) or (english and not entry["title"].startswith(PROMPTED)):
            transcript.left_out["entries of activity without a prompt"] += 1
            continue
        transcript.say("user", entry["title"].removeprefix(PROMPTED), time=entry["time"])
        items = entry.get("safeHtmlItem")
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict) and isinstance(item.get("html"), str):
                transcript.say("assistant", text_of_html(item["html"]))
    return [transcript.conversation(title="Gemini activity")]


def text_of_html(source: str) -> str:
    """The text of a piece of HTML, a line for each block."""
    text = html.unescape(TAG.sub("", BLOCK_END.sub("\n", source)))
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
