"""Checks of the messages of one history, as they are stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, get_args

from rft.auditing.dropped import lost_from_message
from rft.auditing.findings import Case
from rft.auditing.lookalikes import as_read, disguises
from rft.auditing.secrets import find_secrets
from rft.auditing.words import PICTURES
from rft.data.readers.split_replies import put_together, stray_keys
from rft.plain_text import has_text
from rft.records import Role

ROLES = get_args(Role)

NOTHING = frozenset(
    ("none", "null", "nan", "undefined", "n/a", "#n/a", "[]", "{}", '""', "''", "todo", "tbd", "fixme", "placeholder")
)
"""What programs and people write where there is no text."""

SAYS_SOMETHING = re.compile(rf"[^\W_]|[$+=<>\u20ac\u00a3]|{PICTURES.pattern}")
"""A letter, a digit, a sign or a picture: punctuation marks alone say nothing."""

MOST_KEYS = 3
"""Stray keys that a case names."""

FEWEST_REPEATED = 8
"""Messages behind each other: fewer, such as a short exchange of everyday use, may well be there twice."""

ODD_TEXT = {
    "a token of a chat template": re.compile(
        r"<\|\w+\|>|\[/?INST\]|<</?SYS>>|</?think>|<(?:start|end)_of_turn>|^(?:assistant|user): ?$", re.MULTILINE
    ),
    "an unfilled placeholder": re.compile(
        r"\{\{.{1,40}?\}\}|\{(?:topic|name|value|text|user|query|persona|preference)\}|lorem ipsum"
        r"|[\[<](?:insert|todo|placeholder)\b[^\]>\n]{0,40}[\]>]",
        re.IGNORECASE,
    ),
    "the markup of a message": re.compile(r'\{\s*"(?:role|content)"\s*:|"(?:role|content)"\s*:\s*"'),
    "markup of a web page": re.compile(
        r"</?(?:p|br|div|span|b|i|u|li|ul|ol|strong|em|h[1-6]|table|tr|td)(?:\s[^<>]*)?/?>|&(?:amp|nbsp|quot|lt|gt|#\d+);"
    ),
    "broken characters": re.compile("[\ufffd\ue000-\uf8ff]|â€|Ã[©¨¼¶¤]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
    "a model's word about itself": re.compile(r"\bas an? (?:AI|large) language model\b", re.IGNORECASE),
    "a model's refusal": re.compile(
        r"\bI(?:['\u2019]| a)m sorry, but I (?:can['\u2019]t|cannot) (?:assist|help) ", re.IGNORECASE
    ),
    "turns inside of one message": re.compile(r"^(?:Human|User): [^\n]*\n+(?:Assistant|AI|Bot): ", re.MULTILINE),
    "an escape that was not undone": re.compile(r"\\u[0-9a-fA-F]{4}|[.!?,]\\n"),
}
"""What looks like a leftover, by what it is called."""

MAY_BE_ODD = re.compile(
    r'[<\[{"&\\\ufffd\ue000-\uf8ffâÃ\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|language model|lorem|sorry, but'
    r"|^(?:assistant|user): ?$|^(?:human|user): ",
    re.IGNORECASE | re.MULTILINE,
)


def check_messages(file: str, items: Sequence[Any]) -> Iterator[Case]:
    """Every case of one history's messages; a message's number counts from 0."""
    roles: list[str] = []
    for number, item in enumerate(items):
        for check, detail in problems_of(number, item):
            yield Case(check=check, file=file, message=number, detail=detail)
        roles.append(str(item.get("role")) if isinstance(item, dict) else "")
    yield from check_roles(file, roles)
    yield from check_repeats(file, roles, [text_of(item) for item in items])


def problems_of(number: int, item: Any) -> Iterator[tuple[str, str]]:
    """Checks that find something in one message, each with what it finds."""
    if not isinstance(item, dict) or "role" not in item:
        yield "message_format", "no object with a role"
        return
    role = item["role"]
    if role not in ROLES:
        yield "unknown_role", f"the role is {str(role)[:40]!r}, none of {', '.join(ROLES)}"
    if role == "system" and number > 0:
        yield "second_system", f"a system message in place {number}"
    if keys := stray_keys(item):
        mended = put_together(item) is not item
        shown = ", ".join(repr(key[:40]) for key in keys[:MOST_KEYS])
        yield "stray_keys", f"{role}, {len(keys)} stray: {shown}{'; they hold text' if mended else ''}"
    yield from (("dropped_text", f"{role}, {found}") for found in lost_from_message(item))
    text, content = text_of(item), item.get("content")
    if not isinstance(content, str | None):
        yield "message_format", f"{role}, the content is no text but {type(content).__name__}"
    elif text is None:
        yield "empty_message", f"{role}, no text"
    elif stands_for_nothing(text):
        # A person may well answer "none".
        check = "odd_text" if role == "user" else "empty_message"
        yield check, f"{role}, nothing but {text.strip()!r}"
    elif role == "assistant" and not SAYS_SOMETHING.search(text):
        yield "empty_message", f"{role}, nothing but {text.strip()[:40]!r}"
    else:
        yield from problems_of_text(text)


def text_of(item: Any) -> str | None:
    """A message's text as our reader takes it; None where there is none."""
    whole = put_together(item)
    content = whole.get("content") if isinstance(whole, dict) else None
    return content if isinstance(content, str) and has_text(content) else None


def stands_for_nothing(text: str) -> bool:
    """Whether a program wrote the text where a value was missing."""
    return as_read(text).strip().casefold() in NOTHING


def problems_of_text(text: str) -> Iterator[tuple[str, str]]:
    """Leftovers, disguises and secrets in one text: the check, and what it finds."""
    if MAY_BE_ODD.search(text):
        for name, pattern in ODD_TEXT.items():
            if match := pattern.search(text):
                yield "odd_text", f"{name}: {match.group()[:40]!r}"
    yield from (("disguised_text", found) for found in disguises(text))
    yield from find_secrets(text)


def check_repeats(file: str, roles: Sequence[str], texts: Sequence[str | None]) -> Iterator[Case]:
    """Several messages behind each other that were so before; one case, with the longest such part."""
    said = [f"{role} {' '.join(text.split())}" if text else "" for role, text in zip(roles, texts, strict=True)]
    seen: set[tuple[str, str]] = set()
    length = longest = end = 0
    for number, pair in enumerate(pairwise(said), 1):
        length = length + 1 if pair in seen else 0
        seen.add(pair)
        if length > longest:
            longest, end = length, number
    if longest + 1 >= FEWEST_REPEATED:
        detail = f"{longest + 1} messages from here on are there before"
        yield Case(check="repeated_turns", file=file, message=end - longest, detail=detail)


def check_roles(file: str, roles: Sequence[str]) -> Iterator[Case]:
    """The order of roles. Two user messages in a row are usual: a request that nobody answers, such as to forget."""
    if roles and "user" not in roles:
        yield Case(check="no_user", file=file, detail=f"{len(roles)} messages, none of a user")
    spoken = [(number, role) for number, role in enumerate(roles) if role != "system"]
    before = ""
    for number, role in spoken:
        if role == "assistant" and before in ("", "assistant"):
            where = "at the beginning" if not before else "behind another one"
            yield Case(check="role_order", file=file, message=number, detail=f"an assistant's message {where}")
        before = role
