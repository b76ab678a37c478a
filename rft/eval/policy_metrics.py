"""A policy evaluation as metrics and as a line of text."""

from __future__ import annotations

from collections.abc import Sequence

from rft.eval.memory import MemoryResult
from rft.eval.score import EvalResult


def policy_eval_metrics(result: EvalResult, strata: Sequence[str]) -> dict[str, float]:
    """`eval/accuracy`, and one `eval/<tag>/<value>` for each value of the tags `strata`; eval.json has all tags."""
    readable = {} if result.parse_rate is None else {"eval/parse_rate": result.parse_rate}
    return {
        "eval/accuracy": result.overall.accuracy,
        "eval/accuracy_low": result.overall.low,
        "eval/accuracy_high": result.overall.high,
        **readable,
        "eval/truncation_rate": result.truncation_rate,
        **{f"eval/rewards/{name}/mean": mean for name, mean in result.rewards.items()},
        **memory_eval_metrics(result.memory),
        **{
            f"eval/{tag}/{value or '(none)'}": accuracy.accuracy
            for tag in strata
            for value, accuracy in result.groups.get(tag, {}).items()
        },
    }


def memory_eval_metrics(memory: MemoryResult | None) -> dict[str, float]:
    """What the memories cost and keep; nothing where answers came from no memory."""
    if memory is None:
        return {}
    values = {
        "memory_tokens_mean": memory.memory_tokens_mean,
        "input_tokens_ratio": memory.input_tokens_ratio,
        "retention": memory.retention,
        "retention_entered": memory.entered,
    }
    return {f"eval/{name}": value for name, value in values.items() if value is not None}


def describe_policy_eval(result: EvalResult) -> str:
    """One line for a terminal."""
    overall, memory = result.overall, result.memory
    text = f"accuracy {overall.accuracy:.3f} [{overall.low:.3f}, {overall.high:.3f}] on {overall.n} held-out questions"
    if result.num_unrated:
        text += f" ({result.num_unrated} answers without a reward)"
    if memory is None or memory.retention is None:
        return text
    return f"{text}, memories of {memory.memory_tokens_mean:.0f} tokens hold {memory.retention:.0%} of what they read"
