"""The folder of one system's answers: what they depend on, and what an interruption leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rft.config import Config, DataConfig, EvalConfig, MemoryConfig
from rft.data import prompts
from rft.data.prompts import McqWording, PlainWording
from rft.eval.answer_folder import (
    add_counters,
    check_answer_settings,
    check_judge_settings,
    merge_parts,
    part_folder,
    settings_of_answers,
    settings_of_judge,
)
from rft.eval.chosen_questions import ChosenQuestions, choose_questions
from rft.eval.config import CompareConfig, EndpointConfig, JudgeConfig
from rft.eval.memory_log import LoggedUpdate, MemoryLog
from rft.eval.predictions import append_predictions, read_predictions
from rft.eval.systems import SYSTEMS
from rft.records import Question
from tests.unit.eval.builder import UsersDataset, make_form, make_material, make_prediction, make_question

QUESTIONS = [make_question(number) for number in range(4)]

CHOSEN = ChosenQuestions(split="val", questions=tuple(QUESTIONS), fingerprint="9f86", manifest={})


def settings(system: str, **changes: Any) -> dict[str, Any]:
    return settings_of_answers(SYSTEMS[system], make_material(QUESTIONS, **changes), CHOSEN, {"model": "m"})


def test_settings_name_the_data_set_its_source_and_the_model():
    found = settings("full_history", data=DataConfig(source="somewhere"))
    assert (found["dataset"], found["split"], found["data.source"]) == ("users", "val", "somewhere")
    assert (found["model"], found["task"], found["data.length_policy"]) == ("m", "mcq", "error")
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("system", "changes", "changed"),
    [
        ("full_history", {"data": DataConfig(persona_card="keep")}, {"data.persona_card"}),
        ("no_history", {"data": DataConfig(persona_card="keep")}, set()),
        ("truncated_history", {"compare": CompareConfig(max_context_tokens=9)}, {"compare.max_context_tokens"}),
        ("full_history", {"compare": CompareConfig(max_context_tokens=9)}, set()),
        ("bm25", {"compare": CompareConfig(retrieval_top_k=1)}, {"compare.retrieval_top_k"}),
        ("bm25", {"compare": CompareConfig(retrieval_max_tokens=9)}, {"compare.retrieval_max_tokens"}),
        ("full_history", {"compare": CompareConfig(retrieval_max_tokens=9)}, set()),
        ("full_history", {"compare": CompareConfig(protocol="leaderboard")}, {"compare.protocol"}),
        ("bm25", {"compare": CompareConfig(embedding_model="e")}, set()),
        ("embeddings", {"compare": CompareConfig(embedding_model="e")}, {"compare.embedding_model"}),
        ("memory", {"memory": MemoryConfig(chunk_tokens=9)}, {"memory.chunk_tokens"}),
        ("full_history", {"memory": MemoryConfig(chunk_tokens=9)}, set()),
        ("longest_option", {"compare": CompareConfig(max_context_tokens=9, protocol="final_answer")}, set()),
        ("longest_option", {"task": "qa"}, set()),
        ("no_history", {"task": "qa"}, {"task"}),
    ],
)
def test_answers_depend_on_what_their_system_uses(system: str, changes: dict[str, Any], changed: set[str]):
    before, after = settings(system), settings(system, **changes)
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == changed


@pytest.mark.parametrize("system", ["full_history", "longest_option"])
def test_rows_that_leave_enter_or_move_while_an_evaluation_is_stopped_are_refused(tmp_path: Path, system: str):
    def fingerprint(questions: list[Question], num_questions: int = 0) -> str:
        config = Config(eval=EvalConfig(num_questions=num_questions))
        return choose_questions(config, UsersDataset(questions)).fingerprint

    def resume(questions: list[Question], num_questions: int = 0) -> None:
        chosen = replace(CHOSEN, fingerprint=fingerprint(questions, num_questions))
        check_answer_settings(tmp_path, settings_of_answers(SYSTEMS[system], make_material(questions), chosen, {}))

    resume(QUESTIONS, 2)
    (tmp_path / "predictions.jsonl").write_text("{}\n")
    resume(QUESTIONS, 4)
    other = [replace(QUESTIONS[0], correct_answer="Another one."), *QUESTIONS[1:]]
    for changed in (QUESTIONS[1:], [*QUESTIONS, make_question(40)], QUESTIONS[::-1], other):
        with pytest.raises(ValueError, match=r"holds answers made with another content of data\.source; remove it"):
            resume(changed)


def test_sampled_answers_depend_on_how_they_are_sampled():
    assert "train.seed" not in settings("no_history")
    sampled = settings("no_history", compare=CompareConfig(temperature=0.7))
    assert (sampled["train.seed"], sampled["rollout.top_p"]) == (0, 1.0)


def test_the_words_count_and_not_the_file_that_holds_them(monkeypatch: pytest.MonkeyPatch):
    dataset = UsersDataset(QUESTIONS)
    boxed, plain = (settings("no_history", form=make_form(dataset, wording=w)) for w in (McqWording(), PlainWording()))
    assert boxed["texts"] != plain["texts"]
    assert settings("memory")["texts"] != boxed["texts"] == settings("full_history")["texts"]
    monkeypatch.setattr(prompts, "MCQ_TEMPLATE", prompts.MCQ_TEMPLATE.replace("Which reply", "Which answer"))
    assert settings("no_history")["texts"] != boxed["texts"]


def test_answers_of_other_settings_are_not_added_to(tmp_path: Path):
    folder = tmp_path / "demo" / "memory"
    check_answer_settings(folder, {"protocol": "boxed", "temperature": 0.0})
    check_answer_settings(folder, {"protocol": "final_answer"})  # nothing was answered yet
    (folder / "predictions.jsonl").write_text("{}\n")
    check_answer_settings(folder, {"protocol": "final_answer"})
    with pytest.raises(ValueError, match="another protocol, temperature; remove it"):
        check_answer_settings(folder, {"protocol": "boxed", "temperature": 0.0})


def test_answers_of_another_version_are_refused_in_a_few_words(tmp_path: Path):
    (tmp_path / "settings.json").write_text('{"system": "full_history", "benchmark": "personamem_v2"}')
    (tmp_path / "predictions.jsonl").write_text("{}\n")
    with pytest.raises(ValueError) as told:
        check_answer_settings(tmp_path, settings("full_history"))
    assert "answers of another version of this program; remove it, or set compare.label" in str(told.value)
    assert len(str(told.value)) < len(str(tmp_path)) + 120


def test_verdicts_of_another_judge_are_not_added_to(tmp_path: Path):
    one = settings_of_judge(JudgeConfig(endpoint=EndpointConfig(model="one")))
    check_judge_settings(tmp_path, one)
    (tmp_path / "verdicts.jsonl").write_text("")
    check_judge_settings(tmp_path, one)
    with pytest.raises(ValueError, match=r"verdicts\.jsonl holds verdicts made with another model; remove the file"):
        check_judge_settings(tmp_path, settings_of_judge(JudgeConfig(endpoint=EndpointConfig(model="two"))))


def test_counters_add_up_over_interruptions(tmp_path: Path):
    path = tmp_path / "counters.json"
    for _ in range(2):
        add_counters(path, {"prompt_tokens": 5, "generated_tokens": 1})
    assert json.loads(path.read_text()) == {"prompt_tokens": 10, "generated_tokens": 2}


def write_part(folder: Path, rank: int, numbers: tuple[int, ...], *, num_ranks: int = 2, torn: str = "") -> Path:
    part = part_folder(folder, rank, num_ranks)
    append_predictions(part / "predictions.jsonl", [make_prediction(QUESTIONS[number]) for number in numbers])
    with (part / "predictions.jsonl").open("a") as file:
        file.write(torn)
    update = LoggedUpdate(context_id=f"h{rank}", question_id=None, sample=0, turn=0, memory="m", failure=None)
    MemoryLog(part / "memories.jsonl").add([update])
    add_counters(part / "counters.json", {"prompt_tokens": 10})
    return part


def test_one_rank_writes_into_the_folder_itself(tmp_path: Path):
    assert part_folder(tmp_path / "x", 0, 1) == tmp_path / "x"
    merge_parts(tmp_path / "x", QUESTIONS)
    assert list((tmp_path / "x").iterdir()) == []


def test_what_ranks_have_written_is_put_together_in_the_order_of_the_questions(tmp_path: Path):
    write_part(tmp_path, 0, (0, 3))
    write_part(tmp_path, 1, (2, 1))
    merge_parts(tmp_path, QUESTIONS)
    assert [one.question_id for one in read_predictions(tmp_path / "predictions.jsonl")] == [
        question.question_id for question in QUESTIONS
    ]
    assert set(MemoryLog(tmp_path / "memories.jsonl").updates) == {("h0", 0), ("h1", 0)}
    assert json.loads((tmp_path / "counters.json").read_text()) == {"prompt_tokens": 20}
    assert not list(tmp_path.glob("rank-*"))


def test_an_interruption_loses_a_torn_line_and_doubles_none(tmp_path: Path):
    """Stopped once while it asked, and once between the writing of the answers and the removal of the parts."""
    write_part(tmp_path, 0, (0,), torn='{"question_id": "val/1"')
    write_part(tmp_path, 5, (2,), num_ranks=8)
    append_predictions(tmp_path / "predictions.jsonl", [make_prediction(QUESTIONS[0]), make_prediction(QUESTIONS[3])])
    merge_parts(tmp_path, QUESTIONS)
    found = [one.question_id for one in read_predictions(tmp_path / "predictions.jsonl")]
    assert found == ["val/0", "val/3", "val/2"]
