"""Counts and reasons under all their names."""

from __future__ import annotations

from typing import Any

import pytest

from rft.chat.reply_fields import count_of, read_finish_reason


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "1e999", None, [], "12 tokens"])
def test_what_is_no_count_is_zero(value: Any):
    assert count_of(value) == 0


@pytest.mark.parametrize(
    ("meaning", "names"),
    [
        ("stop", [None, "", "null", "stop", "STOP", "end_turn", "stop_sequence", "eos", "eos_token", "COMPLETE",
                  "FINISH_REASON_STOP", "end-of-turn", "finished",
                  "success", "eot", "ok", "completed"]),
        ("length", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length", "incomplete",
                    "FINISH_REASON_MAX_TOKENS", "model_context_window_exceeded", "token_limit", "truncated", "cut",
                    "context_length_exceeded", "maxTokens"]),
        ("content_filter", ["content_filter", "SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "RECITATION", "SPII",
                            "guardrail_intervened", "sensitive", "content_filtered", "IMAGE_SAFETY",
                            "contentFilter", "blocked", "high_risk", "content_policy"]),
        ("refusal", ["refusal", "REFUSED"]),
        ("tool_calls", ["tool_calls", "function_call", "tool_use", "MALFORMED_FUNCTION_CALL"]),
        ("server_error", ["error", "abort", "cancelled", "network_error"]),
        ("overloaded", ["insufficient_system_resource", "rate_limit"]),
        ("timeout", ["timeout", "time_limit"]),
        ("unknown_finish_reason", ["LANGUAGE", "pause_turn", 7]),
    ],
)  # fmt: skip
def test_finish_reasons_with_other_names(meaning: str, names: list[Any]):
    for name in names:
        cut_off, failure = read_finish_reason(name)
        assert (cut_off, failure) == (meaning == "length", None if meaning in ("stop", "length") else meaning), name
