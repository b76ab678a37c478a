"""From scored answers to accuracies with intervals that know questions of one persona are alike."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rft.eval.memory import MemoryResult, MemoryTrace, summarize_memories
from rft.types import Answer

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95% interval."""

BREAKDOWNS: dict[str, Callable[[Answer], str]] = {
    "pref_type": lambda answer: answer.prompt.pref_type,
    "who": lambda answer: answer.prompt.who,
    "updated": lambda answer: str(answer.prompt.updated).lower(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers.

    Example:
        Accuracy(n=200, accuracy=0.525, low=0.44, high=0.61)
    """

    n: int
    accuracy: float
    low: float
    """Lower end of the 95% interval, clustered by persona."""
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """One evaluation of one set of weights.

    Example:
        EvalResult(overall=Accuracy(...), groups={"who": {"self": Accuracy(...), "others": Accuracy(...)}},
                   parse_rate=0.99, truncation_rate=0.0, failures={"no_box": 2}, letters={"a": 51, "b": 47})
    """

    overall: Accuracy
    groups: dict[str, dict[str, Accuracy]]
    parse_rate: float
    """Share of replies with a valid letter."""
    truncation_rate: float
    """Share of replies cut at max_completion_length."""
    failures: dict[str, int]
    letters: dict[str, int]
    memory: MemoryResult | None = None
    """Where answers came from a memory."""

    def as_dict(self) -> dict[str, object]:
        """Plain values for results files."""
        return asdict(self)


def summarize(answers: Sequence[Answer], traces: Sequence[MemoryTrace] = ()) -> EvalResult:
    """Accuracy over all answers and by pref_type, who and updated; `traces` are of those that come from a memory.

    Raises:
        ValueError: no answers.
    """
    if not answers:
        raise ValueError("nothing to evaluate: the split has no questions; lower data.num_val_personas or check it")
    groups: dict[str, dict[str, Accuracy]] = {}
    for name, key in BREAKDOWNS.items():
        members: dict[str, list[Answer]] = defaultdict(list)
        for answer in answers:
            members[key(answer)].append(answer)
        groups[name] = {value: accuracy_of(members[value]) for value in sorted(members)}
    scores = [answer.score for answer in answers]
    return EvalResult(
        overall=accuracy_of(answers),
        groups=groups,
        parse_rate=sum(score.letter is not None for score in scores) / len(scores),
        truncation_rate=sum(r.completion.finish_reason == "length" for r in answers) / len(answers),
        failures=dict(sorted(Counter(str(score.failure) for score in scores if score.failure).items())),
        letters=dict(sorted(Counter(score.letter for score in scores if score.letter).items())),
        memory=summarize_memories(traces) if traces else None,
    )


def accuracy_of(answers: Sequence[Answer]) -> Accuracy:
    """Mean reward with a clustered interval; the clusters are personas."""
    rewards = [answer.score.reward for answer in answers]
    low, high = clustered_interval(rewards, [answer.prompt.persona_id for answer in answers])
    return Accuracy(n=len(rewards), accuracy=sum(rewards) / len(rewards), low=low, high=high)


def clustered_interval(values: Sequence[float], clusters: Sequence[int]) -> tuple[float, float]:
    """95% interval of the mean of 0/1 `values` whose `clusters` are drawn independently.

    Wilson's interval (1927) at the effective sample size n / deff. The design effect deff is the ratio of the
    cluster-robust variance of the mean, G/(G-1) * sum_g (sum_{i in g} (x_i - p))^2 / n^2 over G clusters, to the
    binomial p(1-p)/n, and never below 1 (Kish 1965). Unlike a normal interval it stays sensible at 0 and 1.
    """
    n = len(values)
    mean = sum(values) / n
    effective_n = n / design_effect(values, clusters, mean)
    shrink = 1 + Z95**2 / effective_n
    centre = (mean + Z95**2 / (2 * effective_n)) / shrink
    half = Z95 / shrink * math.sqrt(mean * (1 - mean) / effective_n + Z95**2 / (4 * effective_n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def design_effect(values: Sequence[float], clusters: Sequence[int], mean: float) -> float:
    residuals: dict[int, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    binomial = mean * (1 - mean) / len(values)
    num_clusters = len(residuals)
    if binomial == 0 or num_clusters < 2:
        return 1.0
    robust = num_clusters / (num_clusters - 1) * sum(r * r for r in residuals.values()) / len(values) ** 2
    return max(1.0, robust / binomial)
