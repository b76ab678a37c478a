"""Which questions are asked, and what becomes of those whose context cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rft.config import Config, DataConfig, EvalConfig
from rft.data.dataset import RecordError
from rft.data.formats import open_dataset
from rft.data.prompts import McqWording
from rft.data.subset import stratified_subset
from rft.eval.chosen_questions import ChosenQuestions, choose_questions
from rft.eval.config import ComparisonConfig
from rft.eval.material import Material
from rft.eval.question_form import QuestionForm, leave_to_judge
from rft.eval.systems import choose_systems
from rft.records import Context
from rft.reward.scorer import TaskScorer
from tests.unit.data.builder import make_config, make_history, make_row, write_csv, write_dataset, write_history
from tests.unit.eval.builder import UsersDataset, make_context, make_question

QUESTIONS = [make_question(number, tags={"kind": str(number % 3)}) for number in range(12)]


def damaged(context_id: str) -> Context:
    if context_id == "h1":
        raise RecordError("history_empty", "h1.json is empty")
    # What h4 holds is the history of another user.
    return make_context("h9") if context_id == "h4" else make_context(context_id)


def config(bad_rows: str, num_questions: int = 0) -> Config:
    return Config(data=DataConfig(bad_rows=bad_rows), eval=EvalConfig(num_questions=num_questions))  # type: ignore[arg-type]


def test_the_fixed_part_is_the_one_of_training():
    chosen = choose_questions(config("error", 6), UsersDataset(QUESTIONS))
    assert chosen.questions == tuple(QUESTIONS[index] for index in stratified_subset(QUESTIONS, 6, ("kind",)))
    assert (chosen.split, chosen.manifest["num_questions"]) == ("val", 12)
    assert chosen.manifest["rows_skipped"] == {"made_up": 1}


def test_an_unusable_context_is_an_error_that_names_it():
    with pytest.raises(RecordError, match=r"h1\.json is empty.*data\.bad_rows=skip"):
        choose_questions(config("error"), UsersDataset(QUESTIONS, damaged))
    foreign = UsersDataset(QUESTIONS, lambda context_id: make_context("h9"))
    with pytest.raises(RecordError, match="question val/0 belongs to 0, but its context h9 says it is of 9"):
        choose_questions(config("error"), foreign)


def test_or_its_questions_are_left_out_and_counted():
    chosen = choose_questions(config("skip"), UsersDataset(QUESTIONS, damaged))
    assert {question.context_id for question in chosen.questions} == {"h0", "h2", "h3", "h5"}
    assert chosen.manifest["rows_skipped"] == {"context_of_another": 2, "history_empty": 2, "made_up": 1}
    assert chosen.manifest["num_questions"] == 8
    # The fixed part is chosen of the others, as in training.
    usable = [question for question in QUESTIONS if question.context_id not in ("h1", "h4")]
    part = choose_questions(config("skip", 4), UsersDataset(QUESTIONS, damaged)).questions
    assert part == tuple(usable[index] for index in stratified_subset(usable, 4, ("kind",)))


def test_nothing_left_and_unknown_splits_are_refused():
    with pytest.raises(ValueError, match="no question of the val split is left"):
        choose_questions(config("skip"), UsersDataset(QUESTIONS[2:4], damaged))
    with pytest.raises(ValueError, match="users has no split 'test'"):
        choose_questions(Config(eval=EvalConfig(split="test")), UsersDataset(QUESTIONS))


# ------------------------------------------------------------------------- a data set of which only a part is here


def choose(root: Path, split: str, num_questions: int = 0, **data: Any) -> ChosenQuestions:
    settings = make_config(root, **data).data
    return choose_questions(
        Config(data=settings, eval=EvalConfig(split=split, num_questions=num_questions)), open_dataset(settings)
    )


def make_material(root: Path, chosen: ChosenQuestions, **data: Any) -> Material:
    config = ComparisonConfig(data=make_config(root, **data).data)
    dataset = open_dataset(config.data)
    form = QuestionForm(wording=McqWording(), score=TaskScorer(leave_to_judge), order_of=dataset.option_order)
    return Material(config, dataset, chosen.questions, form)


NEED_NO_TRAINING_ROWS = ["full_history", "no_history", "options_only", "other_history", "longest_option"]


@pytest.mark.parametrize("split", ["benchmark", "val", "train"])
def test_evaluating_one_split_with_only_its_csv_and_the_histories_it_links(tmp_path: Path, split: str):
    write_dataset(tmp_path, {split: (4, 5)})
    chosen = choose(tmp_path, split, train_split="paper")
    assert {question.cluster for question in chosen.questions} == {"4", "5"}
    material = make_material(tmp_path, chosen, train_split="paper")
    for system in choose_systems(NEED_NO_TRAINING_ROWS):
        if system.prepare is not None:
            system.prepare(material)
        if system.rule is not None:
            system.rule(material)
        for question in chosen.questions:
            assert system.shows is None or system.shows(material, question).messages
    if split == "benchmark":
        assert choose(tmp_path, split).questions == chosen.questions


def test_the_fixed_part_needs_only_the_histories_of_its_own_questions(tmp_path: Path):
    write_dataset(tmp_path, {"benchmark": range(1, 9)}, questions_per_persona=1)
    part = choose(tmp_path, "benchmark", 3)
    asked = {question.context_id for question in part.questions}
    for path in (tmp_path / "data/chat_history_32k").iterdir():
        if str(path.relative_to(tmp_path)) not in asked:
            path.unlink()
    assert choose(tmp_path, "benchmark", 3) == part


def test_majority_letter_alone_needs_training_rows_and_no_history_of_theirs(tmp_path: Path):
    write_dataset(tmp_path, {"benchmark": (1,)})
    material = make_material(tmp_path, choose(tmp_path, "benchmark"), train_split="paper")
    with pytest.raises(ValueError, match=r"majority_letter is fitted to the train split: .*train\.csv ") as caught:
        _ = material.questions_to_fit
    assert str(caught.value).endswith("or leave majority_letter out of system")
    write_csv(tmp_path, "train", [make_row(2, 0), make_row(3, 0)])
    assert len(material.questions_to_fit) == 2


PARTS = [{"type": "text", "text": "Look."}, {"type": "image_url", "image_url": {"url": "a.png"}}]


@pytest.mark.parametrize("split", ["benchmark", "val"])
def test_a_history_with_content_parts_is_left_out_of_an_evaluation_and_counted(tmp_path: Path, split: str):
    write_dataset(tmp_path, {split: (1, 2, 3)})
    stored = make_history(2)
    stored["chat_history"][3]["content"] = PARTS
    write_history(tmp_path, 2, stored)
    with pytest.raises(RecordError, match=r"question .*persona2\.json.* message 3 has a content that is not text"):
        choose(tmp_path, split, train_split="paper")
    chosen = choose(tmp_path, split, train_split="paper", bad_rows="skip")
    assert {question.cluster for question in chosen.questions} == {"1", "3"}
    assert chosen.manifest["rows_skipped"] == {"history_format": 3}
    assert chosen.manifest["num_questions"] == 6


def test_a_history_of_another_persona_is_an_error_in_an_evaluation_as_in_training(tmp_path: Path):
    write_dataset(tmp_path, {"benchmark": (1, 2)})
    write_history(tmp_path, 2, make_history(7))
    with pytest.raises(RecordError, match=r"question benchmark/\d belongs to 2, but its context .* says it is of 7"):
        choose(tmp_path, "benchmark")
    chosen = choose(tmp_path, "benchmark", bad_rows="skip")
    assert {question.cluster for question in chosen.questions} == {"1"}
    assert chosen.manifest["rows_skipped"] == {"context_of_another": 3}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "history_absent"),
        (lambda path: path.write_bytes(b""), "history_empty"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "history_lfs_pointer"),
        (lambda path: path.write_text("[" * 200_000), "history_json"),
        (lambda path: path.write_bytes(json.dumps(make_history(2)).encode("utf-16")), "history_encoding"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/hostname")), "history_link"),
    ],
)
def test_skip_settings_are_honoured_in_evaluation_and_counted_by_reason(tmp_path: Path, damage: Any, reason: str):
    write_dataset(tmp_path, {"benchmark": (1, 2)})
    damage(tmp_path / make_row(2, 0)["chat_history_32k_link"])
    with pytest.raises(RecordError, match=r"question benchmark/1: .*persona2\.json .*data\.bad_rows=skip"):
        choose(tmp_path, "benchmark")
    assert choose(tmp_path, "benchmark", bad_rows="skip").manifest["rows_skipped"] == {reason: 3}
