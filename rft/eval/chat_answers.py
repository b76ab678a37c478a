"""Systems that show a model something and ask it: from a question to a prediction, whatever model it is.

Predictions are handed out as they come, so that a comparison that is stopped continues where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rft.chat.chat_model import ChatModel, ChatRequest
from rft.chat.endpoint import ChatReply
from rft.chat.failures import PASSING_FAILURES, ReplyFailure
from rft.chat.local_chat_model import LocalChatModel
from rft.data.closing import Asking, Closing, closing_text
from rft.eval.asked import Asked, comparison_seed
from rft.eval.material import Material
from rft.eval.predictions import PROMPT_TOO_LONG, QUESTION_CHARS, Prediction, question_fields
from rft.eval.question_form import QuestionForm
from rft.eval.shown import Shown
from rft.eval.systems import System
from rft.records import Attempt, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class PutQuestion:
    """One question as it is put to a model, kept until the reply comes.

    Example:
        PutQuestion(question=question, sample=0, asking="Any idea for my evening? ...", shown=Shown(messages=(...)))
    """

    question: Question
    sample: int
    asking: Asking
    """The message that asks, or the two that do."""
    shown: Shown

    @property
    def text(self) -> str:
        """All that asks."""
        return closing_text(self.asking)


def answer_by_chat(
    system: System, material: Material, asked: Sequence[Asked], model: ChatModel
) -> Iterator[Prediction]:
    """One prediction per question, as replies come."""
    unanswerable: list[Prediction] = []
    requests = fit_requests(chat_requests(system, material, asked), material, model, unanswerable)
    for put, reply in model.replies(requests):
        yield prediction_from_reply(material.form, put, reply, model.thought_open)
    yield from unanswerable


def chat_requests(system: System, material: Material, asked: Sequence[Asked]) -> Iterator[ChatRequest[PutQuestion]]:
    assert system.shows is not None
    config = material.config
    for question, sample in asked:
        shown = system.shows(material, question)
        asking = material.form.asking(question, show_query=not system.hides_query)
        yield ChatRequest(
            tag=PutQuestion(question=question, sample=sample, asking=asking, shown=shown),
            context=shown.messages,
            question=asking,
            max_tokens=config.rollout.max_completion_length,
            seed=comparison_seed(config.train.seed, sample, f"{system.name}/{question.question_id}"),
        )


def fit_requests(
    requests: Iterable[ChatRequest[PutQuestion]],
    material: Material,
    model: ChatModel,
    unanswerable: list[Prediction],
) -> Iterator[ChatRequest[PutQuestion]]:
    """Requests under `data.length_policy`, where the model's tokens can be counted.

    `drop` leaves a question out of what is asked, and counts it as a wrong answer: leaving it out of the accuracy would
    flatter it.
    """
    limit, policy = material.config.data.max_prompt_length, material.config.data.length_policy
    for request in requests:
        num_tokens = len(model.prompt_ids(request)) if isinstance(model, LocalChatModel) else 0
        put = request.tag
        if num_tokens <= limit:
            yield request
        elif policy == "error":
            raise ValueError(
                f"the prompt of question {put.question.question_id} has {num_tokens} tokens, data.max_prompt_length is "
                f"{limit}; raise it, or set data.length_policy to drop, truncate_middle or truncate_oldest"
            )
        elif policy == "drop" or put.shown.context_id is None:
            unanswerable.append(too_long_prediction(material.form, put, num_tokens))
        else:
            shown = material.cut(put.shown.context_id, put.question.context_id, limit, policy)
            yield replace(request, tag=replace(put, shown=shown), context=shown.messages)


def prediction_from_reply(
    form: QuestionForm,
    put: PutQuestion,
    reply: ChatReply,
    thought_open: bool,
    memory: dict[str, Any] | None = None,
) -> Prediction:
    """Scores a reply; where a judge reads it later, the reward stays open. An endpoint's failed answer is not read."""
    if reply.failure is not None:
        return failed_prediction(form, put, reply.failure, reply.detail, reply=reply, memory=memory)
    attempt = Attempt(
        question=put.question,
        option_order=form.order_of(put.question),
        asked=put.text,
        text=reply.text,
        token_ids=reply.token_ids,
        thought_open=thought_open,
    )
    (score,) = form.score([attempt])
    return Prediction(
        **question_fields(put.question, form.shown_order(put.question)),
        sample=put.sample,
        parsed=score.parsed,
        reward=score.reward,
        parts=dict(score.parts),
        failure=score.failure,
        finish_reason="length" if reply.cut_off else "stop",
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        question=put.text[-QUESTION_CHARS:],
        text=reply.text,
        closed_by=reply.closed_by if isinstance(put.asking, Closing) else None,
        messages_dropped=put.shown.messages_dropped,
        memory=memory,
    )


def failed_prediction(
    form: QuestionForm,
    put: PutQuestion,
    failure: ReplyFailure,
    detail: str,
    *,
    reply: ChatReply | None = None,
    memory: dict[str, Any] | None = None,
) -> Prediction:
    """What an endpoint did not answer: wrong where the model or the question is the reason, else without a reward.

    Args:
        detail: what the endpoint says.
        reply: what came of it nevertheless.
    """
    return Prediction(
        **question_fields(put.question, form.shown_order(put.question)),
        sample=put.sample,
        parsed=None,
        reward=None if failure in PASSING_FAILURES else 0.0,
        failure=str(failure),
        finish_reason=None,
        prompt_tokens=reply.prompt_tokens if reply else 0,
        completion_tokens=reply.completion_tokens if reply else 0,
        question=put.text[-QUESTION_CHARS:],
        text=reply.text if reply else "",
        messages_dropped=put.shown.messages_dropped,
        memory=memory,
        detail=detail,
    )


def too_long_prediction(form: QuestionForm, put: PutQuestion, num_tokens: int) -> Prediction:
    return Prediction(
        **question_fields(put.question, form.shown_order(put.question)),
        sample=put.sample,
        parsed=None,
        reward=0.0,
        failure=PROMPT_TOO_LONG,
        finish_reason=None,
        prompt_tokens=num_tokens,
        completion_tokens=0,
        question=put.text[-QUESTION_CHARS:],
        text="",
    )
