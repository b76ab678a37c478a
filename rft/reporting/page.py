"""The report's page: what is shown, in which order. The template beside it says how it looks.

The page is one file without any script, and forbids all scripts and all network by its content security policy. What
models wrote is text: the template escapes it, and shows no control character of it.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.eval.results import SystemResult
from rft.reporting.charts import Bar, Series, column_chart, interval_chart, letter_chart, line_chart
from rft.reporting.run_folder import Group, RunFolder, first_answer, read_run
from rft.reporting.templates import render, shortened
from rft.telemetry.names import LOGPROB_GAP

logger = logging.getLogger(__name__)

MAX_BARS = 200
"""Of a chart by category; a tag with more values is left to eval.json."""

MAX_GROUPS = 12
"""Shown of one run: the first few and the last few."""

MAX_UPDATES = 24
"""Of a memory, shown of one rollout: the first few and the last few."""

MAX_ANSWERS = 8
"""From a memory, shown of one rollout."""

MAX_LINES = 200
"""Of one memory; of a longer one the lines that have changed."""

MAX_LINE_CHARS, MAX_TEXT_CHARS = 400, 8000
"""Shown of a line of a memory, and of a question, a thought or an answer."""

MAX_FILE_CHARS = 200_000
"""Shown of a run's config and of its provenance."""

PHASE = re.compile(r"time/(.+)_s")
"""The metric with a phase's seconds."""

