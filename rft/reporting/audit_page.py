"""The page of an audit: findings with their cases, what data there is, how far options tell the answer."""

from __future__ import annotations

from typing import Any

from rft.auditing.checks import CHECKS
from rft.auditing.findings import Finding, Report
from rft.reporting.charts import Bar, interval_chart
from rft.reporting.templates import render, shortened

MAX_CASES = 50
"""Shown of a finding; audit.json has more."""

MAX_VALUES = 40
"""Values of a tag that are counted on the page."""

MAX_CHARS = 300
"""Shown of a case."""

RULES = {
    "longest": "The longest option is right",
    "shortest": "The shortest option is right",
    "average": "The option nearest to the average length is right",
}


def render_audit(report: Report) -> str:
    """The page, one file without any script."""
    return render(
        "audit.html.j2",
        title=f"audit of {report.name}",
        report=report,
        tiles=tiles_of(report),
        findings=[finding_view(finding) for finding in report.findings],
        charts=charts_of(report),
        counts={tag: list(values.items())[:MAX_VALUES] for tag, values in report.counts.items()},
        clean=[check.title for name, check in CHECKS.items() if name not in {f.check for f in report.findings}],
    )


def tiles_of(report: Report) -> list[tuple[str, str]]:
    """The audit in a few numbers: label, value."""
    over = sum(finding.is_over for finding in report.findings)
    return [
        ("to train on", "fit" if report.is_fit else "not fit"),
        ("findings over what is allowed", f"{over}"),
        ("other findings", f"{len(report.findings) - over}"),
        ("rows", f"{sum(report.counts['rows'].values()):,}"),
        ("clusters (users)", f"{sum(report.counts['clusters'].values()):,}"),
    ]


def finding_view(finding: Finding) -> dict[str, Any]:
    check = CHECKS[finding.check]
    return {
        "name": finding.check,
        "title": check.title,
        "meaning": check.meaning,
        "severity": "over" if finding.is_over else finding.severity,
        "is_over": finding.is_over,
        "count": f"{finding.count:,}",
        "allowed": "any number" if finding.allowed is None else f"{finding.allowed:,}",
        "cases": [
            (shortened(case.place, MAX_CHARS), shortened(case.detail, MAX_CHARS)) for case in finding.cases[:MAX_CASES]
        ],
        "num_more": finding.count - min(finding.count, MAX_CASES),
    }


def charts_of(report: Report) -> list[Any]:
    """Length by kind, then everything else over all questions."""
    charts = []
    for rule, title in RULES.items():
        rates = [rate for rate in report.rates if rate["rule"] == rule]
        charts.append(chart_of(title, [(rate["kind"], rate) for rate in rates]))
    others = [rate for rate in report.rates if rate["rule"] not in RULES]
    charts.append(chart_of("Words and marks of options, and letters", [(rule_of(rate), rate) for rate in others]))
    return [chart for chart in charts if chart]


def rule_of(rate: dict[str, Any]) -> str:
    return str(rate["rule"]) if rate["kind"] == "all" else f"{rate['rule']}, {rate['kind']}"


def chart_of(title: str, rates: list[tuple[str, dict[str, Any]]]) -> Any:
    bars = [
        Bar(
            label=f"{label} ({rate['n']:,})",
            value=rate["rate"],
            low=rate["low"],
            high=rate["high"],
            note=f"{rate['n']:,} questions, the interval may begin at {rate['most']:.1%}",
            colour=1 if rate["leak"] else 0,
        )
        for label, rate in rates
    ]
    return interval_chart(f"{title}; the line is chance", bars, chance=rates[0][1]["chance"]) if bars else None
