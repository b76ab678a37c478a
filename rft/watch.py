"""Looks after the ranks of a run while they work: who died, who hangs, and whether the launcher is still there.

A thread of each rank writes down, in OUTPUT_DIR/.ranks/, what the rank is doing, and reads what the others wrote. It
ends this rank within seconds where another one died, and all ranks where nothing has moved anywhere for
`train.stall_timeout_s`. Each then says in one line where it stands and what it waits for.

A collective cannot do this: it waits for `train.ddp_timeout`, and cannot tell a rank that works from one that hangs.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from rft.process_exit import FAULT, TO_BE_CONTINUED, before_leaving, leave_at_once
from rft.progress import PROGRESS

LOOK_S = 1.0
"""Between two looks at the other ranks."""
WRITE_S = 5.0
"""At most, between two reports of a rank whose phase stays the same."""
SILENT_S = 4 * WRITE_S
"""A rank that has not written for so long is not only waiting: its process is stopped, or its machine is gone."""
OTHERS_SPEAK_S = 3.0
"""A rank that ends waits so long, so that the others say what they know before a launcher ends them."""
BACKSTOP_S = 120.0
"""Beyond the stall time: a rank whose interpreter is held by C code is then ended by faulthandler, which needs none."""

LIBRARIES = ("torch", "vllm", "deepspeed", "accelerate")
"""Where a rank waits for a collective or for the engine."""


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


class Watch:
    """Watches all ranks of a run from one of them.

    Args:
        output_dir: of the run, on a file system that all ranks share.
        run: a name of this start, the same on every rank.
        rank: of this process.
        num_ranks: of the run.
        stall_timeout_s: after so many seconds without any move on any rank all ranks end; None is never.
    """

    def __init__(self, output_dir: Path, *, run: str, rank: int, num_ranks: int, stall_timeout_s: float | None) -> None:
        self.output_dir = output_dir
        self.run = run
        self.folder = output_dir / ".ranks"
        self.rank = rank
        self.num_ranks = num_ranks
        self.host = this_host()
        self._stall_timeout_s = stall_timeout_s
        self._peers: dict[int, Peer] = {}
        self._beats = 0
        self._written: tuple[Any, ...] = ()
        self._written_at = 0.0
        self._changes: dict[str, Any] = {}
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._main_thread_speaks = False
        self._launcher = os.getppid() if launched(os.environ) else None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begins to watch; every rank does so before it waits for another."""
        if self.rank == 0:
            for path in self.folder.glob("*.json"):  # of a start that was killed
                if self._read_report(int(path.stem)) is None:
                    path.unlink(missing_ok=True)
        self._write()
        before_leaving(self.say_that_this_rank_ends)
        self._thread.start()

    def sees(self, rank: int) -> bool:
        """Whether what another rank wrote arrives here; a network file system may take seconds."""
        until = time.monotonic() + SILENT_S
        while time.monotonic() < until:
            if self._read_report(rank) is not None:
                return True
            time.sleep(LOOK_S / 10)
        return False

    def say_that_this_rank_ends(self) -> None:
        """So that nobody takes its end for a death."""
        if not self._closed.is_set():
            self._write(ended=True)

    def close(self) -> None:
        """Ends the watch. All ranks have said that they end."""
        self._closed.set()
        faulthandler.cancel_dump_traceback_later()
        if self._thread.is_alive():
            self._thread.join()
        (self.folder / f"{self.rank}.json").unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()  # the last rank finds it empty

    def fault(self, error: BaseException) -> int:
        """Says what ended this rank, or which other rank's end it follows from; returns the exit status."""
        text = one_line(error)
        self._main_thread_speaks = True
        self._write(error=text, failed_at=time.time())
        time.sleep(LOOK_S / 2)  # whoever was first has written by now
        culprit = self._first_to_fail()
        if culprit is None or culprit.rank == self.rank:
            traceback.print_exception(error)
            say(f"error: rank {self.rank} failed {self._report().where()}: {text}; {self.what_to_do()}")
        else:
            cause = f"failed {culprit.where()}: {culprit.error}" if culprit.error else f"was killed {culprit.where()}"
            say(f"rank {self.rank} ends: rank {culprit.rank} {cause}; {self.what_to_do()}")
        time.sleep(OTHERS_SPEAK_S if self.num_ranks > 1 else 0)
        return FAULT

    def what_to_do(self) -> str:
        from rft.checkpoint.folder import complete_steps

        steps = complete_steps(self.output_dir)
        if not steps:
            return "there is no checkpoint yet; the same command starts anew"
        return f"checkpoint-{steps[-1]} is whole, and the same command continues from it"

    # -------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        while not self._closed.wait(LOOK_S):
            if self._stall_timeout_s is not None:
                faulthandler.dump_traceback_later(self._stall_timeout_s + BACKSTOP_S, exit=True)
            self._write_if_due()
            self._read()
            self._look_at_launcher()
            self._look_at_peers()
            self._look_at_time()

    def _write_if_due(self) -> None:
        state = (PROGRESS.phase, PROGRESS.step)
        if state != self._written or time.monotonic() - self._written_at >= WRITE_S:
            self._write()

    def _write(self, **changes: Any) -> None:
        """Writes this rank's report in one move. Where the disk is full, the others will find it silent."""
        with self._writing, suppress(OSError):
            self._beats += 1
            self._changes |= changes
            self._written, self._written_at = (PROGRESS.phase, PROGRESS.step), time.monotonic()
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = self.folder / f".{self.rank}.tmp"
            temporary.write_text(json.dumps(dataclasses.asdict(self._report())), encoding="utf-8")
            os.replace(temporary, self.folder / f"{self.rank}.json")

    def _report(self) -> RankReport:
        return RankReport(
            run=self.run,
            rank=self.rank,
            host=self.host,
            pid=os.getpid(),
            phase=PROGRESS.phase,
            step=PROGRESS.step,
            moves=PROGRESS.moves,
            beats=self._beats,
            **self._changes,
        )

    def _read(self) -> None:
        now = time.monotonic()
        for rank in range(self.num_ranks):
            if rank == self.rank or (report := self._read_report(rank)) is None:
                continue
            if rank in self._peers:
                self._peers[rank].take(report, now)
            else:
                self._peers[rank] = Peer(report, now)

    def _read_report(self, rank: int) -> RankReport | None:
        """None where it is absent, or of another start; it is never there in part."""
        try:
            report = RankReport(**json.loads((self.folder / f"{rank}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return report if report.run == self.run else None

    def _look_at_launcher(self) -> None:
        if self._launcher is not None and os.getppid() != self._launcher:
            say(f"rank {self.rank}: the launcher (process {self._launcher}) is gone; the run stops as at SIGTERM")
            self._launcher = None
            os.kill(os.getpid(), signal.SIGTERM)

    def _look_at_peers(self) -> None:
        for peer in self._peers.values():
            report = peer.report
            if report.error is not None:
                self._end(f"rank {report.rank} failed {report.where()}: {report.error}")
            elif peer.is_gone(self.host):
                self._end(f"rank {report.rank} (process {report.pid}) was killed {report.where()}; {self.what_to_do()}")

    def _look_at_time(self) -> None:
        now = time.monotonic()
        told = any(peer.report.stalled for peer in self._peers.values())
        last = max([PROGRESS.moved_at, *(peer.moved_at for peer in self._peers.values())])
        if self._stall_timeout_s is None or (now - last < self._stall_timeout_s and not told):
            return
        self._write(stalled=True)
        self._say_where_it_stands(now, last)
        time.sleep(OTHERS_SPEAK_S)
        self._kill_silent_peers()
        leave_at_once(TO_BE_CONTINUED)

    # ---------------------------------------------------------------------------------------------------- the end

    def _end(self, reason: str) -> None:
        """Ends this rank, unless its main thread does so: a collective may have failed there for the same reason."""
        time.sleep(LOOK_S)
        if self._main_thread_speaks:
            return
        self._write(error=f"follows: {reason}", failed_at=time.time())
        say(f"rank {self.rank} ends: {reason}")
        leave_at_once(FAULT)

    def _first_to_fail(self) -> RankReport | None:
        """The rank whose end the others follow from: one that was killed, or else the first that failed."""
        self._read()
        for peer in self._peers.values():
            if peer.report.error is None and peer.is_gone(self.host):
                return peer.report
        failed = [report for report in (self._report(), *(p.report for p in self._peers.values())) if report.failed_at]
        return min(failed, key=lambda report: (report.failed_at or 0.0, report.rank), default=None)

    def _say_where_it_stands(self, now: float, last: float) -> None:
        report = self._report()
        say(
            f"rank {self.rank}: nothing has moved on any rank for {now - last:.0f} s (train.stall_timeout_s); it is "
            f"{report.where()}, waits for {waiting_for()}, and {self.what_to_do()}; see {self._dump()}"
        )
        for peer in self._peers.values():
            if (silent_s := now - peer.heard_at) > SILENT_S:
                report, host = peer.report, peer.report.host.partition("/")[0]
                say(
                    f"rank {report.rank} (process {report.pid} on {host}) has said nothing for {silent_s:.0f} s; it "
                    f"was {report.where()}: it is {self._state_of(peer)}"
                )

    def _state_of(self, peer: Peer) -> str:
        if peer.report.host != self.host:
            return "stopped, or its machine is gone"
        try:
            return psutil.Process(peer.report.pid).status()
        except psutil.NoSuchProcess:
            return "gone"

    def _kill_silent_peers(self) -> None:
        """A stopped process hears no SIGTERM, and a launcher would wait for it."""
        self._read()
        for peer in self._peers.values():
            alive = peer.report.stalled or peer.report.ended or time.monotonic() - peer.heard_at <= SILENT_S
            if not alive and peer.report.host == self.host:
                with suppress(ProcessLookupError):
                    os.kill(peer.report.pid, signal.SIGKILL)

    def _dump(self) -> Path:
        """Writes what every thread is doing, and the collectives that PyTorch remembers."""
        path = self.output_dir / f"stalled-rank-{self.rank}.txt"
        with path.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file)
            file.flush()
            file.write(f"\ncollectives (PyTorch's flight recorder):\n{flight_record()}\n")
        return path


def this_host() -> str:
    """The machine, since when it is up, and the process numbers that are valid here: containers have their own, and
    machines may have the same name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    numbers = Path("/proc/self/ns/pid")
    since = boot.read_text(encoding="ascii").strip() if boot.exists() else ""
    return f"{socket.gethostname()}/{since}/{numbers.stat().st_ino if numbers.exists() else ''}"


def launched(environment: Mapping[str, str]) -> bool:
    """Whether torchrun or accelerate launch started this process, and not a shell, which may go before it."""
    return "TORCHELASTIC_RUN_ID" in environment or "ACCELERATE_MIXED_PRECISION" in environment


def waiting_for() -> str:
    """What the main thread is in: the innermost call of a library that computes or communicates, and the line of ours
    behind it."""
    frames: list[FrameType] = []
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    if not frames:
        return "nothing"
    library = [
        frame for frame in frames if module_of(frame).startswith(LIBRARIES) and "logging" not in module_of(frame)
    ]
    innermost = (library or frames)[0]
    ours = [frame for frame in frames if module_of(frame).startswith("rft.")][:1]
    behind = "".join(f" (in {Path(f.f_code.co_filename).name}:{f.f_lineno} {f.f_code.co_name})" for f in ours)
    return f"{module_of(innermost)}.{innermost.f_code.co_name}{behind}"


def module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def flight_record() -> str:
    """The last collectives of this process, as JSON; PyTorch fills it where TORCH_FR_BUFFER_SIZE is set."""
    with suppress(Exception):  # it is private, and what is written around it is worth more
        from torch._C import _distributed_c10d

        return str(_distributed_c10d._dump_fr_trace_json())  # type: ignore[attr-defined]
    return "none"


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def say(text: str) -> None:
    print(f"\n{text}", file=sys.stderr, flush=True)
