"""The folder of one system's answers: what they depend on, and what an interruption leaves behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rft.config import DataConfig, MemoryConfig
from rft.data import prompts
from rft.data.prompts import McqWording, PlainWording
from rft.eval.answer_folder import (
    add_counters,
    check_answer_settings,
    check_judge_settings,
    settings_of_answers,
    settings_of_judge,
)
from rft.eval.config import CompareConfig, EndpointConfig, JudgeConfig
from rft.eval.systems import SYSTEMS
from tests.unit.eval.builder import UsersDataset, make_form, make_material, make_question

QUESTIONS = [make_question(number) for number in range(4)]


def settings(system: str, **changes: Any) -> dict[str, Any]:
    return settings_of_answers(SYSTEMS[system], make_material(QUESTIONS, **changes), "val", {"model": "m"})


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
