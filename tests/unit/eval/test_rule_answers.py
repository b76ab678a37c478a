"""Answers without a model."""

from __future__ import annotations

import pytest

from rft.data.prompts import gold_letter
from rft.eval.rule_answers import answer_by_rule
from rft.eval.systems import SYSTEMS
from tests.unit.eval.builder import make_material, make_question


@pytest.mark.parametrize(("system", "reward"), [("longest_option", 1.0), ("shortest_option", 0.0)])
def test_a_rule_chooses_among_the_options_as_they_are_shown(system: str, reward: float):
    questions = [make_question(number) for number in range(6)]
    material = make_material(questions)
    predictions = list(answer_by_rule(SYSTEMS[system], material, [(question, 0) for question in questions]))
    assert len(predictions) == 6 and {p.reward for p in predictions} == {reward}
    assert len({p.parsed for p in predictions}) > 1, "the options stand in several orders"
    for question, prediction in zip(questions, predictions, strict=True):
        assert prediction.reference == gold_letter(material.dataset.option_order(question))
        assert prediction.text == f"\\boxed{{{prediction.parsed}}}" and prediction.prompt_tokens == 0
        assert (prediction.parsed == prediction.reference) == (reward == 1.0)


def test_the_majority_letter_is_one_letter():
    questions = [make_question(number) for number in range(6)]
    asked = [(question, 0) for question in questions]
    predictions = list(answer_by_rule(SYSTEMS["majority_letter"], make_material(questions), asked))
    assert len({p.parsed for p in predictions}) == 1
    assert max(p.reward or 0.0 for p in predictions) == 1.0
