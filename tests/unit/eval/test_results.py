"""results.json: what the folders hold becomes one table with a checked schema."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from rft.eval.predictions import Prediction, append_predictions, prediction_table, read_predictions
from rft.eval.results import VERSION, Results, as_table, make_results, read_results, write_results
from tests.unit.eval.builder import make_prediction, make_question

QUESTIONS = [make_question(number) for number in range(40)]
IDS = [question.question_id for question in QUESTIONS]


BREAKDOWNS = ("who", "kind")


def prediction(number: int, right: bool, **changes: object) -> Prediction:
    values = {"parsed": "b" if right else "a", "reward": float(right)}
    return make_prediction(QUESTIONS[number], **values | changes)


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


def table(folder: Path, ids: list[str], baseline: str = "no_history") -> Results:
    return make_results(folder, ids, BREAKDOWNS, baseline, {"rows_skipped": {}}, {})


def test_systems_of_all_models_stand_in_one_table(folder: Path):
    results = table(folder, IDS)
    assert [(row.model, row.system) for row in results.systems] == [
        ("ours", "full_history"), ("ours", "no_history"), ("theirs", "full_history"), ("rules", "longest_option"),
    ]  # fmt: skip
    ours, alone, theirs, rule = results.systems
    assert (ours.result.overall.accuracy, alone.result.overall.accuracy) == (0.75, 0.25)
    assert ours.difference is not None and (ours.difference.n, ours.difference.mean) == (40, 0.5)
    assert (ours.baseline, alone.difference, theirs.difference) == ("ours/no_history", None, None)
    assert theirs.result.overall.n == 30 and rule.result.overall.accuracy == 0
    assert (ours.cost.prefill_tokens_mean, alone.cost.prefill_tokens_mean) == (25.0, None)
    assert [row.is_control for row in results.systems] == [False, True, False, True]
    assert list(ours.result.groups) == ["who", "kind"]
    assert (results.name, results.version) == ("personamem_v2-32k-val", VERSION)
    write_results(folder, results)
    assert read_results(folder / "results.json") == results
    lines = as_table(results).splitlines()
    assert len(lines) == 6 and "+0.500" in lines[2] and "[" in lines[2]


def test_another_model_s_system_can_be_the_baseline(folder: Path):
    results = table(folder, IDS, "theirs/full_history")
    ours = results.systems[0]
    assert ours.baseline == "theirs/full_history"
    assert ours.difference is not None and ours.difference.n == 30


def test_only_the_questions_asked_for_count(folder: Path):
    results = table(folder, IDS[:8])
    assert {row.result.overall.n for row in results.systems} == {8}


def test_a_file_of_another_schema_is_refused(folder: Path):
    results = table(folder, IDS)
    write_results(folder, results)
    stored = json.loads((folder / "results.json").read_text())
    stored["systems"][0]["result"]["overall"]["accuracy"] = "high"
    (folder / "results.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match=r"systems\.0\.result\.overall\.accuracy"):
        read_results(folder / "results.json")
    (folder / "results.json").write_text(json.dumps(stored | {"version": 1}))
    with pytest.raises(ValueError, match=r"is of version 1, this program reads version \d; make it again"):
        read_results(folder / "results.json")
    for text in ("[]", "{}", "{oops"):
        (folder / "results.json").write_text(text)
        with pytest.raises(ValueError, match="is no results file; make it again"):
            read_results(folder / "results.json")
    with pytest.raises(ValueError, match="rft/evaluate.py"):
        read_results(folder / "absent.json")


def test_a_system_of_another_program_stands_last_of_its_model(folder: Path):
    store(folder, "ours/graph_search", [prediction(n, True) for n in range(40)])
    found = table(folder, IDS).systems
    assert [row.system for row in found if row.model == "ours"] == ["full_history", "no_history", "graph_search"]


def test_without_parsed_answers_the_table_leaves_that_cell_empty(folder: Path):
    store(folder, "plain/full_history", [prediction(n, True, parsed=None, option_order=()) for n in range(40)])
    (row,) = (row for row in table(folder, IDS).systems if row.model == "plain")
    assert (row.result.parse_rate, row.result.chance) == (None, None)
    assert "plain" in as_table(table(folder, IDS))


def test_answers_without_any_reward_name_their_system(folder: Path):
    store(folder, "plain/full_history", [prediction(0, True, reward=None)])
    with pytest.raises(ValueError, match="plain/full_history: none of 1 answers has a reward"):
        table(folder, IDS)


def test_predictions_survive_a_file_and_a_line_cut_short(tmp_path: Path):
    path = tmp_path / "predictions.jsonl"
    verdicts = ({"layout": "gold_first", "repeat": 0, "score": 1.0, "failure": None},)
    first = prediction(0, True, memory={"memory": "jazz"}, verdicts=verdicts)
    append_predictions(path, [first, prediction(1, False)])
    with path.open("a") as file:
        file.write('{"question_id": "val/2", "rew')
    assert read_predictions(path) == [first, prediction(1, False)]
    for line in (
        '{"question_id": "val/2"}',
        '{"persona_id": 4, "letter": "a", "option_order": [], "verdicts": []}',
        "7",
    ):
        path.write_text(line + "\n")
        with pytest.raises(ValueError, match="line 1 is no prediction of this version; remove the file"):
            read_predictions(path)
    assert read_predictions(tmp_path / "absent") == []
    assert dataclasses.asdict(first)["memory"] == {"memory": "jazz"}


def test_a_table_for_people_has_tags_as_text():
    (row,) = prediction_table([prediction(0, True)])
    assert row["tags"] == "kind music, who self"
    assert (row["question_id"], row["reference"], row["parsed"], row["reward"]) == ("val/0", "b", "b", 1.0)
