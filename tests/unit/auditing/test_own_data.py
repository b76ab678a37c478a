"""The data that the project makes itself are fit to train on, by its own audit."""

from __future__ import annotations

import shlex
from pathlib import Path

from rft import make_data
from rft.synthetic.generator import write_dataset
from tests.unit.auditing.builder import audit_of

DEMO = Path(__file__).resolve().parents[3] / "launch" / "demo.sh"


def test_the_data_of_the_demo_pass(tmp_path: Path) -> None:
    (command,) = (line for line in DEMO.read_text().splitlines() if "make_data.py synthetic" in line)
    _, _, options = command.partition('"$data.tmp" ')
    assert make_data.main(["synthetic", str(tmp_path), *shlex.split(options)]) == 0
    report = audit_of(tmp_path)
    assert sum(report.counts["rows"].values()) == 3000
    assert report.findings == ()


def test_long_style_passes_in_every_kind(tmp_path: Path) -> None:
    # 100 rows a kind at least: enough for a leak of 15 points to be told from chance.
    write_dataset(tmp_path, num_personas=60, questions_per_persona=25, history_tokens=1500, seed=7)
    report = audit_of(tmp_path)
    assert min(rate["n"] for rate in report.rates if rate["kind"].startswith(("pref_type=", "who="))) >= 100
    assert report.findings == ()
