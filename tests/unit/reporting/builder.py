"""A row of rollouts.jsonl."""

from __future__ import annotations

from typing import Any


def answer(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "step": 2, "question_id": "train/1", "context_id": "h4", "tags": {"kind": "music", "who": "self"},
        "sibling": 0, "option_order": [0, 1, 2, 3], "reference": "a", "parsed": "b", "reward": 0.0, "parts": {},
        "failure": None, "finish_reason": "stop", "prompt_tail": "And now?", "prompt_tokens": 900,
        "completion_tokens": 12, "text": "<think>Hums jazz.</think>\\boxed{b}",
    }  # fmt: skip
    return row | changes
