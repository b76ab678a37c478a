"""Why a request to an endpoint got no answer that can be used."""

from __future__ import annotations

import re
from enum import StrEnum


class ReplyFailure(StrEnum):
    """The reason of a failed answer. It is counted by this name wherever answers are counted."""

    CONTENT_FILTER = "content_filter"
    """The server's filter refused the question, or cut the answer."""
    REFUSAL = "refusal"
    """The server marks the answer as a refusal. A refusal in the answer's own words is an answer."""
    TOOL_CALLS = "tool_calls"
    """The model called a tool, and none was offered."""
    NO_MESSAGE = "no_message"
    """A completion without any message."""
    UNKNOWN_FINISH_REASON = "unknown_finish_reason"
    """It ended for a reason that is not known here, so it may be incomplete."""
    OVER_CONTEXT_LENGTH = "over_context_length"
    """The server says that the prompt does not fit."""
    REFUSED_REQUEST = "refused_request"
    """The server refuses this request, for a reason of its own."""
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"
    UNREADABLE_REPLY = "unreadable_reply"
    """What came is no chat completion."""


PASSING_FAILURES = frozenset(
    {
        ReplyFailure.TIMEOUT,
        ReplyFailure.OVERLOADED,
        ReplyFailure.SERVER_ERROR,
        ReplyFailure.UNREACHABLE,
        ReplyFailure.UNREADABLE_REPLY,
    }
)
"""They say nothing of the model or the question: the same request may be answered later, so it is asked again."""


class FailedReply(ValueError):
    """A reply failed, and nothing can go on without it. The message is one line."""

    def __init__(self, failure: ReplyFailure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


FILTER = re.compile(
    r"content[ _]?(filter|policy|management)|responsible ?ai|moderat|flagged|inappropriate|safety|data_inspection"
    r"|prohibited content|guardrail|sensitive|high risk|content exists risk|risk[ _]control|usage polic|harmful|unsafe"
    r"|敏感|不安全|违规|違規"
)
TOO_LONG = re.compile(
    r"context[ _](length|window|size|limit)|(prompt|input|request|messages?|body) (is |are )?too (long|large)"
    r"|input length|token count.{0,40}exceed|exceeds? the maximum number of (input )?tokens|max_new_tokens must be"
    r"|tokens?_limit_reached"
    r"|too many (input )?tokens|reduce the length|string_above_max_length"
)
NO_CREDIT = re.compile(
    r"insufficient[ _](quota|balance|credits?|funds)|out of credits?|credit balance|billing[ _]hard|arrears"
    r"|payment required"
)
NOT_ALLOWED = re.compile(
    r"(invalid|incorrect|missing|no|wrong)[ _](api[ _]?)?key|unauthori[sz]ed|authentication|permission[ _]denied"
)
NEVER = re.compile(
    r"(invalid|incorrect|missing|wrong|expired)[ _]api[ _]?key|api[ _]?key (is )?(not valid|invalid|missing|expired)"
    r"|\bmodel\b[^.]{0,80}?(does not exist|not exist\b|not found)|(no such|unknown|invalid)[ _]model\b|model_not_found"
)
"""Words with which some servers say in a 400 what others say in a 401 or a 404."""
OVERLOAD = re.compile(
    r"overload|rate[ _]?limit|too many requests|capacity|\bbusy\b|unavailable|resource[ _]exhausted|try again|throttl"
)


def failure_of(status: int | None, words: str) -> ReplyFailure | None:
    """What an error of the server means for this request; None where it means that every request would fail.

    Args:
        status: of HTTP, or the one that the error itself names; None where it names none.
        words: codes and message of the error.
    """
    words = words.lower()
    if status in (None, 400, 403, 422, 451) and FILTER.search(words):
        return ReplyFailure.CONTENT_FILTER
    if status == 413 or (status in (None, 400, 422, 500) and TOO_LONG.search(words)):
        return ReplyFailure.OVER_CONTEXT_LENGTH
    if status in (400, 422) and NEVER.search(words):
        return None
    if NO_CREDIT.search(words) or status in (401, 402, 403, 404, 405, 407, 410):
        return None
    if status is None:
        if NOT_ALLOWED.search(words):
            return None
        return ReplyFailure.OVERLOADED if OVERLOAD.search(words) else ReplyFailure.SERVER_ERROR
    if status in (409, 425, 429, 503, 529) or (status >= 500 and OVERLOAD.search(words)):
        return ReplyFailure.OVERLOADED
    if status in (408, 504, 524):
        return ReplyFailure.TIMEOUT
    return ReplyFailure.SERVER_ERROR if status >= 500 else ReplyFailure.REFUSED_REQUEST
