"""Signs that a run goes on without learning: each is a warning, once, and never an end."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

PATIENCE = 10
"""Rollout batches in a row that show a sign before it is told."""


class Alarms:
    """Looks at the metrics of each batch.

    Args:
        main: whether this process speaks.
    """

    def __init__(self, *, main: bool) -> None:
        self._main = main
        self._seen: dict[str, int] = {}

    def look(self, metrics: Mapping[str, Any]) -> list[str]:
        """The warnings that are due after this batch; the main process prints them."""
        due = [text for text, holds in signs(metrics) if self._is_due(text, holds)]
        if self._main:
            for text in due:
                logger.warning("%s", text)
        return due

    def _is_due(self, text: str, holds: bool) -> bool:
        self._seen[text] = self._seen.get(text, 0) + 1 if holds else 0
        return self._seen[text] == PATIENCE


def signs(metrics: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What to say, and whether this batch is a case of it."""
    batches = f"of the last {PATIENCE} batches"
    return [
        (
            f"no answer {batches} has earned a reward: see rollouts.jsonl for what the model says, and whether the "
            "reward reads it",
            metrics.get("reward") == 0,
        ),
        (
            f"every completion {batches} was cut at its longest length: the model does not end its turn (see "
            "model.model_name_or_path's generation_config.json for its stop tokens), or the limit is too short",
            metrics.get("completions/clipped_ratio") == 1,
        ),
    ]


def check_turn_end(tokenizer: PreTrainedTokenizerBase, stop_token_ids: Collection[int]) -> str | None:
    """What to say of a tokenizer whose chat template ends a turn with a token that does not stop the engine."""
    mark = "turn"
    try:
        text = str(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": "?"}, {"role": "assistant", "content": mark}], tokenize=False
            )
        )
    except Exception:  # a template may refuse a conversation in any way; prompts are checked where they are made
        return None
    behind = (
        tokenizer(text[text.rindex(mark) + len(mark) :], add_special_tokens=False)["input_ids"] if mark in text else []
    )
    if not behind or set(behind) & set(stop_token_ids):
        return None
    ends = tokenizer.convert_ids_to_tokens(behind[0])
    return (
        f"the chat template ends a turn with {ends!r}, which is none of the model's stop tokens "
        f"{sorted(stop_token_ids)}: replies will run to their longest length unless the model says one of those; add "
        "it to eos_token_id in generation_config.json"
    )
