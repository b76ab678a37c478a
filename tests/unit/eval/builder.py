"""Questions for tests of the evaluation."""

from __future__ import annotations

from typing import Any

from rft.records import Message, Question


def make_question(number: int, **changes: Any) -> Question:
    """Question `val/<number>` of persona `number // 2`; braces in its answer are text, not places to fill."""
    values: dict[str, Any] = {
        "question_id": f"val/{number}", "row": number, "persona_id": number // 2, "history_id": f"h{number // 2}",
        "query": "And {now}?", "correct_answer": "Some {jazz}.", "incorrect_answers": ("Metal, pls.", "Opera.", "F."),
        "pref_type": "neutral_preferences", "who": "self", "updated": False, "sensitive": False,
        "scenario": "translation", "topic": "music", "preference": "Likes jazz", "distance_tokens": 900,
        "evidence": (Message(role="user", content="I hum jazz."),),
    }  # fmt: skip
    return Question(**values | changes)
