"""Reports of ranks as files, and what they say of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from rft.watching.rank_report import Peer, RankReport, read_report, this_host, write_report

MINE = RankReport(
    run="0f3a", rank=1, host=this_host(), pid=os.getpid(), phase="update", step=11, moves=310, beats=42, error="no"
)


def test_a_report_comes_back_whole_and_alone(tmp_path: Path):
    write_report(tmp_path / ".ranks", MINE)
    assert read_report(tmp_path / ".ranks", 1, "0f3a") == MINE
    assert [path.name for path in (tmp_path / ".ranks").iterdir()] == ["1.json"]
    assert MINE.where() == "in update of step 12"


def test_what_is_absent_broken_or_of_another_start_is_no_report(tmp_path: Path):
    write_report(tmp_path, MINE)
    assert read_report(tmp_path, 0, "0f3a") is None
    assert read_report(tmp_path, 1, "another") is None
    for text in ("", "{", "[]", '{"run": "0f3a"}'):
        (tmp_path / "1.json").write_text(text)
        assert read_report(tmp_path, 1, "0f3a") is None, text


def test_only_a_process_of_this_machine_can_be_looked_at():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = replace(MINE, pid=ended.pid)
    assert Peer(gone, 0.0).is_gone(MINE.host) and Peer(gone, 0.0).state(MINE.host) == "gone"
    assert not Peer(MINE, 0.0).is_gone(MINE.host) and Peer(MINE, 0.0).state(MINE.host) == "running"
    assert not Peer(replace(gone, ended=True), 0.0).is_gone(MINE.host)
    elsewhere = Peer(replace(gone, host="node2/6f1c/402"), 0.0)
    assert not elsewhere.is_gone(MINE.host)
    assert elsewhere.state(MINE.host) == "stopped, or its machine is gone"


def test_a_peer_is_heard_with_every_report_and_moves_with_its_work():
    peer = Peer(MINE, 0.0)
    peer.take(replace(MINE, beats=43), 5.0)
    assert (peer.heard_at, peer.moved_at) == (5.0, 0.0)
    peer.take(replace(MINE, beats=44, moves=311), 9.0)
    assert (peer.heard_at, peer.moved_at) == (9.0, 9.0)
