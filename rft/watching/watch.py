"""Looks after the ranks of a run while they work: who died, who hangs, and whether the launcher is still there.

A thread of each rank writes down, in OUTPUT_DIR/.ranks/, what the rank is doing, and reads what the others wrote. It
ends this rank within seconds where another one died, and all ranks where nothing has moved anywhere for
`train.stall_timeout_s`. Each then says in one line where it stands and what it waits for.

A collective cannot do this: it waits for `train.ddp_timeout`, and cannot tell a rank that works from one that hangs.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rft.process_exit import FAULT, TO_BE_CONTINUED, before_leaving, leave_at_once
from rft.progress import PROGRESS
from rft.watching.rank_report import Peer, RankReport, read_report, this_host, write_report
from rft.watching.waiting import waiting_for, write_stacks

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
                if read_report(self.folder, int(path.stem), self.run) is None:
                    path.unlink(missing_ok=True)
        self._write()
        before_leaving(self.say_that_this_rank_ends)
        self._thread.start()

    def sees(self, rank: int) -> bool:
        """Whether what another rank wrote arrives here; a network file system may take seconds."""
        until = time.monotonic() + SILENT_S
        while time.monotonic() < until:
            if read_report(self.folder, rank, self.run) is not None:
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
            write_report(self.folder, self._report())

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
            if rank == self.rank or (report := read_report(self.folder, rank, self.run)) is None:
                continue
            if rank in self._peers:
                self._peers[rank].take(report, now)
            else:
                self._peers[rank] = Peer(report, now)

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
        report, stacks = self._report(), self.output_dir / f"stalled-rank-{self.rank}.txt"
        write_stacks(stacks)
        say(
            f"rank {self.rank}: nothing has moved on any rank for {now - last:.0f} s (train.stall_timeout_s); it is "
            f"{report.where()}, waits for {waiting_for()}, and {self.what_to_do()}; see {stacks}"
        )
        for peer in self._peers.values():
            if (silent_s := now - peer.heard_at) > SILENT_S:
                report, host = peer.report, peer.report.host.partition("/")[0]
                say(
                    f"rank {report.rank} (process {report.pid} on {host}) has said nothing for {silent_s:.0f} s; it "
                    f"was {report.where()}: it is {peer.state(self.host)}"
                )

    def _kill_silent_peers(self) -> None:
        """A stopped process hears no SIGTERM, and a launcher would wait for it."""
        self._read()
        for peer in self._peers.values():
            alive = peer.report.stalled or peer.report.ended or time.monotonic() - peer.heard_at <= SILENT_S
            if not alive and peer.report.host == self.host:
                with suppress(ProcessLookupError):
                    os.kill(peer.report.pid, signal.SIGKILL)


def launched(environment: Mapping[str, str]) -> bool:
    """Whether torchrun or accelerate launch started this process, and not a shell, which may go before it."""
    return "TORCHELASTIC_RUN_ID" in environment or "ACCELERATE_MIXED_PRECISION" in environment


def one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"


def say(text: str) -> None:
    print(f"\n{text}", file=sys.stderr, flush=True)
