"""From predictions to accuracies, with intervals that know that questions of one cluster are alike."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rft.data.prompts import offered_letters
from rft.eval.memory import MemoryResult, summarize_memories
from rft.eval.predictions import Prediction

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95% interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers; with a judge or with reward functions, the mean of what they give.

    Example:
        Accuracy(n=200, accuracy=0.525, low=0.44, high=0.61)
    """

    n: int
    """Questions."""
    accuracy: float
    low: float
    """Lower end of the 95% interval, clustered by `Question.cluster`."""
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalResult:
    """One evaluation of one set of weights.

    Example:
        EvalResult(overall=Accuracy(...), groups={"who": {"self": Accuracy(...), "others": Accuracy(...)}},
                   parse_rate=0.99, truncation_rate=0.0, num_unrated=0, failures={"no_box": 2},
                   letters={"a": 51, "b": 47}, gold_letters={"a": 50, "b": 50}, chance=0.25, rewards={"exact": 0.4})
    """

    overall: Accuracy
    groups: dict[str, dict[str, Accuracy]]
    """By tag, then by the tag's value; tags in the order in which the data set names them."""
    parse_rate: float | None
    """Share of answers that could be read, or with a judge of those with a valid verdict; None where nobody reads
    answers, as with reward functions alone."""
    truncation_rate: float
    """Share of replies cut at their limit."""
    num_unrated: int
    """Answers without a reward: in `failures` where they have one, and in no mean."""
    failures: dict[str, int]
    letters: dict[str, int]
    """How often each letter was answered, where letters were offered."""
    gold_letters: dict[str, int]
    """How often each letter was right."""
    chance: float | None
    """Accuracy of a guess among the options; None where a question was asked without options."""
    rewards: dict[str, float] = field(default_factory=dict)
    """Mean of each reward function's values, by its name."""
    closed_by: dict[str, int] = field(default_factory=dict)
    """With compare.protocol=leaderboard: how many chats ended with the options in a message of each role."""
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
    """Lower end of the 95% interval, clustered by `Question.cluster`."""
    high: float


def summarize(predictions: Sequence[Prediction], breakdowns: Sequence[str]) -> EvalResult:
    """Accuracy over all predictions and by tag, and the memories where answers come from memories.

    Args:
        predictions: of one system on one set of questions; at least one.
        breakdowns: the tags to break down by; one that no prediction has is left out.

    Raises:
        ValueError: no answer has a reward.
    """
    assert predictions, "a split is never empty"
    rated = [prediction for prediction in predictions if prediction.reward is not None]
    if not rated:
        judged = any(prediction.verdicts for prediction in predictions)
        reason = (
            "valid verdict of the judge; ask another judge" if judged else "reward; see that reward.function applies"
        )
        raise ValueError(f"none of {len(predictions)} answers has a {reason}")
    from_memory = [prediction for prediction in predictions if prediction.memory]
    shown = [prediction for prediction in predictions if prediction.option_order]
    all_shown = len(shown) == len(predictions)
    return EvalResult(
        overall=accuracy_of(rated),
        groups={tag: accuracy_by_tag(rated, tag) for tag in breakdowns if any(tag in p.tags for p in rated)},
        parse_rate=parse_rate_of(predictions),
        truncation_rate=statistics.fmean(prediction.finish_reason == "length" for prediction in predictions),
        num_unrated=len(predictions) - len(rated),
        failures=counted(prediction.failure for prediction in predictions),
        letters=counted(p.parsed for p in shown if p.parsed in offered_letters(p.option_order)),
        gold_letters=counted(prediction.reference for prediction in shown),
        chance=statistics.fmean(1 / len(prediction.option_order) for prediction in shown) if all_shown else None,
        rewards=mean_parts(predictions),
        closed_by=counted(prediction.closed_by for prediction in predictions),
        memory=summarize_memories(from_memory) if from_memory else None,
    )


def accuracy_by_tag(rated: Sequence[Prediction], tag: str) -> dict[str, Accuracy]:
    """By the tag's value; `""` for predictions without the tag."""
    members: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in rated:
        members[prediction.tags.get(tag, "")].append(prediction)
    return {value: accuracy_of(members[value]) for value in sorted(members, key=natural_order)}


