"""What was made, what was dropped and why, what the options give away, and what it cost.

The report depends on config and replies alone: it names no day and no seconds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rft.making.calls import STAGES, CallRow
from rft.making.candidates import Candidate
from rft.making.checks import ANSWERS, READINGS, is_judged
from rft.making.config import MakingConfig
from rft.making.rounds import Made
from rft.making.spending import cost_of


def make_report(config: MakingConfig, made: Made, rows: Mapping[str, Sequence[CallRow]]) -> dict[str, Any]:
    """Plain values for report.json."""
    return {
        "complete": made.is_complete,
        "stopped": made.stopped,
        "splits": {split: split_report(config, made, split) for split in made.wanted},
        "rounds": made.num_rounds,
        "personas": len(made.people),
        "personas_dropped": dict(sorted(Counter(made.failed_people.values()).items())),
        "candidates": {
            "tried": len(made.candidates),
            "passed": sum(one.passes for one in made.candidates),
            "dropped": dict(sorted(dropped(made.candidates).items())),
        },
        "filters": list(config.filters.use),
        "calls": {stage: stage_report(config, rows[stage]) for stage in STAGES if rows[stage]},
        "tokens": sum(row.prompt_tokens + row.completion_tokens for found in rows.values() for row in found),
        "cost": cost_of_rows(config, [row for found in rows.values() for row in found]),
    }


def split_report(config: MakingConfig, made: Made, split: Any) -> dict[str, Any]:
    chosen = made.chosen[split]
    blind = [one.blind for one in chosen if one.blind is not None]
    return {
        "wanted": sum(made.wanted[split].values()),
        "made": len(chosen),
        "missing": {str(cell): count for cell, count in made.missing(split).items()},
        "not_judged": not_judged(config, chosen),
        "by_kind": {str(cell): count for cell, count in sorted(kinds(chosen).items(), key=lambda item: str(item[0]))},
        "controls": [
            {
                "group": one.group,
                "control": one.control,
                "rows": one.num_rows,
                "not_judged": one.not_judged,
                "share": None if one.share is None else round(one.share, 4),
                "allowed": round(one.allowed / one.num_rows, 4) if one.num_rows else None,
                "balanced": one.is_balanced,
            }
            for one in made.reached(split)
        ],
        "right_without_history": round(sum(blind) / len(blind), 4) if blind else None,
    }


def not_judged(config: MakingConfig, chosen: Sequence[Candidate]) -> dict[str, dict[str, int]]:
    """By filter and kind: questions that it was not asked about, though it is in use."""
    found = {
        name: Counter(
            one.slot.cell.pref_type for one in chosen if not is_judged(config.filters, one.slot.cell, name)
        )
        for name in (*READINGS, *ANSWERS)
        if name in config.filters.use
    }  # fmt: skip
    return {name: dict(sorted(counts.items())) for name, counts in found.items() if counts}


def kinds(chosen: Sequence[Candidate]) -> Counter[Any]:
    return Counter(one.slot.cell for one in chosen)


def dropped(candidates: Sequence[Candidate]) -> Counter[str]:
    return Counter(one.problem for one in candidates if one.problem is not None)


def stage_report(config: MakingConfig, rows: Sequence[CallRow]) -> dict[str, Any]:
    return {
        "requests": len(rows),
        "failed": dict(sorted(Counter(row.failure for row in rows if row.failure is not None).items())),
        "prompt_tokens": sum(row.prompt_tokens for row in rows),
        "completion_tokens": sum(row.completion_tokens for row in rows),
        "cost": cost_of_rows(config, rows),
    }


def cost_of_rows(config: MakingConfig, rows: Sequence[CallRow]) -> float:
    """The same in whatever order the rows came."""
    parts = [cost_of(config.models[row.model], row.prompt_tokens, row.completion_tokens) for row in rows]
    return round(math.fsum(parts), 6)


def as_text(report: Mapping[str, Any]) -> str:
    """For a terminal."""
    lines = []
    for split, found in report["splits"].items():
        lines.append(f"{split}: {found['made']} of {found['wanted']} questions")
        lines += [f"  missing {count}: {cell}" for cell, count in found["missing"].items()]
        lines += not_judged_as_text(found["not_judged"])
        lines += [
            f"  out of balance: {row['group']}, {row['control']} is right in {row['share']:.1%} of {row['rows']} rows "
            f"(25% +- {row['allowed']:.1%} is allowed)"
            for row in found["controls"]
            if not row["balanced"]
        ]
    if report["stopped"]:
        lines.append(f"stopped: {report['stopped']}")
    lines.append(f"personas: {report['personas']}")
    lines += by_reason(report["personas_dropped"])
    candidates = report["candidates"]
    lines.append(f"candidates: {candidates['passed']} of {candidates['tried']} passed")
    lines += by_reason(candidates["dropped"])
    lines += [
        f"{count} histories are longer than history.windows.{window}: the chats that their questions need are"
        for window, count in report["histories_longer_than_window"].items()
        if count
    ]
    requests = sum(stage["requests"] for stage in report["calls"].values())
    lines.append(f"{requests} requests, {report['tokens']:,} tokens, cost {report['cost']:.4f}")
    return "\n".join(lines)


def not_judged_as_text(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """One line per kind and number; the filters that leave out a kind leave out all of it."""
    names: dict[tuple[str, int], list[str]] = {}
    for name, kinds_left_out in counts.items():
        for key in kinds_left_out.items():
            names.setdefault(key, []).append(name)
    return [f"  {count} of {kind} not judged by {', '.join(found)}" for (kind, count), found in names.items()]


def by_reason(counts: Mapping[str, int]) -> list[str]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"  {count:5d}  {reason}" for reason, count in ordered]
