"""Shares of mixed pilots by tag."""

import json

import pytest

from rft.data.tag_rates import FORGET, PRIOR, TagRates


def test_nothing_known_is_one_half():
    assert TagRates().overall() == 0.5
    assert TagRates().expected({"who": "self"}) == 0.5
    assert TagRates().expected({}) == 0.5


def test_a_tag_is_drawn_to_the_overall_rate_and_leaves_it_with_evidence():
    rates = TagRates()
    rates.add([({"who": "self"}, True)] * 30 + [({"who": "others"}, False)] * 10)
    overall = 31 / 42
    assert rates.overall() == pytest.approx(overall)
    assert rates.expected({"who": "self"}) == pytest.approx((30 + PRIOR * overall) / (30 + PRIOR))
    assert rates.expected({"who": "others"}) == pytest.approx(PRIOR * overall / (10 + PRIOR))
    assert rates.expected({"who": "nobody yet"}) == pytest.approx(overall)
    both = rates.expected({"who": "self", "updated": "true"})
    assert both == pytest.approx((rates.expected({"who": "self"}) + overall) / 2)


def test_older_batches_count_less():
    rates = TagRates()
    rates.add([({}, True)] * 10)
    rates.add([({}, False)] * 10)
    assert rates.overall() == pytest.approx((10 * FORGET + 1) / (10 * FORGET + 10 + 2))


def test_the_state_goes_through_json():
    rates, other = TagRates(), TagRates()
    rates.add([({"a": "b"}, True), ({"a": "c"}, False)])
    other.load(json.loads(json.dumps(rates.state())))
    assert other.expected({"a": "b"}) == rates.expected({"a": "b"})
