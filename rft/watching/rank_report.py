"""What a rank writes of itself for the others, and another rank as this one sees it."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class RankReport:
    """What one rank says of itself.

    Example:
        RankReport(run="0f3a", rank=1, host="node2/6f1c/402", pid=4711, phase="update", step=12, moves=310, beats=42)
    """

    run: str
    """Names this start: what an earlier one left says nothing about it."""
    rank: int
    host: str
    """Where its process can be looked at by its number: `this_host`."""
    pid: int
    phase: str
    step: int
    moves: int
    beats: int
    """Reports written so far: it grows while the process lives."""
    ended: bool = False
    """It leaves, or has left, as it should."""
    stalled: bool = False
    error: str | None = None
    """What ended it."""
    failed_at: float | None = None
    """When that was, in seconds since 1970."""

    def where(self) -> str:
        return f"in {self.phase} of step {self.step + 1}"


class Peer:
    """Another rank, as this one sees it."""

    def __init__(self, report: RankReport, now: float) -> None:
        self.report = report
        self.heard_at = now
        self.moved_at = now

    def take(self, report: RankReport, now: float) -> None:
        if report.beats != self.report.beats:
            self.heard_at = now
        if report.moves != self.report.moves:
            self.moved_at = now
        self.report = report

    def is_gone(self, host: str) -> bool:
        """Whether its process has ended without a word; only a process of the same machine can be looked at."""
        report = self.report
        if report.ended or report.host != host:
            return False
        try:
            return psutil.Process(report.pid).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    def state(self, host: str) -> str:
        """What its process is, as somebody on `host` can know it."""
        if self.report.host != host:
            return "stopped, or its machine is gone"
        try:
            return psutil.Process(self.report.pid).status()
        except psutil.NoSuchProcess:
            return "gone"


def write_report(folder: Path, report: RankReport) -> None:
    """In one move: it is never there in part. Raises OSError, where the disk is full for example."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{report.rank}.tmp"
    temporary.write_text(json.dumps(dataclasses.asdict(report)), encoding="utf-8")
    os.replace(temporary, folder / f"{report.rank}.json")


def read_report(folder: Path, rank: int, run: str) -> RankReport | None:
    """None where it is absent, or of another start."""
    try:
        report = RankReport(**json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return report if report.run == run else None


def this_host() -> str:
    """The machine, since when it is up, and the process numbers that are valid here: containers have their own, and
    machines may have the same name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    numbers = Path("/proc/self/ns/pid")
    since = boot.read_text(encoding="ascii").strip() if boot.exists() else ""
    return f"{socket.gethostname()}/{since}/{numbers.stat().st_ino if numbers.exists() else ''}"
