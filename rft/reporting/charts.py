"""Charts as inline SVG: they need no script and no network, take their colours from the page, and scale with it.

Every mark has a <title>, which a pointer shows and a screen reader reads; lines can be reached by keyboard.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from markupsafe import Markup

from rft.reporting.text_width import shortened, text_width

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 14, 14, 34
"""Around a plot. Where the numbers beside it need more room on the left, they get it."""
TICK_SIZE, NAME_SIZE = 12.0, 12.5
"""Of the fonts, as in charts.html.j2."""
NAMES = (250, 340)
"""Least and most room for the names beside intervals."""
MAX_COLUMNS = 60
"""Of a column chart; more steps are averaged."""
MAX_POINTS = 1200
"""Of a line, twice as many as it has pixels across."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line.

    Example:
        Series(label="seed 0", points=[(0, 0.57), (25, 0.71)], band=[(0, 0.51, 0.62), (25, 0.66, 0.76)])
    """

    label: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    """x, low, high."""
    colour: int = 0
    """Which of the page's colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of an interval chart.

    Example:
        Bar(label="no_history", value=0.26, low=0.21, high=0.31, note="300 questions", colour=1)
    """

    label: str
    value: float
    low: float
    high: float
    note: str = ""
    colour: int = 0


@dataclass(slots=True)
class Frame:
    """Maps data to the plot's area."""

    x: tuple[float, float]
    y: tuple[float, float]
    percent: bool = False
    parts: list[str] = field(default_factory=list)
    ticks: list[tuple[float, str]] = field(init=False)
    left: float = field(init=False)
    """Where the plot begins."""

    def __post_init__(self) -> None:
        values = round_ticks(*self.y)
        digits = max(0, math.ceil(-math.log10((self.y[1] - self.y[0]) * 100)) + 1) if self.percent else 0
        texts = [f"{value:.{digits}%}" for value in values] if self.percent else tick_texts(values)
        self.ticks = list(zip(values, texts, strict=True))
        self.left = max(LEFT, math.ceil(max((text_width(text, TICK_SIZE) for text in texts), default=0)) + 8)

    def at(self, x: float, y: float) -> tuple[float, float]:
        width, height = WIDTH - self.left - RIGHT, HEIGHT - TOP - BOTTOM
        return (
            self.left + width * (x - self.x[0]) / (self.x[1] - self.x[0]),
            TOP + height * (1 - (y - self.y[0]) / (self.y[1] - self.y[0])),
        )

    def axes(self) -> None:
        for value, text in self.ticks:
            _, y = self.at(self.x[0], value)
            self.parts.append(f'<line class="grid" x1="{self.left}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            self.parts.append(f'<text class="tick" x="{self.left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        values = round_ticks(*self.x, 7)
        for value, text in zip(values, tick_texts(values), strict=True):
            x = min(self.at(value, self.y[0])[0], WIDTH - text_width(text, TICK_SIZE) / 2)
            self.parts.append(
                f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{text}</text>'
            )
        self.parts.append(
            f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 5}" text-anchor="end">optimizer step</text>'
        )


def line_chart(title: str, series: Sequence[Series], *, percent: bool = False, zero: bool = False) -> Markup:
    """Lines over optimizer steps, with bands where there are intervals. Empty where there is nothing to draw."""
    series = [one for one in series if one.points]
    if not series:
        return Markup("")
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points] + [y for one in series for _, *ends in one.band for y in ends]
    frame = Frame(padded_range(xs), padded_range([*ys, 0.0] if zero else ys), percent)
    frame.axes()
    for one in series:
        if one.band:
            there = [frame.at(x, high) for x, _, high in one.band]
            back = [frame.at(x, low) for x, low, _ in reversed(one.band)]
            frame.parts.append(f'<polygon class="band c{one.colour}" points="{polyline_points([*there, *back])}"/>')
        places = [frame.at(x, y) for x, y in thinned(one.points)]
        last = one.points[-1][1]
        frame.parts.append(
            f'<polyline class="line c{one.colour}" points="{polyline_points(places)}" tabindex="0">'
            f"<title>{escape(one.label)}, last: {value_text(last, percent)}</title></polyline>"
        )
        for (x, y), (left, top) in zip(one.points, places, strict=True) if len(one.points) <= 40 else ():
            frame.parts.append(
                f'<circle class="dot c{one.colour}" cx="{left:.1f}" cy="{top:.1f}" r="3">'
                f"<title>{escape(one.label)}, step {x:g}: {value_text(y, percent)}</title></circle>"
            )
    return figure_markup(title, frame.parts, legend_markup(series) if len(series) > 1 else "")


def column_chart(title: str, steps: Sequence[float], parts: Mapping[str, Sequence[float]]) -> Markup:
    """Stacked columns over steps, such as the seconds of each phase; many steps are averaged into one column."""
    if not steps or not parts:
        return Markup("")
    size = math.ceil(len(steps) / MAX_COLUMNS)
    starts = range(0, len(steps), size)
    heights = {
        label: [sum(values[at : at + size]) / len(values[at : at + size]) for at in starts]
        for label, values in parts.items()
    }
    totals = [sum(values[column] for values in heights.values()) for column in range(len(starts))]
    frame = Frame((steps[0] - 0.5, steps[-1] + 0.5), (0.0, max(totals) * 1.05 or 1.0))
    frame.axes()
    below = [0.0] * len(starts)
    for colour, (label, values) in enumerate(heights.items()):
        for column, start in enumerate(starts):
            last = min(start + size, len(steps)) - 1
            left, bottom = frame.at(steps[start] - 0.45, below[column])
            right, top = frame.at(steps[last] + 0.45, below[column] + values[column])
            frame.parts.append(
                f'<rect class="fill c{colour}" x="{left:.1f}" y="{top:.1f}" width="{max(0.5, right - left):.1f}" '
                f'height="{bottom - top:.1f}"><title>{escape(label)}, step {steps[start]:g}: {values[column]:.3g} s'
                "</title></rect>"
            )
            below[column] += values[column]
    labels = [Series(label=label, points=(), colour=colour) for colour, label in enumerate(heights)]
    return figure_markup(title, frame.parts, legend_markup(labels))


