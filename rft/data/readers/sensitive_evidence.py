"""Questions about sensitive information whose evidence is in no history, told apart by a tag."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rft.data.dataset import RecordError
from rft.records import Context, Question

TAG = "sensitive_evidence"

NOT_SENSITIVE, IN_HISTORY, NOT_IN_HISTORY, UNREAD = "not_sensitive", "in_history", "not_in_history", "history_unread"


def sensitive_tags(questions: Sequence[Question], context_of: Callable[[str], Context]) -> list[str]:
    """The value of `TAG` of each question. Each history that a sensitive question links is read once.

    Args:
        context_of: reads a context by its id, and raises RecordError where it cannot be used.
    """
    texts: dict[str, frozenset[str] | None] = {}
    for question in questions:
        if question.tags["sensitive"] == "true" and question.context_id not in texts:
            texts[question.context_id] = texts_of(question.context_id, context_of)
    return [tag_of(question, texts.get(question.context_id)) for question in questions]


def texts_of(context_id: str, context_of: Callable[[str], Context]) -> frozenset[str] | None:
    """The texts of a context's messages, white space aside; None where it cannot be used, which is told elsewhere."""
    try:
        return frozenset(plain(message.content) for message in context_of(context_id).messages)
    except RecordError:
        return None


def tag_of(question: Question, texts: frozenset[str] | None) -> str:
    if question.tags["sensitive"] != "true":
        return NOT_SENSITIVE
    if texts is None:
        return UNREAD
    # Neighbours of one role may have become one message.
    found = all(any(plain(message.content) in text for text in texts) for message in question.evidence)
    return IN_HISTORY if found else NOT_IN_HISTORY


def plain(text: str) -> str:
    return " ".join(text.split())
