"""Which questions are asked, and what becomes of those whose context cannot be used."""

from __future__ import annotations

import pytest

from rft.config import Config, DataConfig, EvalConfig
from rft.data.dataset import RecordError
from rft.data.subset import stratified_subset
from rft.eval.chosen_questions import choose_questions
from rft.records import Context
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
