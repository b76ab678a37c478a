"""Requests in vLLM's types, and its answers in ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from rft.records import Completion, FinishReason, TurnRequest
from rft.rollout.engine import Sampling

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams, TokensPrompt


def tokens_prompts(prompts: Sequence[tuple[int, ...]]) -> list[TokensPrompt]:
    from vllm import TokensPrompt

    return [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts]


def sampling_params(request: TurnRequest, sampling: Sampling, stop_token_ids: list[int]) -> SamplingParams:
    from vllm import SamplingParams

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        seed=request.seed,
        max_tokens=request.max_tokens,
        stop_token_ids=stop_token_ids,
        logprobs=0,
        flat_logprobs=True,
        detokenize=False,
    )


def completion_of(output: RequestOutput, policy_version: int) -> Completion:
    reply = output.outputs[0]
    assert reply.finish_reason in ("stop", "length"), reply.finish_reason
    logprobs: Any = reply.logprobs  # a FlatLogprobs, one entry per token
    assert len(logprobs.logprobs) == len(reply.token_ids)
    return Completion(
        token_ids=tuple(reply.token_ids),
        logprobs=tuple(logprobs.logprobs),
        finish_reason=cast(FinishReason, reply.finish_reason),
        policy_version=policy_version,
    )
