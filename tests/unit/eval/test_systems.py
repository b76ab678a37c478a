"""What each system shows, what the controls hide, and which systems a data set has everything for."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import pytest

from rft.config import DataConfig
from rft.data.prompts import LETTERS, SYSTEM_PROMPT, PlainWording
from rft.eval.config import CompareConfig, ComparisonConfig
from rft.eval.systems import (
    ALL_SYSTEMS,
    SYSTEM_SETS,
    SYSTEMS,
    choose_systems,
    counts_tokens,
    fitting_systems,
    longest_option,
    majority_rule,
    most_frequent_letter,
    shortest_option,
)
from rft.records import Context, Message, Question
from tests.unit.eval.builder import UsersDataset, make_context, make_form, make_material, make_question

QUESTIONS = [make_question(number) for number in range(8)]


def said(system: str, question: Question, **changes: object) -> list[str]:
    shows = SYSTEMS[system].shows
    assert shows is not None
    return [message.content for message in shows(make_material(QUESTIONS, **changes), question).messages]


def test_what_each_system_shows():
    question = QUESTIONS[2]  # user 1
    words = [f"Word {i} of 1." for i in range(6)]
    assert said("full_history", question) == [SYSTEM_PROMPT, *words]
    assert said("full_history", question, data=DataConfig(persona_card="keep")) == [SYSTEM_PROMPT, "Card of 1.", *words]
    assert said("persona_card", question) == [SYSTEM_PROMPT, "Card of 1."]
    assert said("evidence_only", question) == [SYSTEM_PROMPT, "I hum jazz."]
    assert said("no_history", question) == said("options_only", question) == [SYSTEM_PROMPT]
    shown = said("other_history", question)
    assert len(shown) == 7 and not any("of 1." in text for text in shown)
    assert set(said("bm25", question)) == {SYSTEM_PROMPT, *words}


def test_a_task_without_a_system_line_has_none():
    dataset = UsersDataset(QUESTIONS)
    form = make_form(dataset, wording=PlainWording())
    assert said("no_history", QUESTIONS[0], form=form) == []
    assert said("full_history", QUESTIONS[0], form=form)[0] == "Word 0 of 0."


def test_a_context_s_own_system_line_stays_where_a_part_of_it_is_shown():
    own = Message(role="system", content="You are a lawyer.")

    def lawyers(context_id: str) -> Context:
        context = make_context(context_id)
        return replace(context, messages=(own, *context.messages))

    dataset = UsersDataset(QUESTIONS, lawyers)
    assert said("full_history", QUESTIONS[0], dataset=dataset)[:2] == [own.content, "Word 0 of 0."]
    assert said("evidence_only", QUESTIONS[0], dataset=dataset) == [own.content, "I hum jazz."]
    assert said("bm25", QUESTIONS[0], dataset=dataset)[0] == own.content
    assert said("no_history", QUESTIONS[0], dataset=dataset) == [SYSTEM_PROMPT]


def test_rules_look_at_the_options_alone():
    assert longest_option(["a", "bbb", "cc", "ddd"]) == 1
    assert shortest_option(["aa", "b", "c"]) == 1
    orders = {q.question_id: order for q, order in zip(QUESTIONS[:3], ((1, 0), (1, 0), (0, 1)), strict=True)}
    assert most_frequent_letter(QUESTIONS[:3], lambda q: orders[q.question_id]) == 1
    assert LETTERS[most_frequent_letter(QUESTIONS[1:3], lambda q: orders[q.question_id])] == "a"  # a draw


def test_the_letter_is_counted_on_the_train_split_and_else_on_the_questions():
    class Fixed(UsersDataset):
        def option_order(self, question: Question) -> tuple[int, ...]:
            return (1, 0, 2, 3) if question.question_id.startswith("train") else (3, 2, 1, 0)

    train = [make_question(n, question_id=f"train/{n}") for n in range(3)]
    trained = make_material(QUESTIONS, Fixed(QUESTIONS, train=train))
    assert majority_rule(trained)(["w", "x", "y", "z"]) == 1
    assert majority_rule(make_material(QUESTIONS, Fixed(QUESTIONS)))(["w", "x", "y", "z"]) == 3
    assert majority_rule(make_material(QUESTIONS, Fixed(QUESTIONS)))(["w", "x"]) == 1


def test_names_and_sets_of_systems():
    names = [system.name for system in choose_systems("full_history, controls,no_history")]
    assert names == ["full_history", *SYSTEM_SETS["controls"]]
    assert choose_systems(["memory"]) == [SYSTEMS["memory"]]
    assert choose_systems("all") == list(SYSTEMS.values())
    rules = {system.name for system in ALL_SYSTEMS if system.kind == "rule"}
    assert rules == {"longest_option", "shortest_option", "majority_letter"}
    assert rules < set(SYSTEM_SETS["controls"]) < set(SYSTEM_SETS["default"]) < set(SYSTEMS)
    with pytest.raises(ValueError, match="unknown system 'no_histroy'"):
        choose_systems("no_histroy")


@pytest.mark.parametrize("system", ALL_SYSTEMS, ids=lambda system: system.name)
def test_the_settings_of_a_system_are_keys_of_the_config(system):
    for key in system.settings:
        reduce(getattr, key.split("."), ComparisonConfig())


# ------------------------------------------------------------------------------------------------ what systems need


def fitting(asked: str, questions: list[Question], **changes: object) -> tuple[set[str], str]:
    systems, left_out = fitting_systems(asked, make_material(questions, **changes))
    return {system.name for system in systems}, "\n".join(left_out)


def test_what_a_data_set_has_everything_for_is_compared():
    assert fitting("all", QUESTIONS) == (set(SYSTEMS), "")


def test_without_options_a_set_leaves_out_what_needs_them_and_a_name_is_refused():
    questions = [make_question(number, incorrect_answers=()) for number in range(4)]
    names, told = fitting("default", questions)
    assert names == {"full_history", "evidence_only", "no_history", "other_history"}
    assert told.count("\n") == 3 and "system longest_option is left out: it needs options, and val/0" in told
    with pytest.raises(ValueError, match="system options_only needs options, and val/0 is asked without any"):
        fitting("full_history,options_only", questions)
    with pytest.raises(ValueError, match="system longest_option needs options"):
        fitting("longest_option,controls", questions)


def test_options_that_the_wording_hides_are_none():
    form = make_form(UsersDataset(QUESTIONS), wording=PlainWording())
    assert "longest_option" not in fitting("controls", QUESTIONS, form=form)[0]
    hidden = make_form(UsersDataset(QUESTIONS), order_of=lambda question: ())
    assert "options_only" not in fitting("controls", QUESTIONS, form=hidden)[0]


def test_evidence_profiles_and_other_users_are_needed_where_they_are_shown():
    bare = [make_question(0, evidence=())]
    dataset = UsersDataset(bare, lambda context_id: replace(make_context(context_id), profile=None))
    names, told = fitting("all", bare, dataset=dataset)
    assert not names & {"evidence_only", "persona_card", "other_history"} and "full_history" in names
    assert "h0 has none" in told and "two clusters" in told and "val/0 names none" in told


def test_tokens_are_counted_where_a_setting_bounds_them():
    free, bounded = CompareConfig(), CompareConfig(retrieval_max_tokens=4096)
    counting = [{name for name, system in SYSTEMS.items() if counts_tokens(system, one)} for one in (free, bounded)]
    assert counting == [
        {"truncated_history", "memory"}, {"truncated_history", "memory", "bm25", "embeddings"},
    ]  # fmt: skip


def test_a_comparison_of_nothing_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SYSTEM_SETS, "oracles", ("evidence_only",))
    with pytest.raises(ValueError, match="no system is left to be compared: system evidence_only"):
        fitting("oracles", [make_question(0, evidence=())])
