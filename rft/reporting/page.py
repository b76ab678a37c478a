"""The report's page: what is shown, in which order. The template beside it says how it looks.

The page is one file without any script, and forbids all scripts and all network by its content security policy. What
models wrote is text: the template escapes it, and shows no control character of it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rft.reporting.charts import letter_chart
from rft.reporting.rollout_views import chosen_groups, group_view
from rft.reporting.run_charts import category_charts, cost_charts, health_charts, learning_charts, systems_chart
from rft.reporting.run_folder import RunFolder, read_run
from rft.reporting.templates import render, shortened

logger = logging.getLogger(__name__)

MAX_FILE_CHARS = 200_000
"""Shown of a run's config and of its provenance."""


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
