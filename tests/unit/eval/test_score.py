"""Accuracies and their intervals, against numbers worked out by hand."""

import math
import random

import pytest

from rft.eval.predictions import Prediction
from rft.eval.score import clustered_interval, distance_bucket, paired_difference, summarize
from rft.records import FailureReason


def answer(
    persona: int,
    reward: float | None,
    *,
    who: str = "self",
    letter: str | None = "a",
    number: int = 0,
    distance: int = 9,
) -> Prediction:
    return Prediction(
        question_id=f"val/{persona}-{number}", persona_id=persona, history_id="h", pref_type="neutral_preferences",
        who=who, updated=False, sensitive=False, scenario="translation", topic="music", distance_tokens=distance,
        sample=0, option_order=(0, 1), gold="a", letter=letter, reward=reward, finish_reason="stop", prompt_tokens=1,
        failure=None if letter else FailureReason.NO_BOX, completion_tokens=1, question="", text="",
    )  # fmt: skip


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


def test_buckets_double():
    tokens = (0, 1023, 1024, 2047, 2048, 18_861, 127_000)
    assert [distance_bucket(n) for n in tokens] == ["0-1k", "0-1k", "1k-2k", "1k-2k", "2k-4k", "16k-32k", "64k-128k"]
    result = summarize([answer(n, 1.0, distance=n * 1000) for n in (20, 0, 3, 9)])
    assert list(result.groups["distance_tokens"]) == ["0-1k", "2k-4k", "8k-16k", "16k-32k"]


def test_a_difference_is_paired_and_clustered():
    ours = [answer(persona, float(persona % 4 > 0), number=n) for persona in range(40) for n in range(5)]
    theirs = [answer(persona, float(persona % 4 > 1), number=n) for persona in range(40) for n in range(5)]
    found = paired_difference(ours, theirs)
    assert found is not None and (found.n, found.mean) == (200, 0.25)
    # Forty personas, each with one difference five times: a standard error of sqrt(0.25 * 0.75 / 39).
    assert found.high - found.mean == pytest.approx(1.96 * math.sqrt(0.25 * 0.75 / 39), rel=1e-3)
    assert paired_difference(ours, ours) is not None and paired_difference(ours, theirs[:5]) is None


def test_a_difference_averages_samples_and_takes_common_questions():
    ours = [answer(0, 1.0), answer(0, 0.0), answer(1, 1.0), answer(2, 1.0)]
    theirs = [answer(0, 0.0), answer(1, 0.0), answer(3, 1.0)]
    found = paired_difference(ours, theirs)
    assert found is not None and (found.n, found.mean) == (2, 0.75)


def test_several_samples_of_a_question_are_one_question():
    assert summarize([answer(0, 1.0), answer(0, 0.0), answer(1, 1.0)]).overall.n == 2


def test_an_answer_without_a_valid_verdict_is_in_no_mean():
    result = summarize([answer(0, 0.5), answer(1, 1.0), answer(2, None, letter=None)])
    assert (result.overall.n, result.overall.accuracy) == (2, 0.75)
    with pytest.raises(ValueError, match="none of 1 answers"):
        summarize([answer(2, None)])
