"""results.json: what the folders hold becomes one table with a checked schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from rft.eval.predictions import Prediction, about, append_predictions, read_predictions
from rft.eval.results import as_table, make_results, read_results, write_results
from tests.unit.eval.builder import make_question

QUESTIONS = [make_question(number) for number in range(40)]
IDS = [question.question_id for question in QUESTIONS]


def prediction(number: int, right: bool, **changes: object) -> Prediction:
    values: dict[str, object] = {
        "sample": 0, "option_order": (1, 0, 2, 3), "gold": "b", "letter": "b" if right else "a", "reward": float(right),
        "failure": None, "finish_reason": "stop", "prompt_tokens": 100, "completion_tokens": 10, "question": "q",
        "text": "t",
    }  # fmt: skip
    return Prediction(**about(QUESTIONS[number]), **values | changes)  # type: ignore[arg-type]


def store(folder: Path, name: str, predictions: list[Prediction], **counters: int) -> None:
    place = folder / name
    place.mkdir(parents=True)
    append_predictions(place / "predictions.jsonl", predictions)
    (place / "settings.json").write_text(json.dumps({"system": place.name}))
    if counters:
        (place / "counters.json").write_text(json.dumps(counters))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "personamem_v2-32k-val"
    store(folder, "ours/full_history", [prediction(n, n % 4 > 0) for n in range(40)],
          prompt_tokens=4000, cached_prompt_tokens=3000, generated_tokens=400)  # fmt: skip
    store(folder, "ours/no_history", [prediction(n, n % 4 == 1) for n in range(40)])
    store(folder, "theirs/full_history", [prediction(n, n % 2 == 0) for n in range(30)])
    store(folder, "rules/longest_option", [prediction(n, False) for n in range(40)])
    return folder


def test_systems_of_all_models_stand_in_one_table(folder: Path):
    results = make_results(folder, IDS, "no_history", {"rows_skipped": {}}, {})
    assert [(row.model, row.system) for row in results.systems] == [
        ("ours", "full_history"), ("ours", "no_history"), ("theirs", "full_history"), ("rules", "longest_option"),
    ]  # fmt: skip
    ours, alone, theirs, rule = results.systems
    assert (ours.result.overall.accuracy, alone.result.overall.accuracy) == (0.75, 0.25)
    assert ours.difference is not None and (ours.difference.n, ours.difference.mean) == (40, 0.5)
    assert (ours.baseline, alone.difference, theirs.difference) == ("ours/no_history", None, None)
    assert theirs.result.overall.n == 30 and rule.result.overall.accuracy == 0
    assert (ours.cost.prefill_tokens_mean, alone.cost.prefill_tokens_mean) == (25.0, None)
    write_results(folder, results)
    assert read_results(folder / "results.json") == results
    lines = as_table(results).splitlines()
    assert len(lines) == 6 and "+0.500" in lines[2] and "[" in lines[2]


def test_another_model_s_system_can_be_the_baseline(folder: Path):
    results = make_results(folder, IDS, "theirs/full_history", {}, {})
    ours = results.systems[0]
    assert ours.baseline == "theirs/full_history"
    assert ours.difference is not None and ours.difference.n == 30


def test_only_the_questions_asked_for_count(folder: Path):
    results = make_results(folder, IDS[:8], "no_history", {}, {})
    assert {row.result.overall.n for row in results.systems} == {8}


def test_a_file_of_another_schema_is_refused(folder: Path):
    results = make_results(folder, IDS, "no_history", {}, {})
    write_results(folder, results)
    stored = json.loads((folder / "results.json").read_text())
    stored["systems"][0]["result"]["overall"]["accuracy"] = "high"
    (folder / "results.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"systems\.0\.result\.overall\.accuracy"):
        read_results(folder / "results.json")
    with pytest.raises(ValueError, match="rft/evaluate.py"):
        read_results(folder / "absent.json")


def test_predictions_survive_a_file_and_a_line_cut_short(tmp_path: Path):
    path = tmp_path / "predictions.jsonl"
    verdicts = ({"layout": "gold_first", "repeat": 0, "score": 1.0, "failure": None},)
    first = prediction(0, True, memory={"memory": "jazz"}, verdicts=verdicts)
    append_predictions(path, [first, prediction(1, False)])
    with path.open("a") as file:
        file.write('{"question_id": "val/2", "rew')
    assert read_predictions(path) == [first, prediction(1, False)]
    path.write_text('{"question_id": "val/2"}\n')
    with pytest.raises(ValueError, match="line 1 is no prediction"):
        read_predictions(path)
    assert read_predictions(tmp_path / "absent") == []
    assert dataclasses.asdict(first)["memory"] == {"memory": "jazz"}