def interval_chart(title: str, bars: Sequence[Bar], *, chance: float | None = None) -> Markup:
    """A dot and its 95% interval per row, on a scale from 0 to 1."""
    if not bars:
        return Markup("")
    widest = max(text_width(bar.label, NAME_SIZE) for bar in bars)
    row, label_width = 24, min(max(NAMES[0], math.ceil(widest) + 10), NAMES[1])
    height = TOP + row * len(bars) + 24
    values = [f"{bar.value:.1%}" for bar in bars]
    width = WIDTH - label_width - RIGHT - max(50.0, max(text_width(text, TICK_SIZE) for text in values))

    def at(value: float) -> float:
        # Rewards of one's own may be outside; their numbers stand beside the mark.
        return label_width + width * min(max(value, 0.0), 1.0)

    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<line class="grid" x1="{at(value):.1f}" x2="{at(value):.1f}" y1="{TOP}" y2="{height - 24}"/>')
        parts.append(f'<text class="tick" x="{at(value):.1f}" y="{height - 8}" text-anchor="middle">{value:.0%}</text>')
    if chance is not None:
        parts.append(
            f'<line class="chance" x1="{at(chance):.1f}" x2="{at(chance):.1f}" y1="{TOP}" y2="{height - 24}">'
            f"<title>chance, {chance:.0%}</title></line>"
        )
    for place, (bar, shown) in enumerate(zip(bars, values, strict=True)):
        y = TOP + row * (place + 0.5)
        text = f"{bar.label}: {bar.value:.1%}, 95% interval {bar.low:.1%} to {bar.high:.1%}"
        parts.append(
            f'<g tabindex="0"><title>{escape(text)}{", " + escape(bar.note) if bar.note else ""}</title>'
            f'<text class="name" x="{label_width - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{escape(shortened(bar.label, label_width - 8, NAME_SIZE))}</text>"
            f'<line class="line c{bar.colour}" x1="{at(bar.low):.1f}" x2="{at(bar.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot c{bar.colour}" cx="{at(bar.value):.1f}" cy="{y}" r="5"/>'
            f'<text class="tick" x="{WIDTH - 4}" y="{y + 4:.1f}" text-anchor="end">{shown}</text></g>'
        )
    return figure_markup(title, parts, "", height)


def letter_chart(title: str, given: dict[str, int], right: dict[str, int]) -> Markup:
    """How often each letter was answered, beside how often it was right."""
    letters = sorted(given.keys() | right.keys())
    if not letters:
        return Markup("")
    top = max([*given.values(), *right.values()])
    bars = []
    group = (WIDTH - LEFT - RIGHT) / len(letters)
    height = HEIGHT - TOP - BOTTOM
    for place, letter in enumerate(letters):
        for side, (label, counts) in enumerate((("right", right), ("answered", given))):
            count = counts.get(letter, 0)
            tall = height * count / top
            x = LEFT + group * place + group * (0.15 + 0.36 * side)
            bars.append(
                f'<rect class="fill c{2 if side == 0 else 0}" x="{x:.1f}" y="{TOP + height - tall:.1f}" '
                f'width="{group * 0.34:.1f}" height="{tall:.1f}" tabindex="0"><title>{escape(letter)} {label}: {count}'
                f'</title></rect><text class="tick" x="{x + group * 0.17:.1f}" y="{TOP + height - tall - 3:.1f}" '
                f'text-anchor="middle">{count}</text>'
            )
        bars.append(
            f'<text class="name" x="{LEFT + group * (place + 0.5):.1f}" y="{HEIGHT - 12}" text-anchor="middle">'
            f"{escape(letter)}</text>"
        )
    labels = [Series(label="right", points=(), colour=2), Series(label="answered", points=())]
    return figure_markup(title, bars, legend_markup(labels))


# ------------------------------------------------------------------------------------------------------------- pieces


def thinned(points: Sequence[Point]) -> list[Point]:
    """Of many points the lowest and the highest of each stretch, so that no spike is lost."""
    size = math.ceil(2 * len(points) / MAX_POINTS)
    if size <= 2:
        return list(points)
    kept = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept


def figure_markup(title: str, parts: Iterable[str], below: str, height: int = HEIGHT) -> Markup:
    # Every part of it is escaped or a number.
    return Markup(  # nosec B704
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>{below}</figure>'
    )


def legend_markup(series: Sequence[Series]) -> str:
    items = "".join(f'<li><i class="key c{one.colour}"></i>{escape(one.label)}</li>' for one in series)
    return f'<ul class="legend">{items}</ul>'


def polyline_points(places: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def padded_range(values: Sequence[float]) -> tuple[float, float]:
    """A range with a little room, never empty."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return (low - room if low < 0 or low > room else min(low, 0.0), high + room)


def round_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers within a range, about `wanted` of them."""
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_texts(values: Sequence[float]) -> list[str]:
    """Ticks as short as they can be told apart."""
    texts = [short_number(value) for value in values]
    for digits in range(5, 16):
        if len(set(texts)) == len(texts):
            break
        texts = [f"{value:.{digits}g}" for value in values]
    return texts


def short_number(value: float) -> str:
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:,.10g}" if abs(value) >= 1000 else f"{value:.4g}"


def value_text(value: float, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.4g}"
