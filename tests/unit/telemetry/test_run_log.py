"""The files a run leaves behind."""

import json
from pathlib import Path

from rft.telemetry.provenance import provenance
from rft.telemetry.run_log import append_json, drop_rows_after


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


def test_provenance_names_versions_and_no_secret(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-value")
    found = provenance()
    assert {"torch", "transformers", "vllm"} <= set(found["packages"])
    assert "a-secret-value" not in json.dumps(found)
