"""What an audit finds: cases, each with its place, gathered by check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from rft.auditing.checks import CHECKS, Severity
from rft.auditing.config import AuditSettings

MOST_STORED = 10_000
"""Cases of one check that are written down; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One place where something is wrong.

    Example:
        Case(check="empty_message", file="data/chat_history_32k/h39.json", message=12, detail="assistant, no text")
    """

    check: str
    """Its name in `CHECKS`."""
    detail: str
    """What is there, in a few words; never a whole secret."""
    question: str | None = None
    """Id of the question: table and row, both as in `Question.question_id`."""
    file: str | None = None
    """Id of the context; where there is a file, its path inside the data set."""
    message: int | None = None
    """Number of the message in the file, from 0."""

    @property
    def place(self) -> str:
        """For a person."""
        message = f"message {self.message}" if self.message is not None else None
        return ", ".join(part for part in (self.question, self.file, message) if part) or "the whole data set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """All cases of one check.

    Example:
        Finding(check="empty_message", severity="error", count=1, allowed=0, cases=(Case(...),))
    """

    check: str
    severity: Severity
    count: int
    allowed: int | None
    """Cases that are allowed; None is any number."""
    cases: tuple[Case, ...]

    @property
    def is_over(self) -> bool:
        """Whether it makes the data unfit to train on."""
        return self.allowed is not None and self.count > self.allowed

    def as_dict(self) -> dict[str, Any]:
        check = CHECKS[self.check]
        return {
            "check": self.check,
            "title": check.title,
            "severity": self.severity,
            "count": self.count,
            "allowed": self.allowed,
            "over": self.is_over,
            "meaning": check.meaning,
            "cases": [
                {key: value for key, value in asdict(case).items() if key != "check" and value is not None}
                for case in self.cases
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole audit.

    Example:
        Report(data="out", name="personamem_v2-32k", findings=(...), counts={"rows": {"train": 200}}, rates=[...],
               skipped=("options_only: no endpoint is named",), settings={"length_margin": 0.05})
    """

    data: str
    name: str
    findings: tuple[Finding, ...]
    """Those over their allowance first."""
    counts: dict[str, dict[str, int]]
    """Rows per split, and per value of each tag."""
    rates: list[dict[str, Any]]
    """How often length, words and letters tell the right option, with intervals, overall and by kind."""
    skipped: tuple[str, ...] = ()
    """What was not checked, and why."""
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def is_fit(self) -> bool:
        return not any(finding.is_over for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "name": self.name,
            "fit": self.is_fit,
            "findings": [finding.as_dict() for finding in self.findings],
            "counts": self.counts,
            "rates": self.rates,
            "skipped": list(self.skipped),
            "settings": self.settings,
        }


def gather(cases: Iterable[Case], settings: AuditSettings) -> tuple[Finding, ...]:
    """Cases as findings, those over their allowance first, then in the order of `CHECKS`."""
    by_check: dict[str, list[Case]] = {name: [] for name in CHECKS}
    for case in cases:
        by_check[case.check].append(case)
    findings = [
        Finding(
            check=name,
            severity=CHECKS[name].severity,
            count=len(found),
            allowed=settings.allowance(name),
            cases=tuple(found[:MOST_STORED]),
        )
        for name, found in by_check.items()
        if found
    ]
    return tuple(sorted(findings, key=lambda finding: not finding.is_over))
