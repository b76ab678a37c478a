"""The reward: 1 where the reply has the words of one of the reference answers, else 0."""

from __future__ import annotations

import re
from typing import Any


def exact_match(completions: list[list[dict[str, str]]], answers: list[list[str]], **kwargs: Any) -> list[float]:
    """One value per completion, with trl's signature; `answers` is a column of the data set."""
    replies = [normalised(completion[-1]["content"]) for completion in completions]
    return [
        float(bool(reply) and reply in map(normalised, right)) for reply, right in zip(replies, answers, strict=True)
    ]


def normalised(text: str) -> list[str]:
    """The words in lower case, without articles and punctuation."""
    words = re.findall(r"\w+", text.lower())
    return [word for word in words if word not in ("a", "an", "the")] or words
