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
        (400, "Content Exists Risk", "content_filter"),
        (400, "The request was rejected because it was considered high risk", "content_filter"),
        (400, "your prompt was flagged as potentially violating our usage policy", "content_filter"),
        (400, "系统检测到输入或生成内容可能包含不安全或敏感内容", "content_filter"),
        (400, "input length and `max_tokens` exceed context limit: 200 + 7 > 100", "over_context_length"),
        (400, "Input token count (12) exceeds the maximum number of tokens allowed (10)", "over_context_length"),
        (400, "tokens_limit_reached Request body too large", "over_context_length"),
        (500, "context size has been exceeded", "over_context_length"),
        (400, "API key not valid. Please pass a valid API key.", None),
        (400, "The model `x` does not exist", None),
        (400, "parameter x is not supported with this model", "refused_request"),
        (409, "", "overloaded"),
        (425, "", "overloaded"),
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
