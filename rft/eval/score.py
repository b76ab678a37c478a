"""From predictions to accuracies with intervals that know questions of one persona are alike."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rft.eval.memory import MemoryResult, summarize_memories
from rft.eval.predictions import Prediction

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95% interval."""

BREAKDOWNS: dict[str, Callable[[Prediction], str]] = {
    "pref_type": lambda prediction: prediction.pref_type,
    "who": lambda prediction: prediction.who,
    "updated": lambda prediction: str(prediction.updated).lower(),
    "sensitive": lambda prediction: str(prediction.sensitive).lower(),
    "scenario": lambda prediction: prediction.scenario,
    "topic": lambda prediction: prediction.topic,
    "distance_tokens": lambda prediction: distance_bucket(prediction.distance_tokens),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers, or a mean of a judge's scores.

    Example:
        Accuracy(n=200, accuracy=0.525, low=0.44, high=0.61)
    """

    n: int
    """Questions."""
    accuracy: float
    low: float
    """Lower end of the 95% interval, clustered by persona."""
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """One evaluation of one set of weights.

    Example:
        EvalResult(overall=Accuracy(...), groups={"who": {"self": Accuracy(...), "others": Accuracy(...)}},
                   parse_rate=0.99, truncation_rate=0.0, failures={"no_box": 2}, letters={"a": 51, "b": 47},
                   gold_letters={"a": 50, "b": 50})
    """

    overall: Accuracy
    groups: dict[str, dict[str, Accuracy]]
    parse_rate: float
    """Share of replies with a valid letter, or with a judge of those with a valid verdict."""
    truncation_rate: float
    """Share of replies cut at their limit."""
    failures: dict[str, int]
    letters: dict[str, int]
    gold_letters: dict[str, int]
    memory: MemoryResult | None = None
    """Where answers came from a memory."""

    def as_dict(self) -> dict[str, object]:
        """Plain values for results files."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much better one system answers the same questions than another.

    Example:
        Difference(n=300, mean=0.21, low=0.15, high=0.27)
    """

    n: int
    """Questions that both answered."""
    mean: float
    low: float
    """Lower end of the 95% interval, clustered by persona."""
    high: float


def summarize(predictions: Sequence[Prediction]) -> EvalResult:
    """Accuracy over all predictions and by `BREAKDOWNS`, and the memories where they come from memories.

    A prediction without a reward (no valid verdict of a judge) counts in `failures` and in no mean.

    Raises:
        ValueError: no predictions, or none with a reward.
    """
    if not predictions:
        raise ValueError("nothing to evaluate: the split has no questions; lower data.num_val_personas or check it")
    rated = [prediction for prediction in predictions if prediction.reward is not None]
    if not rated:
        raise ValueError(f"none of {len(predictions)} answers has a valid verdict of the judge; ask another judge")
    groups: dict[str, dict[str, Accuracy]] = {}
    for name, key in BREAKDOWNS.items():
        members: dict[str, list[Prediction]] = defaultdict(list)
        for prediction in rated:
            members[key(prediction)].append(prediction)
        groups[name] = {value: accuracy_of(members[value]) for value in sorted(members, key=natural)}
    valid = sum(p.letter is not None or (p.gold is None and p.reward is not None) for p in predictions)
    return EvalResult(
        overall=accuracy_of(rated),
        groups=groups,
        parse_rate=valid / len(predictions),
        truncation_rate=sum(p.finish_reason == "length" for p in predictions) / len(predictions),
        failures=dict(sorted(Counter(str(p.failure) for p in predictions if p.failure).items())),
        letters=dict(sorted(Counter(p.letter for p in predictions if p.letter).items())),
        gold_letters=dict(sorted(Counter(p.gold for p in predictions if p.gold).items())),
        memory=summarize_memories(predictions) if predictions[0].memory else None,
    )


def distance_bucket(tokens: int) -> str:
    """Doubling buckets of the tokens between evidence and query: `0-1k`, `1k-2k`, `2k-4k`, ..."""
    low, high = 0, 1
    while tokens >= high * 1024:
        low, high = high, high * 2
    return f"{low}k-{high}k" if low else "0-1k"


def natural(value: str) -> tuple[int, str]:
    """Sorts buckets by their number and words by the alphabet."""
    number = value.split("-")[0].removesuffix("k")
    return (int(number) if number.isdigit() else 0, value)


def accuracy_of(predictions: Sequence[Prediction]) -> Accuracy:
    """Mean reward with a clustered interval; the clusters are personas."""
    rewards = rewards_of(predictions)
    low, high = clustered_interval(rewards, [prediction.persona_id for prediction in predictions])
    questions = {prediction.question_id for prediction in predictions}
    return Accuracy(n=len(questions), accuracy=sum(rewards) / len(rewards), low=low, high=high)


def rewards_of(predictions: Sequence[Prediction]) -> list[float]:
    return [prediction.reward for prediction in predictions if prediction.reward is not None]


def clustered_interval(values: Sequence[float], clusters: Sequence[int]) -> tuple[float, float]:
    """95% interval of the mean of `values` in [0, 1] whose `clusters` are drawn independently.

    Wilson's interval (1927) at the effective sample size n / deff. The design effect deff is the ratio of the
    cluster-robust variance of the mean, G/(G-1) * sum_g (sum_{i in g} (x_i - p))^2 / n^2 over G clusters, to the
    binomial p(1-p)/n, and never below 1 (Kish 1965). Unlike a normal interval it stays sensible at 0 and 1. For a
    judge's scores, which vary less than 0 and 1 would, it is too wide rather than too narrow.
    """
    n = len(values)
    mean = sum(values) / n
    effective_n = n / design_effect(values, clusters, mean)
    shrink = 1 + Z95**2 / effective_n
    centre = (mean + Z95**2 / (2 * effective_n)) / shrink
    half = Z95 / shrink * math.sqrt(mean * (1 - mean) / effective_n + Z95**2 / (4 * effective_n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def design_effect(values: Sequence[float], clusters: Sequence[int], mean: float) -> float:
    binomial = mean * (1 - mean) / len(values)
    if binomial == 0 or len(set(clusters)) < 2:
        return 1.0
    return max(1.0, clustered_variance(values, clusters) / binomial)


def clustered_variance(values: Sequence[float], clusters: Sequence[int]) -> float:
    """Cluster-robust variance of the mean of `values`; at least two clusters."""
    mean = sum(values) / len(values)
    residuals: dict[int, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    num_clusters = len(residuals)
    return num_clusters / (num_clusters - 1) * sum(r * r for r in residuals.values()) / len(values) ** 2


def paired_difference(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> Difference | None:
    """Mean difference in reward over the questions that both answered, with a 95% interval clustered by persona.

    Samples of a question are averaged first. None with fewer than two personas in common.
    """
    means = [mean_by_question(side) for side in (ours, theirs)]
    personas = {prediction.question_id: prediction.persona_id for prediction in ours}
    common = [question for question in means[0] if question in means[1]]
    clusters = [personas[question] for question in common]
    if len(set(clusters)) < 2:
        return None
    values = [means[0][question] - means[1][question] for question in common]
    mean = sum(values) / len(values)
    half = Z95 * math.sqrt(clustered_variance(values, clusters))
    return Difference(n=len(values), mean=mean, low=mean - half, high=mean + half)


def mean_by_question(predictions: Sequence[Prediction]) -> dict[str, float]:
    rewards: dict[str, list[float]] = defaultdict(list)
    for prediction in predictions:
        if prediction.reward is not None:
            rewards[prediction.question_id].append(prediction.reward)
    return {question: sum(values) / len(values) for question, values in rewards.items()}