def parse_rate_of(predictions: Sequence[Prediction]) -> float | None:
    if all(one.parsed is None and one.failure is None and not one.verdicts for one in predictions):
        return None
    return statistics.fmean(prediction.failure is None for prediction in predictions)


def mean_parts(predictions: Sequence[Prediction]) -> dict[str, float]:
    """The mean of each reward function over the predictions that it gave a value."""
    values: dict[str, list[float]] = defaultdict(list)
    for prediction in predictions:
        for name, value in prediction.parts.items():
            values[name].append(value)
    return {name: statistics.fmean(found) for name, found in values.items()}


def counted(values: Iterable[str | None]) -> dict[str, int]:
    """How often each value occurs, by the alphabet; None is no value."""
    return dict(sorted(Counter(str(value) for value in values if value is not None).items()))


def natural_order(value: str) -> tuple[int, str]:
    """Sorts buckets such as `2k-4k` by their number, and words by the alphabet."""
    number = value.split("-")[0].removesuffix("k")
    return (int(number) if number.isdecimal() and number.isascii() else 0, value)


def accuracy_of(predictions: Sequence[Prediction]) -> Accuracy:
    """Mean reward with its interval."""
    rewards = rewards_of(predictions)
    low, high = clustered_interval(rewards, [prediction.cluster for prediction in predictions])
    questions = {prediction.question_id for prediction in predictions}
    return Accuracy(n=len(questions), accuracy=sum(rewards) / len(rewards), low=low, high=high)


def rewards_of(predictions: Sequence[Prediction]) -> list[float]:
    return [prediction.reward for prediction in predictions if prediction.reward is not None]


def clustered_interval(values: Sequence[float], clusters: Sequence[str], z: float = Z95) -> tuple[float, float]:
    """Interval of the mean of `values` whose `clusters` are drawn independently, at 95% or the level of `z`.

    For values in [0, 1]: Wilson's interval (1927) at the effective sample size n / deff. The design effect deff is the
    ratio of the cluster-robust variance of the mean, G/(G-1) * sum_g (sum_{i in g} (x_i - p))^2 / n^2 over G clusters,
    to the binomial p(1-p)/n, and never below 1 (Kish 1965). Unlike a normal interval it stays sensible at 0 and 1. For
    a judge's scores, which vary less than 0 and 1 would, it is too wide rather than too narrow.

    For other values: the normal interval of the cluster-robust variance. With a single cluster its questions count as
    independent, because nothing says how alike they are.
    """
    n = len(values)
    mean = sum(values) / n
    if min(values) < 0.0 or max(values) > 1.0:
        half = z * math.sqrt(clustered_variance(values, clusters))
        return mean - half, mean + half
    effective_n = n / design_effect(values, clusters, mean)
    shrink = 1 + z**2 / effective_n
    centre = (mean + z**2 / (2 * effective_n)) / shrink
    half = z / shrink * math.sqrt(mean * (1 - mean) / effective_n + z**2 / (4 * effective_n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def design_effect(values: Sequence[float], clusters: Sequence[str], mean: float) -> float:
    binomial = mean * (1 - mean) / len(values)
    if binomial == 0 or len(set(clusters)) < 2:
        return 1.0
    return max(1.0, clustered_variance(values, clusters) / binomial)


def clustered_variance(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Cluster-robust variance of the mean of `values`; of a single cluster each value is one, and of one value 0."""
    if len(set(clusters)) < 2:
        clusters = [str(index) for index in range(len(values))]
    mean = sum(values) / len(values)
    residuals: dict[str, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    num_clusters = len(residuals)
    if num_clusters < 2:
        return 0.0
    return num_clusters / (num_clusters - 1) * sum(r * r for r in residuals.values()) / len(values) ** 2


def paired_difference(ours: Sequence[Prediction], theirs: Sequence[Prediction]) -> Difference | None:
    """Mean difference in reward over the questions that both answered, with its 95% interval.

    Samples of a question are averaged first. None with fewer than two clusters in common.
    """
    means = [mean_by_question(side) for side in (ours, theirs)]
    cluster_of = {prediction.question_id: prediction.cluster for prediction in ours}
    common = [question for question in means[0] if question in means[1]]
    clusters = [cluster_of[question] for question in common]
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
