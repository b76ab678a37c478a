"""LongMemEval (Wu et al., arXiv 2410.10813) as released: one JSON list, each question with its own sessions.

    longmemeval_s_cleaned.json          (or any longmemeval*.json; exactly one must be there)

The sessions of a question, in their order, become one history. There are no options: a judge compares the answer with
the gold one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rft.data.personamem import CellError, to_messages
from rft.records import History, Message, Question

KEYS = ("question_id", "question_type", "question", "answer", "question_date", "haystack_dates", "haystack_sessions")


def read(root: Path) -> tuple[tuple[Question, ...], dict[str, History]]:
    """The questions in file order, and their histories by id.

    Raises:
        ValueError: no file or several, a file that is no JSON list, a question that cannot be used.
    """
    files = sorted(root.glob("longmemeval*.json"))
    if len(files) != 1:
        raise ValueError(f"data.source {root} must hold exactly one longmemeval*.json, not {len(files)}")
    (path,) = files
    try:
        items: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ValueError(f"{path} is not whole JSON; fetch it again") from None
    if not isinstance(items, list) or not items:
        raise ValueError(f"{path} is not a list of questions; fetch it again")
    questions: list[Question] = []
    histories: dict[str, History] = {}
    for row, item in enumerate(items):
        try:
            question, history = read_item(row, item)
        except CellError as error:
            raise ValueError(f"{path} question {row} (counted from 0) {error}; correct it") from None
        if history.history_id in histories:
            raise ValueError(f"{path} question {row} (counted from 0) repeats question_id {history.history_id}")
        questions.append(question)
        histories[history.history_id] = history
    return tuple(questions), histories


def read_item(row: int, item: Any) -> tuple[Question, History]:
    if not isinstance(item, dict) or (missing := [key for key in KEYS if key not in item]):
        raise CellError(f"lacks {missing[0]}" if isinstance(item, dict) else "is no object")
    if not isinstance(item["haystack_sessions"], list) or not isinstance(item["haystack_dates"], list):
        raise CellError("has no list of sessions or of dates")
    if len(item["haystack_sessions"]) != len(item["haystack_dates"]):
        raise CellError("has other numbers of sessions and of dates")
    messages: list[Message] = []
    evidence: list[Message] = []
    for date, session in zip(item["haystack_dates"], item["haystack_sessions"], strict=True):
        found = [(message, turn) for message, turn in zip(to_messages(session), session, strict=True) if message]
        if found:
            messages.append(dated(found[0][0], str(date)))
            messages += [message for message, _ in found[1:]]
        evidence += [message for message, turn in found if turn.get("has_answer")]
    if not messages:
        raise CellError("has no message with text")
    history_id = str(item["question_id"])
    question = Question(
        question_id=f"longmemeval/{history_id}",
        row=row,
        persona_id=row,
        history_id=history_id,
        query=f"{item['question']} (Asked on {item['question_date']}.)",
        correct_answer=str(item["answer"]),
        incorrect_answers=(),
        pref_type=str(item["question_type"]),
        who="self",
        updated=item["question_type"] == "knowledge-update",
        sensitive=False,
        scenario="abstention" if history_id.endswith("_abs") else "",
        topic="",
        preference="",
        distance_tokens=0,
        evidence=tuple(evidence),
    )
    return question, History(history_id=history_id, persona_id=row, messages=tuple(messages))


def dated(message: Message, date: str) -> Message:
    """A session's first message says when it was; questions ask for dates."""
    return Message(role=message.role, content=f"[{date}] {message.content}")