THOUGHT = re.compile(r"\A\s*<think>(.*?)</think>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a memory, and what the update did to it."""

    kind: str
    """`same`, `added` or `removed`."""
    text: str


def render_page(runs: Sequence[RunFolder]) -> str:
    """The page for one run, or for several side by side."""
    return render(
        "page.html.j2",
        title=" and ".join(run.name for run in runs),
        runs=[view_of(run) for run in runs],
        tiles=[(run.name, tiles_of(run)) for run in runs],
        learning=learning_charts(runs),
        health=health_charts(runs),
        costs=cost_charts(runs),
        several=len(runs) > 1,
    )


def write_report(runs: Sequence[Path], output: Path | None = None) -> Path:
    """Writes the page and returns its path.

    Raises:
        ValueError: a folder that is no run's.
    """
    if output is None:
        output = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    page = render_page([read_run(run) for run in runs])
    temporary = output.with_name(f".{output.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    os.replace(temporary, output)
    return output


def try_write_report(run: Path) -> Path | None:
    """The page of a run, for whom it is no more than a by-product: trouble is logged, and None returned."""
    try:
        return write_report([run])
    except ValueError as error:
        logger.warning("report.html was not written: %s", error)
        return None
    except Exception:
        logger.exception("report.html was not written; `python rft/report.py %s` writes it", run)
        return None


def view_of(run: RunFolder) -> dict[str, Any]:
    """What the template shows of one run by itself."""
    return {
        "name": run.name,
        "categories": category_charts(run),
        "letters": letter_chart(
            "Letters answered and letters right, last evaluation",
            run.last_eval.get("letters", {}),
            run.last_eval.get("gold_letters", {}),
        ),
        "failures": run.last_eval.get("failures", {}),
        "systems": [(results.name, systems_chart(results.systems), results.systems) for results in run.results],
        "groups": [group_view(group) for group in chosen_groups(run.groups)],
        "num_groups": len(run.groups),
        "all_groups": run.all_groups,
        "config": shortened(run.config, MAX_FILE_CHARS),
        "provenance": shortened(json.dumps(run.provenance, indent=2), MAX_FILE_CHARS),
    }


# ---------------------------------------------------------------------------------------------------------- numbers


def tiles_of(run: RunFolder) -> list[tuple[str, str]]:
    """The run in a few numbers: label, value."""
    summary = run.summary
    found = []
    before, after = summary.get("accuracy_before"), summary.get("accuracy_after")
    if after is None and run.evaluations:
        after = run.evaluations[-1]["eval/accuracy"]
    if after is not None:
        found.append(("accuracy, held out", f"{before:.1%} → {after:.1%}" if before is not None else f"{after:.1%}"))
    formats = {
        "num_questions": ("questions", "{:,}"),
        "num_steps": ("optimizer steps", "{:,}"),
        "wall_seconds": ("seconds", "{:,.0f}"),
        "prefix_cache_hit_rate": ("prompt tokens from the cache", "{:.0%}"),
        "max_logprob_gap": ("largest gap, engine to trainer", "{:.1e}"),
        "memory_tokens_mean": ("tokens of a memory", "{:,.0f}"),
        "input_tokens_ratio": ("tokens read per question", "{:.1%} of the context"),
        "retention_after": ("evidence still in memory", "{:.0%}"),
    }
    found += [
        (label, text.format(summary[key])) for key, (label, text) in formats.items() if summary.get(key) is not None
    ]
    return found


def series_of(runs: Sequence[RunFolder], key: str, *, evaluations: bool = False) -> list[Series]:
    """One line per run; several keys of one run are drawn apart."""
    found = []
    for colour, run in enumerate(runs):
        rows = [row for row in (run.evaluations if evaluations else run.steps) if row.get(key) is not None]
        band = [
            (row["step"], row[f"{key}_low"], row[f"{key}_high"])
            for row in rows
            if row.get(f"{key}_low") is not None and row.get(f"{key}_high") is not None
        ]
        points = [(row["step"], row[key]) for row in rows]
        found.append(Series(label=run.name, points=points, band=band, colour=colour))
    return found


LEARNING = (
    ("Accuracy on held-out questions, 95% interval", "eval/accuracy"),
    ("Mean reward of the rollouts", "reward"),
    ("Evidence still in the memory", "eval/retention"),
    ("Groups without a difference in reward", "frac_reward_zero_std"),
    ("Replies with an answer that could be read", "parse_rate"),
    ("Memory updates not taken", "memory/failure_rate"),
)
"""Title and metric of each chart; all are shares."""

HEALTH = (
    ("Entropy of the sampled tokens", "entropy"),
    ("Gradient norm before clipping", "grad_norm"),
    ("Tokens per completion", "completions/mean_length"),
    ("Gap between engine and trainer log-probs", LOGPROB_GAP),
    ("Share of completions cut at their limit", "completions/clipped_ratio"),
    ("Tokens of a memory", "memory/tokens_mean"),
)

COSTS = (
    ("Tokens per second, prompt and completion", "tokens_per_second"),
    ("Tokens per second in the update", "update/tokens_per_second"),
    ("Share of prompt tokens from the prefix cache", "engine/prefix_cache_hit_rate"),
    ("Tokens computed in the update / tokens of its paths", "update/unique_token_ratio"),
    ("Peak memory, GiB", "peak_memory_gib"),
)


def learning_charts(runs: Sequence[RunFolder]) -> list[Any]:
    charts = [
        line_chart(title, series_of(runs, key, evaluations=key.startswith("eval/")), percent=True)
        for title, key in LEARNING
    ]
    return [chart for chart in charts if chart]


def health_charts(runs: Sequence[RunFolder]) -> list[Any]:
    charts = [line_chart(title, series_of(runs, key), zero=True) for title, key in HEALTH]
    return [chart for chart in charts if chart]


def cost_charts(runs: Sequence[RunFolder]) -> list[Any]:
    charts = []
    for run in runs:
        steps = [row["step"] for row in run.steps]
        charts.append(column_chart(f"Seconds per step by phase: {run.name}", steps, seconds_by_phase(run)))
    charts += [line_chart(title, series_of(runs, key), zero=True) for title, key in COSTS]
    return [chart for chart in charts if chart]


def seconds_by_phase(run: RunFolder) -> dict[str, list[float]]:
    """Seconds of each step by phase, phases in the order in which they come; an evaluation and a checkpoint are added
    to the step that they follow."""
    place = {row["step"]: index for index, row in enumerate(run.steps)}
    seconds: dict[str, list[float]] = {}
    for row in (*run.steps, *run.evaluations):
        for key, value in row.items():
            phase = PHASE.fullmatch(key)
            if phase and value and row["step"] in place:
                seconds.setdefault(phase.group(1), [0.0] * len(place))[place[row["step"]]] += value
    return seconds


def category_charts(run: RunFolder) -> list[Any]:
    """Accuracy by category at the newest checkpoint; the note says what it was before training."""
    before = run.evaluations[0] if run.evaluations and run.evaluations[0]["step"] == 0 else {}
    charts = []
    for breakdown, members in run.last_eval.get("groups", {}).items():
        bars = []
        for value, accuracy in members.items():
            earlier = before.get(f"eval/{breakdown}/{value}")
            note = f"{accuracy['n']} questions" + (f", before training {earlier:.1%}" if earlier is not None else "")
            label = f"{value or '(none)'} ({accuracy['n']})"
            bars.append(
                Bar(label=label, value=accuracy["accuracy"], low=accuracy["low"], high=accuracy["high"], note=note)
            )
        if 1 < len(bars) <= MAX_BARS:
            charts.append(interval_chart(f"Accuracy by {breakdown}", bars, chance=run.last_eval.get("chance")))
    return charts


def systems_chart(systems: Sequence[SystemResult]) -> Any:
    """Every system of every model; controls have a colour of their own."""
    # All are asked the same questions, but some may be shown no options.
    chance = next((row.result.chance for row in systems if row.result.chance is not None), None)
    return interval_chart(
        "Accuracy of each system" + ("; the line is chance" if chance is not None else ""),
        [
            Bar(
                label=f"{row.system}, {row.model}" if row.model != "rules" else row.system,
                value=row.result.overall.accuracy,
                low=row.result.overall.low,
                high=row.result.overall.high,
                note=f"{row.result.overall.n} questions",
                colour=1 if row.is_control else 0,
            )
            for row in systems
        ],
        chance=chance,
    )


# --------------------------------------------------------------------------------------------------------- rollouts


def chosen_groups(groups: Sequence[Group]) -> list[Group]:
    """The first and the last few, those with a difference before those without."""
    if len(groups) <= MAX_GROUPS:
        return list(groups)
    first = sorted(groups[: MAX_GROUPS * 2], key=lambda group: group.worst is None)[: MAX_GROUPS // 3]
    newest = list(reversed(groups[-MAX_GROUPS * 4 :]))
    last = sorted(newest, key=lambda group: group.worst is None)[: MAX_GROUPS - len(first)]
    return sorted([*first, *last], key=lambda group: group.step)


def group_view(group: Group) -> dict[str, Any]:
    rollouts = [("best", group.best)] + ([("worst", group.worst)] if group.worst else [])
    asked = first_answer(group.best)
    return {
        "step": group.step,
        "question": asked["question_id"],
        "context": asked["context_id"],
        "tags": shortened(", ".join(f"{name} {value}" for name, value in asked["tags"].items()), MAX_LINE_CHARS),
        "rewards": [shown_reward(row["reward"]) for _, row in rollouts],
        "rollouts": [rollout_view(label, row) for label, row in rollouts],
    }


def rollout_view(label: str, row: dict[str, Any]) -> dict[str, Any]:
    answers = row.get("answers", [row])
    return {
        "label": label,
        "reward": shown_reward(row["reward"]),
        "updates": growth(row.get("updates", [])),
        "answers": [answer_view(answer) for answer in answers[:MAX_ANSWERS]],
        "num_answers": len(answers),
    }


def shown_reward(reward: float | None) -> str:
    return "none" if reward is None else f"{reward:.2f}"


def answer_view(row: dict[str, Any]) -> dict[str, Any]:
    thought = THOUGHT.match(row["text"])
    return {
        "question": shortened(row["prompt_tail"], MAX_TEXT_CHARS),
        "thought": shortened(thought.group(1).strip(), MAX_TEXT_CHARS) if thought else None,
        "answer": shortened(row["text"][thought.end() :].strip() if thought else row["text"], MAX_TEXT_CHARS),
        "verdict": shortened(verdict_of(row), MAX_LINE_CHARS),
        "is_right": row["reward"] is not None and row["reward"] >= 1,
        "tokens": f"{row['prompt_tokens']:,} tokens in, {row['completion_tokens']:,} out",
    }


def verdict_of(row: dict[str, Any]) -> str:
    """What was read in the reply, and what would have been right."""
    found = row["parsed"] or row["failure"] or f"reward {shown_reward(row['reward'])}"
    return str(found) if row["reward"] == 1 else f"{found}, right is {row['reference']}"


def growth(updates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A memory turn by turn: which lines each update added and removed; of many turns the first and the last ones."""
    memories = ["", *(update["memory"] for update in updates)]
    turns = list(range(len(updates)))
    if len(turns) > MAX_UPDATES:
        turns = [*turns[: MAX_UPDATES // 2], *turns[-MAX_UPDATES // 2 :]]
    return [
        {
            "turn": turn + 1,
            "failure": updates[turn]["failure"],
            "tokens": updates[turn]["memory_tokens"],
            "lines": shown_lines(changes(memories[turn], memories[turn + 1])),
        }
        for turn in turns
    ]


def shown_lines(lines: Sequence[Line]) -> list[Line]:
    """The lines that fit on a page: of many those that have changed, then how many more there are."""
    shown = list(lines)
    if len(lines) > MAX_LINES:
        shown = [line for line in lines if line.kind != "same"][:MAX_LINES]
        shown.append(Line(kind="same", text=f"({len(lines) - len(shown):,} more lines)"))
    return [Line(kind=line.kind, text=shortened(line.text, MAX_LINE_CHARS)) for line in shown]


def changes(before: str, after: str) -> list[Line]:
    """The lines of `after`, and those of `before` that are gone, in their places; in linear time."""
    old, new = before.splitlines(), after.splitlines()
    places: dict[str, deque[int]] = {}
    for place, line in enumerate(old):
        places.setdefault(line, deque()).append(place)
    # Each line of `after` takes the first line of `before` that says the same and is not taken.
    taken = [places[line].popleft() if places.get(line) else None for line in new]
    gone = sorted(place for left in places.values() for place in left)
    found: list[Line] = []
    added: list[Line] = []
    passed = 0
    for line, its_place in zip([*new, ""], [*taken, len(old)], strict=True):
        if its_place is None:
            added.append(Line(kind="added", text=line))
            continue
        while passed < len(gone) and gone[passed] < its_place:
            found.append(Line(kind="removed", text=old[gone[passed]]))
            passed += 1
        found += [*added, Line(kind="same", text=line)]
        added = []
    return found[:-1]  # the last one only ends the loop
