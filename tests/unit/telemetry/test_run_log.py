"""The files a run leaves behind."""

import json
from pathlib import Path

import pytest

from rft.config import Config, LogConfig
from rft.records import Answer, Completion, Rollout, Score
from rft.reporting.page import try_write_report
from rft.telemetry.provenance import provenance, write_provenance
from rft.telemetry.run_log import RunLog, append_json, keep_rows
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.tasks.builder import make_prompt, make_question

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])


def test_rows_of_repeated_work_are_dropped(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    for step in (0, 1, 2, 3):
        append_json(path, {"step": step, "reward": 0.5})
    with path.open("a") as file:
        file.write('{"step": 4, "rew')  # killed while writing
    keep_rows(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2]


def test_a_file_that_is_not_there_stays_away(tmp_path: Path):
    keep_rows(tmp_path / "metrics.jsonl", 2)
    assert not (tmp_path / "metrics.jsonl").exists()


def kept(tmp_path: Path, step: int | None, **options: bool) -> list[tuple[int, str]]:
    """Rows that are left of a run with an evaluation before training and one at step 2."""
    path = tmp_path / "metrics.jsonl"
    rows = [{"step": 0, "eval/accuracy": 0.2}, {"step": 1, "reward": 0.0}, {"step": 2, "reward": 0.0}]
    path.write_text("")
    for row in [*rows, {"step": 2, "eval/accuracy": 0.5}, {"step": 3, "reward": 0.0}]:
        append_json(path, row)
    keep_rows(path, step, **options)
    return [(row["step"], list(row)[1]) for row in map(json.loads, path.read_text().splitlines())]


def test_a_fresh_start_keeps_no_row_not_even_of_step_0(tmp_path: Path):
    assert kept(tmp_path, None) == []


def test_a_resume_keeps_the_rows_of_its_checkpoint(tmp_path: Path):
    expected = [(0, "eval/accuracy"), (1, "reward"), (2, "reward"), (2, "eval/accuracy")]
    assert kept(tmp_path, 2) == expected
    assert kept(tmp_path, 2, evaluation_due=True) == expected[:-1], "that evaluation is made again"


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\n", b'{"reward": 1}\n', b'{"step": "x"}\n', b"[1]\n", b'{"step": 1}\n7\n', b"\0\n"]
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"metrics\.jsonl.*; move it away, or choose another output_dir$") as caught:
        keep_rows(path, 2)
    assert "\n" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path: Path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(ValueError, match="is no file of rows"):
        keep_rows(tmp_path / "metrics.jsonl", 2)


def test_not_a_number_is_null_in_json(tmp_path: Path):
    append_json(tmp_path / "m.jsonl", {"step": 1, "kl": float("nan"), "loss": float("inf"), "reward": 0.5})
    assert json.loads((tmp_path / "m.jsonl").read_text()) == {"step": 1, "kl": None, "loss": None, "reward": 0.5}


def rollout(reward: float | None, sibling: int = 0) -> Rollout:
    question = make_question(3, tags={"kind": "music"})
    prompt = make_prompt(TOKENIZER.encode("jazz tea walk"), question, (1, 0, 2, 3), num_context_tokens=1)
    completion = Completion(token_ids=(5, 6), logprobs=(0.0, 0.0), finish_reason="stop", policy_version=0)
    score = Score(reward=reward, parsed="b", parts={"task": 1.0})
    answer = Answer(prompt=prompt, sibling=sibling, completion=completion, text="\\boxed{b}", score=score)
    return Rollout(updates=(), answers=(answer,))


def test_best_and_worst_of_a_group_are_kept_without_the_context(tmp_path: Path):
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="none", rollouts_per_step=1))
    log = RunLog(config, first_step=0, num_steps=1, tokenizer=TOKENIZER, main=True)
    group = [rollout(reward, sibling) for sibling, reward in enumerate((0.5, 0.0, 1.0, None))]
    log.rollouts(2, [group, [rollout(1.0)]])
    log.close()
    best, worst = (json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines())
    assert (best["step"], best["sibling"], best["reward"]) == (2, 2, 1.0)
    assert worst["reward"] in (0.0, None)
    assert (best["question_id"], best["context_id"], best["tags"]) == ("val/3", "h", {"kind": "music"})
    assert (best["reference"], best["parsed"], best["parts"]) == ("b", "b", {"task": 1.0})
    assert best["prompt_tail"] == TOKENIZER.decode(TOKENIZER.encode("jazz tea walk")[1:])


def test_provenance_names_versions_and_no_secret(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-value")
    found = provenance()
    assert {"torch", "transformers", "vllm"} <= set(found["packages"])
    assert "a-secret-value" not in json.dumps(found)


def test_planted_keys_are_in_no_file_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import wandb

    planted = {
        name: f"planted-{name.lower()}-0123456789abcdef"
        for name in ("WANDB_API_KEY", "HF_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY")
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb.teardown()  # it reads the variables once
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="wandb"))
    write_provenance(tmp_path, config)
    log = RunLog(config, first_step=None, num_steps=1, tokenizer=TOKENIZER, main=True)
    log.metrics(1, {"reward": 0.5})
    log.rollouts(1, [[rollout(1.0)]])
    log.close()
    try_write_report(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"metrics.jsonl", "rollouts.jsonl", "report.html", "provenance.json"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not [name for name, value in planted.items() if value.encode() in content], path
