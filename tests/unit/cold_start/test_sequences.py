"""What a cold start is trained on."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from rft.cold_start import traces
from rft.cold_start.config import TargetConfig
from rft.cold_start.sequences import IGNORED, McqSequences, check_target
from rft.data.dataset import Dataset
from rft.data.prompts import McqWording, context_messages, gold_letter, offered_letters
from rft.records import Question
from rft.reward.mcq import score_boxed_letter


def test_questions_of_a_context_share_sequences(sequences: McqSequences) -> None:
    runs = sequences.indices()
    assert sorted(index for run in runs for index in run) == list(range(len(sequences.split.questions)))
    assert [len(run) for run in runs] == [3, 2] * 10
    for run in runs:
        assert len({sequences.split.questions[index].context_id for index in run}) == 1


def test_loss_is_on_the_replies_alone(sequences: McqSequences) -> None:
    run = sequences.indices()[0]
    input_ids, labels = sequences.sequence(run)
    trained = [token for token, label in zip(input_ids, labels, strict=True) if label != IGNORED]
    assert trained == [label for label in labels if label != IGNORED]
    replies = sequences.tokenizer.decode(trained).split("<|im_end|>")
    assert len(replies) == len(run) + 1 and replies[-1] == ""
    for index, reply in zip(run, replies, strict=False):
        order = sequences.split.eval_order(index)
        question = sequences.split.questions[index]
        right = traces.demonstrates_right(question, 0.5, seed=0)
        score = score_boxed_letter(reply, offered_letters(order), gold_letter(order), rule="strict")
        assert score.reward == float(right)


def test_sequence_is_the_chat_it_continues(sequences: McqSequences, dataset: Dataset) -> None:
    run = sequences.indices()[0]
    split, tokenizer, wording = sequences.split, sequences.tokenizer, McqWording()
    context = dataset.context(split.questions[run[0]].context_id)
    chat = [{"role": m.role, "content": m.content} for m in context_messages(context, wording, "drop")]
    for index in run:
        question, order = split.questions[index], split.eval_order(index)
        right = traces.demonstrates_right(question, 0.5, seed=0)
        chat.append({"role": "user", "content": wording.ask(question, order)})
        chat.append({"role": "assistant", "content": traces.trace_target(question, order, right)})
    whole = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)
    assert sequences.sequence(run)[0] + sequences.encode("\n") == list(whole)


OPEN = Question(question_id="val/3", context_id="lease", cluster="lease", query="When?", correct_answer="2031")
OFFERED = replace(OPEN, incorrect_answers=("2030", "2032"), tags={"topic": "date", "who": "self"})


@pytest.mark.parametrize(
    ("reply", "question", "problem"),
    [
        ("letter", OPEN, "target.reply: letter needs options, and question val/3 has none"),
        ("trace", OFFERED, "target.reply: trace needs data written by rft/make_data.py synthetic, and question val/3"),
        (
            "memory",
            OFFERED,
            "target.reply: memory needs data written by rft/make_data.py synthetic, and question val/3",
        ),
    ],
)
def test_replies_that_cannot_be_written_are_refused(
    sequences: McqSequences, reply: Literal["letter", "trace", "memory"], question: Question, problem: str
) -> None:
    usable = sequences.split.questions
    check_target(TargetConfig(reply=reply), usable)
    with pytest.raises(ValueError, match=problem):
        check_target(TargetConfig(reply=reply), [*usable, question])


def test_letters_need_nothing_but_options() -> None:
    check_target(TargetConfig(reply="letter"), [OFFERED])
