"""The pieces of a chat history: single conversations (`Block`), and what counts their tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SCENARIOS = (
    "personal_email",
    "professional_email",
    "creative_writing",
    "professional_writing",
    "chat_message",
    "translation",
    "trouble_consult",
    "social_media_post",
    "knowledge_query",
)
"""What a conversation is about, as arXiv 2512.06688 has it."""

TOKEN = re.compile(r"\d|[^\W\d]+|[^\w\s]")


def count_tokens(content: str) -> int:
    """Words, digits and punctuation marks: close to what a large tokenizer makes of such plain text."""
    return len(TOKEN.findall(content))


@dataclass(slots=True, kw_only=True)
class Block:
    """One conversation; blocks stand in a history in the order of `place`, a number in [0, 1)."""

    place: float
    messages: list[dict[str, str]]
    fact: int | None = None
    """Which question of the persona this is the evidence of, from 0."""
    scenario: str = "knowledge_query"
    relevant: bool = True
    """It says something about the user: no filler."""
    spare: bool = False
    """No question needs it: it is left out where the history has no room."""
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum(count_tokens(message["content"]) for message in self.messages)


def exchange(request: str, reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": request}, {"role": "assistant", "content": reply}]
