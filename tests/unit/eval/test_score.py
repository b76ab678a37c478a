"""Accuracies and their intervals, against numbers worked out by hand."""

import math
import random

import pytest

from rft.eval.score import clustered_interval, summarize
from rft.types import Answer, Completion, FailureReason, Prompt, Score


def answer(persona: int, reward: float, *, who: str = "self", letter: str | None = "a") -> Answer:
    prompt = Prompt(
        question_id=f"val/{persona}", persona_id=persona, history_id="h", token_ids=(1,), num_history_tokens=0,
        letters=("a", "b"), gold="a", option_order=(0, 1), pref_type="neutral_preferences", who=who, updated=False,
        sensitive=False, scenario="translation",
    )  # fmt: skip
    failure = None if letter else FailureReason.NO_BOX
    return Answer(
        prompt=prompt,
        sibling=0,
        completion=Completion(token_ids=(1,), logprobs=(0.0,), finish_reason="stop", policy_version=0),
        text="",
        score=Score(reward=reward, letter=letter, failure=failure),
    )


def test_interval_is_wilsons_when_every_cluster_has_one_value():
    low, high = clustered_interval([1.0] * 40 + [0.0] * 60, list(range(100)))
    # Wilson 95% for 40 of 100; the design effect of singletons is n/(n-1), so barely wider.
    assert low == pytest.approx(0.3094, abs=2e-3)
    assert high == pytest.approx(0.4980, abs=2e-3)


def test_interval_of_identical_siblings_is_that_of_their_clusters():
    values = [1.0] * 4 + [0.0] * 6
    clusters = list(range(10))
    single = clustered_interval(values, clusters)
    repeated = clustered_interval([v for v in values for _ in range(25)], [c for c in clusters for _ in range(25)])
    assert repeated == pytest.approx(single, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_at_the_ends_keeps_its_width(value: float):
    low, high = clustered_interval([value] * 20, list(range(20)))
    assert 0.0 <= low < high <= 1.0
    assert high - low == pytest.approx(0.161, abs=5e-3)


def test_interval_covers_the_truth_about_95_times_in_100():
    rng = random.Random(0)
    hits = 0
    for _ in range(400):
        values, clusters = [], []
        for cluster in range(60):
            p = rng.choice([0.2, 0.8])  # strongly alike inside a cluster; the mean is 0.5
            values += [float(rng.random() < p) for _ in range(10)]
            clusters += [cluster] * 10
        low, high = clustered_interval(values, clusters)
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_summary_counts_by_category():
    result = summarize(
        [answer(0, 1.0), answer(1, 0.0), answer(2, 0.0, who="others", letter=None), answer(3, 1.0, who="others")]
    )
    assert result.overall.accuracy == 0.5
    assert result.groups["who"]["self"].n == 2
    assert result.groups["who"]["others"].accuracy == 0.5
    assert result.parse_rate == 0.75
    assert result.failures == {"no_box": 1}
    assert result.letters == {"a": 3}
    assert math.isclose(result.truncation_rate, 0.0)


def test_nothing_to_evaluate_is_said():
    with pytest.raises(ValueError, match="no questions"):
        summarize([])
