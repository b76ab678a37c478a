"""Charts: marks where the numbers are, whatever the numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.reporting.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MAX_COLUMNS,
    RIGHT,
    TOP,
    WIDTH,
    Bar,
    Series,
    column_chart,
    interval_chart,
    letter_chart,
    line_chart,
    round_ticks,
    short_number,
)  # fmt: skip

NUMBER = st.floats(-1e6, 1e6, allow_nan=False)


def marks(chart: str, tag: str) -> list[ElementTree.Element]:
    """Parses the chart, so that what is not well-formed fails."""
    return list(ElementTree.fromstring(chart).iter(tag))


@given(st.lists(NUMBER, min_size=1, max_size=80), st.booleans())
def test_a_line_stays_in_its_frame(values: list[float], zero: bool):
    series = Series(label="run", points=list(enumerate(values)))
    (line,) = marks(line_chart("Reward", [series], zero=zero), "polyline")
    places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
    assert len(places) == len(values)
    for x, y in places:
        assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
        assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1
    tops = [y for _, y in places]
    assert tops.index(min(tops)) in [i for i, value in enumerate(values) if abs(value - max(values)) <= 1e4 + 1e-9] or (
        max(values) - min(values) < 1e-3 * (abs(max(values)) + 1)
    )


def test_names_are_escaped_and_several_lines_have_a_legend():
    series = [Series(label=f"<b>{n}</b>", points=[(0, 0.5), (1, 0.7)], colour=n) for n in range(2)]
    chart = line_chart("A < B", series, percent=True)
    assert "<b>" not in chart and "&lt;b&gt;" in chart
    assert len(marks(chart, "li")) == 2
    assert marks(chart, "figcaption")[0].text == "A < B"


def test_nothing_to_draw_is_nothing():
    assert line_chart("x", [Series(label="run", points=[])]) == ""
    assert column_chart("x", [], {}) == interval_chart("x", []) == letter_chart("x", {}, {}) == ""


@given(st.integers(1, 500))
def test_columns_stack_and_stay_few(num_steps: int):
    steps = list(range(1, num_steps + 1))
    chart = column_chart("Seconds", steps, {"rollout": [1.0] * num_steps, "update": [3.0] * num_steps})
    columns = marks(chart, "rect")
    assert len(columns) <= 2 * MAX_COLUMNS
    heights = [float(column.attrib["height"]) for column in columns]
    half = len(heights) // 2
    assert sum(heights[half:]) == pytest.approx(3 * sum(heights[:half]), rel=0.05)


def test_an_interval_spans_its_ends():
    chart = interval_chart("Systems", [Bar(label="memory", value=0.5, low=0.25, high=0.75, note="9")], chance=0.25)
    line = next(mark for mark in marks(chart, "line") if mark.attrib["class"].startswith("line"))
    chance = next(mark for mark in marks(chart, "line") if mark.attrib["class"] == "chance")
    (dot,) = marks(chart, "circle")
    assert float(line.attrib["x1"]) == float(chance.attrib["x1"])
    assert float(dot.attrib["cx"]) == pytest.approx((float(line.attrib["x1"]) + float(line.attrib["x2"])) / 2)
    assert "memory: 50.0%, 95% interval 25.0% to 75.0%, 9" in [mark.text for mark in marks(chart, "title")]


def test_letters_are_counted_beside_each_other():
    titles = [mark.text for mark in marks(letter_chart("Letters", {"a": 3}, {"a": 1, "b": 2}), "title")]
    assert titles == ["a right: 1", "a answered: 3", "b right: 2", "b answered: 0"]


@given(NUMBER, st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float):
    high = low + width
    if high - low < 1e-9 * abs(low):
        return
    found = round_ticks(low, high)
    assert len(found) <= 12
    assert all(low - width * 1e-6 <= tick <= high + width * 1e-6 for tick in found)


def test_numbers_are_short():
    assert [short_number(n) for n in (0, 0.5, 150_000, 3e-7, 2e6, 12.3456)] == [
        "0",
        "0.5",
        "150,000",
        "3e-7",
        "2e6",
        "12.35",
    ]
