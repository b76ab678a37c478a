"""The files a run leaves behind."""

import json
from pathlib import Path

import pytest

from rft.config import Config, LogConfig
from rft.telemetry.provenance import provenance
from rft.telemetry.run_log import RunLog, append_json, drop_rows_after
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.eval.test_score import answer


def test_rows_of_repeated_work_are_dropped(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    for step in (0, 1, 2, 3):
        append_json(path, {"step": step, "reward": 0.5})
    with path.open("a") as file:
        file.write('{"step": 4, "rew')  # killed while writing
    drop_rows_after(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2]


def test_a_file_that_is_not_there_stays_away(tmp_path: Path):
    drop_rows_after(tmp_path / "metrics.jsonl", 2)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_not_a_number_is_null_in_json(tmp_path: Path):
    append_json(tmp_path / "m.jsonl", {"step": 1, "kl": float("nan"), "loss": float("inf"), "reward": 0.5})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1, "kl": None, "loss": None, "reward": 0.5}


def test_wandb_gets_the_curves_an_evaluation_s_table_and_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="wandb"))
    log = RunLog(config, first_step=0, num_steps=1, tokenizer=make_tokenizer(TEMPLATES["chatml"]), main=True)
    gap = {"sampling/sampling_logp_difference/mean": 1e-7}
    log.metrics(1, {"reward": 0.5, **gap})
    log.evaluation(1, [answer(persona, 1.0) for persona in range(3)])
    log.report(final=True)
    log.close()
    assert "<polyline" in (tmp_path / "report.html").read_text()
    (stored,) = tmp_path.glob("wandb/offline-run-*")
    (table,) = stored.glob("files/media/table/eval/predictions_*.json")
    rows = json.loads(table.read_text())
    assert len(rows["data"]) == 3 and {"pref_type", "letter", "text"} <= set(rows["columns"])
    (record,) = stored.glob("run-*.wandb")
    assert b"report.html" in record.read_bytes()


def test_a_report_that_fails_stops_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="none"))
    log = RunLog(config, first_step=0, num_steps=1, tokenizer=make_tokenizer(TEMPLATES["chatml"]), main=True)
    (tmp_path / "summary.json").write_text("{")
    log.metrics(1, {"reward": 0.5})
    log.report()
    log.close()
    assert "python rft/report.py" in caplog.text and not (tmp_path / "report.html").exists()


def test_provenance_names_versions_and_no_secret(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-value")
    found = provenance()
    assert {"torch", "transformers", "vllm"} <= set(found["packages"])
    assert "a-secret-value" not in json.dumps(found)
