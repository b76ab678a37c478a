"""Accuracies and their intervals, against numbers worked out by hand."""

import math
import random
from typing import Any

import pytest

from rft.eval.policy_metrics import describe_policy_eval, policy_eval_metrics
from rft.eval.predictions import Prediction
from rft.eval.score import EvalResult, clustered_interval, paired_difference, summarize
from rft.reward.mcq import FailureReason
from tests.unit.eval.builder import make_prediction, make_question

BREAKDOWNS = ("who", "distance")


def answer(
    user: int,
    reward: float | None,
    *,
    who: str = "self",
    letter: str | None = "a",
    number: int = 0,
    **changes: Any,
) -> Prediction:
    """Of question `number` of a user, with two options of which `a` is right."""
    tags = changes.pop("tags", {"who": who, "kind": "music"})
    question = make_question(0, question_id=f"val/{user}-{number}", cluster=str(user), tags=tags)
    values = {"option_order": (0, 1), "failure": None if letter else FailureReason.NO_BOX}
    return make_prediction(question, parsed=letter, reward=reward, **values | changes)


def summary(*answers: Prediction) -> EvalResult:
    return summarize(answers, BREAKDOWNS)


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_interval_is_wilsons_when_every_cluster_has_one_value():
    low, high = clustered_interval([1.0] * 40 + [0.0] * 60, names(100))
    # Wilson 95% for 40 of 100; the design effect of singletons is n/(n-1), so barely wider.
    assert low == pytest.approx(0.3094, abs=2e-3)
    assert high == pytest.approx(0.4980, abs=2e-3)


def test_interval_of_identical_siblings_is_that_of_their_clusters():
    values = [1.0] * 4 + [0.0] * 6
    clusters = names(10)
    single = clustered_interval(values, clusters)
    repeated = clustered_interval([v for v in values for _ in range(25)], [c for c in clusters for _ in range(25)])
    assert repeated == pytest.approx(single, abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_interval_at_the_ends_keeps_its_width(value: float):
    low, high = clustered_interval([value] * 20, names(20))
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
            clusters += [str(cluster)] * 10
        low, high = clustered_interval(values, clusters)
        hits += low <= 0.5 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_interval_of_rewards_outside_0_and_1_is_the_normal_one():
    values = [1.2, -0.3, 1.2, 0.2]
    low, high = clustered_interval(values, names(4))
    mean = sum(values) / 4
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values) / 3 / 4)
    assert (low, high) == (pytest.approx(mean - half, rel=1e-3), pytest.approx(mean + half, rel=1e-3))
    # Of a single cluster nothing says how alike its questions are, and of a single value nothing is known.
    assert clustered_interval(values, ["one"] * 4) == (low, high)
    assert clustered_interval([1.2], ["one"]) == (1.2, 1.2)


def test_summary_counts_by_tag():
    result = summary(answer(0, 1.0), answer(1, 0.0), answer(2, 0.0, who="others", letter=None),
                     answer(3, 1.0, who="others"))  # fmt: skip
    assert result.overall.accuracy == 0.5
    assert list(result.groups) == ["who"], "a tag that no prediction has is no breakdown"
    assert result.groups["who"]["self"].n == 2
    assert result.groups["who"]["others"].accuracy == 0.5
    assert result.parse_rate == 0.75
    assert result.failures == {"no_box": 1}
    assert (result.letters, result.gold_letters, result.chance) == ({"a": 3}, {"a": 4}, 0.5)
    assert math.isclose(result.truncation_rate, 0.0)


def test_tags_keep_the_data_set_s_order_and_values_their_numbers():
    buckets = ("16k-32k", "0-1k", "2k-4k", "8k-16k")
    tagged = [answer(n, 1.0, tags={"distance": bucket, "who": "self"}) for n, bucket in enumerate(buckets)]
    result = summarize([*tagged, answer(9, 1.0, tags={"who": "self"})], ("who", "distance"))
    assert list(result.groups) == ["who", "distance"]
    assert list(result.groups["distance"]) == ["", "0-1k", "2k-4k", "8k-16k", "16k-32k"]


def test_without_options_there_are_no_letters_and_no_chance():
    plain = {"option_order": (), "letter": None, "failure": None}
    result = summary(answer(0, 1.0, **plain), answer(1, 0.5, **plain))
    assert (result.letters, result.gold_letters, result.chance, result.parse_rate) == ({}, {}, None, None)
    assert result.overall.accuracy == 0.75
    mixed = summary(answer(0, 1.0), answer(1, 1.0, option_order=()))
    assert (mixed.gold_letters, mixed.chance) == ({"a": 1}, None)


def test_who_showed_the_options_is_counted_where_a_protocol_says_so():
    roles = ["system", "system", "user", None]
    predictions = [make_prediction(make_question(n), closed_by=role) for n, role in enumerate(roles)]
    assert summarize(predictions, ()).closed_by == {"system": 2, "user": 1}
    assert summarize(predictions[3:], ()).closed_by == {}


def test_the_parts_of_a_reward_are_averaged_over_those_that_have_them():
    result = summary(answer(0, 1.2, parts={"exact": 1.0, "brief": 1.0}), answer(1, 0.0, parts={"exact": 0.0}))
    assert result.rewards == {"exact": 0.5, "brief": 1.0}


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
    assert summary(answer(0, 1.0), answer(0, 0.0), answer(1, 1.0)).overall.n == 2


def test_an_answer_without_a_reward_is_counted_and_in_no_mean():
    result = summary(answer(0, 0.5), answer(1, 1.0), answer(2, None, letter=None), answer(3, None))
    assert (result.overall.n, result.overall.accuracy, result.num_unrated) == (2, 0.75, 2)
    assert result.groups["who"]["self"].n == 2
    with pytest.raises(ValueError, match="none of 1 answers has a reward"):
        summary(answer(2, None))


# ------------------------------------------------------------------------------------------------------- as metrics


def test_metrics_have_the_values_of_the_strata_alone():
    result = summarize([answer(0, 1.0, parts={"exact": 1.0}), answer(1, 0.0, who="others")], ("who", "kind"))
    metrics = policy_eval_metrics(result, ("who", "absent"))
    assert metrics["eval/accuracy"] == 0.5 and metrics["eval/accuracy_low"] < 0.5 < metrics["eval/accuracy_high"]
    assert (metrics["eval/who/self"], metrics["eval/who/others"]) == (1.0, 0.0)
    assert metrics["eval/rewards/exact/mean"] == 1.0 and metrics["eval/parse_rate"] == 1.0
    assert not any(key.startswith(("eval/kind", "eval/absent", "eval/memory")) for key in metrics)


def test_metrics_leave_out_what_nobody_reads():
    plain = {"option_order": (), "letter": None, "failure": None}
    assert "eval/parse_rate" not in policy_eval_metrics(summary(answer(0, 1.0, **plain)), ())


def test_a_line_for_a_terminal():
    told = describe_policy_eval(summary(answer(0, 1.0), answer(1, None)))
    assert told.startswith("accuracy 1.000 [") and told.endswith("on 1 held-out questions (1 answers without a reward)")
