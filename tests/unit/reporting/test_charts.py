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
    NAME_SIZE,
    RIGHT,
    TICK_SIZE,
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
    tick_texts,
)  # fmt: skip
from rft.reporting.text_width import text_width

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


# ---------------------------------------------------------------------------------------------- what texts take up


def overhanging(chart: str) -> list[str]:
    """Texts that are not whole inside the drawing, as wide as they may be."""
    (drawing,) = marks(chart, "svg")
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    found = []
    for mark in drawing.iter("text"):
        size = NAME_SIZE if mark.attrib["class"] == "name" else TICK_SIZE
        wide = text_width(mark.text or "", size)
        begin = (
            float(mark.attrib["x"]) - {"start": 0, "middle": wide / 2, "end": wide}[mark.get("text-anchor", "start")]
        )
        base = float(mark.attrib["y"])
        if begin < -0.1 or begin + wide > width + 0.1 or base - size < -2 or base > height:
            found.append(f"{mark.text}: {begin:.0f} to {begin + wide:.0f}, at {base:.0f}")
    return found


def texts(chart: str, kind: str) -> list[str | None]:
    return [mark.text for mark in marks(chart, "text") if mark.attrib["class"] == kind]


LABELS = st.text(max_size=60) | st.text(st.sampled_from("WMwi個é😀_ "), min_size=20, max_size=80)


@given(st.lists(st.tuples(LABELS, st.floats(-1e6, 1e6)), min_size=1, max_size=6))
def test_names_and_values_beside_intervals_are_inside_the_drawing(rows: list[tuple[str, float]]):
    rows = [("".join(filter(str.isprintable, label)), value) for label, value in rows]
    chart = interval_chart("Systems", [Bar(label=label, value=v, low=v, high=v) for label, v in rows], chance=0.25)
    assert overhanging(chart) == []
    names = texts(chart, "name")
    assert all(
        shown == label or (shown or "")[-1:] == "…" for shown, (label, _) in zip(names, rows, strict=True) if label
    )


def test_names_as_long_as_those_of_our_systems_are_whole_and_longer_ones_are_in_the_title():
    labels = [
        "truncated_history, Qwen3-4B-Instruct-2507", "anti_stereotypical_preferences (855)",
        "other_history, checkpoint-1200-of-the-second-run-with-a-longer-context",
    ]  # fmt: skip
    chart = interval_chart("Systems", [Bar(label=label, value=0.5, low=0.4, high=0.6) for label in labels])
    assert overhanging(chart) == []
    assert texts(chart, "name")[:2] == labels[:2] and (texts(chart, "name")[2] or "").endswith("…")
    assert any((mark.text or "").startswith(f"{labels[2]}: 50.0%") for mark in marks(chart, "title"))


@given(NUMBER, st.floats(1e-3, 1e6), st.floats(0, 1e6), st.booleans())
def test_numbers_beside_lines_are_inside_the_drawing(low: float, height: float, last: float, percent: bool):
    points = [(0.0, low), (last, low + height)]
    chart = line_chart("Reward", [Series(label="run", points=points)], percent=percent)
    assert overhanging(chart) == []


@pytest.mark.parametrize(
    "values", [(123456.001, 123456.002), (1.23456e-5, 1.23457e-5), (-123456.7, -123450.2), (0.0, 9e5)]
)
def test_numbers_beside_lines_can_be_told_apart(values: tuple[float, float]):
    chart = line_chart("Reward", [Series(label="run", points=list(enumerate(values)))])
    beside = [mark.text for mark in marks(chart, "text") if mark.get("text-anchor") == "end"]
    assert overhanging(chart) == [] and len(set(beside)) == len(beside) > 3


@given(st.integers(1, 10**6), st.integers(1, 40), st.just(0.0) | st.floats(1e-6, 1e6))
def test_numbers_beside_columns_are_inside_the_drawing(first: int, num_steps: int, seconds: float):
    steps = list(range(first, first + num_steps))
    assert overhanging(column_chart("Seconds", steps, {"rollout": [seconds] * num_steps})) == []


@given(st.lists(st.integers(0, 99_999), min_size=1, max_size=26))
def test_counts_over_letters_are_inside_the_drawing(counts: list[int]):
    given_letters = {chr(ord("a") + place): count for place, count in enumerate(counts)}
    assert overhanging(letter_chart("Letters", given_letters, {"a": 1})) == []


def test_ticks_are_as_short_as_they_can_be_told_apart():
    assert tick_texts([0.0, 0.5, 1.0]) == ["0", "0.5", "1"]
    assert tick_texts([1e-5, 1.1e-5]) == ["1e-05", "1.1e-05"]
    assert tick_texts([]) == []
