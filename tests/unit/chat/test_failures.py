"""What errors of servers mean for one request, and for all."""

from __future__ import annotations

import pytest

from rft.chat.failures import PASSING_FAILURES, ReplyFailure, failure_of


@pytest.mark.parametrize(
    ("status", "words", "failure"),
    [
        (400, "content_filter ResponsibleAIPolicyViolation", "content_filter"),
        (403, "flagged by moderation", "content_filter"),
        (None, "safety: blocked", "content_filter"),
        (500, "safety", "server_error"),
        (400, "This model's maximum context length is 4096 tokens", "over_context_length"),
        (400, "prompt is too long: 210000 tokens", "over_context_length"),
        (413, "", "over_context_length"),
        (400, "unknown field", "refused_request"),
        (422, "", "refused_request"),
        (429, "slow down", "overloaded"),
        (503, "", "overloaded"),
        (529, "", "overloaded"),
        (500, "the engine is overloaded", "overloaded"),
        (None, "Too many requests", "overloaded"),
        (None, "the model exploded", "server_error"),
        (500, "", "server_error"),
        (504, "", "timeout"),
        (408, "", "timeout"),
        (401, "", None),
        (402, "", None),
        (403, "Country not supported", None),
        (404, "", None),
        (429, "insufficient_quota You exceeded your current quota", None),
        (400, "Your credit balance is too low", None),
        (None, "Incorrect API key provided", None),
    ],
)
def test_what_an_error_means(status: int | None, words: str, failure: str | None):
    assert failure_of(status, words) == failure


def test_what_passes_is_no_word_of_the_model():
    kept = set(ReplyFailure) - PASSING_FAILURES
    assert {"content_filter", "refusal", "tool_calls", "over_context_length"} <= {str(one) for one in kept}
