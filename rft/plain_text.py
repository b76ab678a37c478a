"""Text from models and people, made safe to print and to store: what steers a terminal and what is no character.

Nothing else changes: a text of characters, line breaks and tabs comes back as it was.
"""

from __future__ import annotations

import re
import unicodedata

ESCAPE_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]"  # colours, moves of the cursor
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"  # titles, links, the clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x80-\x9f]*(?:\x1b\\|\x9c)"  # commands for devices
    r"|\x1b[ -/]*[0-~]"
)
"""A control sequence of ECMA-48. One that never ends loses its first characters only, not the text behind it."""

LINE_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x85]")
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
HALF_SURROGATE = re.compile(r"[\ud800-\udfff]")

SHOWS_NOTHING = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef"
)
"""Ranges of characters without ink that are no white space: joiners, marks of direction, blank letters, tags."""

INVISIBLE = re.compile(f"[{SHOWS_NOTHING}]")
VISIBLE = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f{SHOWS_NOTHING}]")


def without_control_sequences(text: str) -> str:
    """The text without control sequences and characters; every kind of line break becomes a line feed."""
    return CONTROL.sub("", LINE_BREAK.sub("\n", ESCAPE_SEQUENCE.sub("", text)))


def without_half_surrogates(text: str) -> tuple[str, int]:
    """The text without halves of surrogate pairs, which no file and no tokenizer can hold, and how many there were.

    Two halves that follow each other are the character they spell.
    """
    if not HALF_SURROGATE.search(text):
        return text, 0
    joined = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return HALF_SURROGATE.subn("", joined)


def has_text(text: str) -> bool:
    """Whether a text shows anything: white space, control characters and characters without ink do not."""
    return VISIBLE.search(text) is not None


def as_seen(text: str) -> str:
    """The text for comparing it as a person would: nothing invisible, one form of each character (Unicode's NFKC)."""
    return text if text.isascii() else INVISIBLE.sub("", unicodedata.normalize("NFKC", text))
