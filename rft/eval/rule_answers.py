"""Systems without a model: an option is chosen by a rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rft.data.prompts import LETTERS, options_of
from rft.eval.asked import Asked
from rft.eval.material import Material
from rft.eval.predictions import QUESTION_CHARS, Prediction, question_fields
from rft.eval.systems import System


def answer_by_rule(system: System, material: Material, asked: Sequence[Asked]) -> Iterator[Prediction]:
    """One prediction per question, its reward 1.0 for the right letter and else 0.0, whatever the task's reward is."""
    assert system.rule is not None
    rule = system.rule(material)
    for question, sample in asked:
        order = material.form.order_of(question)
        chosen = rule(options_of(question, order))
        yield Prediction(
            **question_fields(question, order),
            sample=sample,
            parsed=LETTERS[chosen],
            reward=float(order[chosen] == 0),
            failure=None,
            finish_reason=None,
            prompt_tokens=0,
            completion_tokens=0,
            question=material.form.text_of(question)[-QUESTION_CHARS:],
            text=f"\\boxed{{{LETTERS[chosen]}}}",
        )
