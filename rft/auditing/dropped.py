"""Text that is stored where no reader takes it from: beside the messages, or under a key that describes one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rft.auditing.words import words_of
from rft.data.readers.split_replies import MOST_LEVELS, OWN_KEYS, SIDE_KEYS, stray_keys

FEWEST_WORDS = 5
"""Of a text; a label, such as a topic or a date, has fewer."""

FEWEST_OF_SENTENCE = 3
"""Of a text that ends as a sentence does."""

FEWEST_OF_METADATA = 20
"""Of a text among the metadata, which may well describe the file in a sentence."""

SENTENCE_END = re.compile("[.!?\u3002\uff1f\uff01\u0964\u061f][\"')]*\\s*\\Z")

FILE_KEYS = ("metadata", "chat_history")

SHOWN = 60
"""Characters of a text in a case."""


def lost_from_message(item: Any) -> Iterator[str]:
    """Texts of a message under keys that say something about it, a phrase for each key."""
    for key, value in item.items() if isinstance(item, dict) else ():
        if key in OWN_KEYS:
            continue
        if text := first_text(value if key.lower() in SIDE_KEYS else described(value)):
            yield f"{key!r} holds {text[:SHOWN]!r}"


def described(value: Any, levels: int = MOST_LEVELS) -> list[Any]:
    """What stands under describing keys below a value: the reader leaves it out on every level."""
    if not levels or not isinstance(value, dict | list):
        return []
    below = value if isinstance(value, list) else [value[key] for key in stray_keys(value)]
    sides = [value[key] for key in value if key.lower() in SIDE_KEYS] if isinstance(value, dict) else []
    return [*sides, *(found for one in below for found in described(one, levels - 1))]


def lost_from_query(message: Mapping[str, Any]) -> Iterator[str]:
    """Texts under other keys of a query than `role` and `content`: the reader takes none of them."""
    for key in message:
        if key not in OWN_KEYS and (text := first_text(message[key])):
            yield f"user_query, {key!r} holds {text[:SHOWN]!r}"


def lost_from_file(payload: Mapping[str, Any]) -> Iterator[str]:
    """Texts and conversations of a history file beside its messages."""
    for key, value in payload.items():
        if key in FILE_KEYS:
            continue
        if conversation := messages_below(value):
            yield f"{key!r} holds {conversation} messages beside chat_history"
        elif text := first_text(value):
            yield f"{key!r} holds {text[:SHOWN]!r}"
    for key, value in payload["metadata"].items():
        if conversation := messages_below(value):
            yield f"metadata.{key} holds {conversation} messages"
        elif text := first_text(value, FEWEST_OF_METADATA):
            yield f"metadata.{key} holds {text[:SHOWN]!r}"


def keys_twice(text: str) -> Iterator[str]:
    """Keys that one object of a JSON text has twice, a phrase for each: of their values only the last one is read."""
    found: list[str] = []

    def take(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            found.extend(key for key, count in counts.items() if count > 1)
        return values

    json.loads(text, object_pairs_hook=take)
    yield from (f"{key!r} is there twice in one object" for key in dict.fromkeys(found))


def messages_below(value: Any, levels: int = MOST_LEVELS) -> int:
    """How many objects with a role and a text a value holds."""
    if not levels or not isinstance(value, dict | list):
        return 0
    if isinstance(value, dict) and {"role", "content"} <= value.keys():
        return 1
    return sum(messages_below(one, levels - 1) for one in (value.values() if isinstance(value, dict) else value))


def first_text(value: Any, fewest: int = FEWEST_WORDS, levels: int = MOST_LEVELS) -> str | None:
    """The first text of a value that is more than a label."""
    if isinstance(value, str):
        num_words = sum(any(map(str.isalpha, word)) for word in words_of(value))
        is_sentence = SENTENCE_END.search(value) and fewest == FEWEST_WORDS and num_words >= FEWEST_OF_SENTENCE
        return " ".join(value.split()) if num_words >= fewest or is_sentence else None
    if not levels or not isinstance(value, dict | list):
        return None
    below = value.values() if isinstance(value, dict) else value
    return next((text for one in below if (text := first_text(one, fewest, levels - 1))), None)
