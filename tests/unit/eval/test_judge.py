"""Verdicts: what is read, what is counted, what the judge sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.chat.chat_model import ChatRequest
from rft.chat.endpoint import ChatReply
from rft.chat.failures import ReplyFailure
from rft.data import prompts
from rft.eval.config import JudgeConfig
from rft.eval.judge import (
    LEADERBOARD_LAYOUTS,
    judge_answers,
    judge_request,
    read_score,
    read_verdicts,
    summarize_judge,
    with_verdicts,
)
from rft.eval.predictions import PROMPT_TOO_LONG, Prediction
from tests.unit.eval.builder import make_prediction, make_question

QUESTIONS = {
    q.question_id: q for q in (make_question(0), make_question(1, columns={"preference": "Do not remember jazz"}))
}


def prediction(number: int, text: str = "Jazz.", **changes: Any) -> Prediction:
    values = {"option_order": (), "parsed": None, "reward": None, "text": text}
    return make_prediction(QUESTIONS[f"val/{number}"], **values | changes)


@pytest.mark.parametrize(
    ("text", "score", "failure"),
    [
        (r"It fits. \boxed{0.5}", 0.5, None),
        (r"\boxed{1}", 1.0, None),
        (r"\boxed{ .25 }", 0.25, None),
        (r"<think>\boxed{0.1}</think>\boxed{1.0}", 1.0, None),
        (r"[THINK]\boxed{0.1}[/THINK]\boxed{1.0}", 1.0, None),
        (r"\boxed{\text{0.8}}", 0.8, None),
        (r"\boxed{\mathbf{0.8}}", 0.8, None),
        (r"\boxed{\,0.8\,}", 0.8, None),
        (r"\boxed{$0.8$}", 0.8, None),
        (r"\boxed{0.8.}", 0.8, None),
        (r"<think>It fits. \boxed{0.5}", None, "unclosed_thought"),
        (r"<thinking>It fits. \boxed{0.5}", None, "unclosed_thought"),
        (r"<|channel|>analysis<|message|>\boxed{0.5}", None, "unclosed_thought"),
        (r"\boxed{0,8}", None, "not_a_score"),
        (r"\boxed{\text{1.8}}", None, "not_a_score"),
        (r"\boxed{0.5} so \boxed{0.50}", 0.5, None),
        ("0.5", None, "no_box"),
        ("", None, "no_box"),
        (r"\boxed{1.5}", None, "not_a_score"),
        (r"\boxed{-1}", None, "not_a_score"),
        (r"\boxed{good}", None, "not_a_score"),
        (r"\boxed{0.5", None, "not_a_score"),
        (r"\boxed{0} or \boxed{1}", None, "several_scores"),
        ("Yes.", None, "no_box"),
        (r"\boxed{yes}", None, "not_a_score"),
        (r"\boxed{no}", None, "not_a_score"),
        (r"\boxed{yes} \boxed{no}", None, "not_a_score"),
        (r"\boxed{yes} \boxed{1.0}", None, "several_scores"),
        (r"\boxed{}", None, "not_a_score"),
        (r"\boxed{score}", None, "not_a_score"),
        (r"\boxed{0 or 1}", None, "not_a_score"),
    ],
)
def test_a_score_is_one_number_in_a_box(text: str, score: float | None, failure: str | None):
    assert read_score(text) == (score, failure)


def test_the_judge_sees_the_preference_and_no_thought():
    reply = "<think>They hum jazz, says the history.</think>Some jazz."
    for layout in prompts.JUDGE_LAYOUTS:
        _, text = judge_request(QUESTIONS["val/0"], reply, layout)
        assert "Likes jazz" in text and "Some jazz." in text and "says the history" not in text
        assert prompts.JUDGE_RUBRICS["follow"] in text and r"\boxed{score}" in text
        assert (text.index("Likes jazz") < text.index("Some jazz.")) == (layout == "gold_first")
    _, text = judge_request(QUESTIONS["val/1"], reply, "gold_first")
    assert prompts.JUDGE_RUBRICS["avoid"] in text
    for other in ("<thinking>says the history</thinking>", "[THINK]says the history[/THINK]", "<|channel|>final"):
        _, text = judge_request(QUESTIONS["val/0"], other + "Some jazz.", "gold_first")
        assert "Some jazz." in text and "says the history" not in text
    _, text = judge_request(make_question(0, columns={}), reply, "gold_first")
    assert prompts.JUDGE_RUBRICS["answer"] in text and "Some {jazz}." in text


class Judge:
    """Answers from a list, in which the name of a failure is a failed reply; after `limit` replies its endpoint is
    gone."""

    thought_open = False

    def __init__(self, texts: list[str], limit: int = 99) -> None:
        self.texts, self.limit, self.asked = texts, limit, 0

    def replies(self, requests: Iterable[ChatRequest[Any]]) -> Iterator[tuple[Any, ChatReply]]:
        for request in requests:
            if self.asked == self.limit:
                raise ValueError("gone")
            text = self.texts[self.asked % len(self.texts)]
            self.asked += 1
            failure = ReplyFailure(text) if text in set(ReplyFailure) else None
            yield (
                request.tag,
                ChatReply(
                    text="" if failure else text,
                    cut_off=False,
                    prompt_tokens=1,
                    completion_tokens=1,
                    failure=failure,
                    detail="http://host, model j: no" if failure else "",
                ),
            )

    def close(self) -> None: ...


def test_verdicts_are_kept_over_an_interruption_and_asked_once(tmp_path: Path):
    path = tmp_path / "verdicts.jsonl"
    answers = [prediction(0), prediction(1)]
    config = JudgeConfig(repeats=2)
    broken = Judge([r"\boxed{1}"], limit=3)
    with pytest.raises(ValueError, match="gone"):
        list(judge_answers(config, answers, QUESTIONS, broken, path))
    with path.open("a") as file:
        file.write('{"question_id": "val/0", "sam')  # a crash in the middle of a line
    again = Judge([r"\boxed{1}"])
    assert len(list(judge_answers(config, answers, QUESTIONS, again, path))) == 5
    assert len(read_verdicts(path)) == 8 and again.asked == 5


def test_an_invalid_verdict_is_counted_and_no_zero(tmp_path: Path):
    path = tmp_path / "verdicts.jsonl"
    texts = [r"\boxed{1}", r"\boxed{0.5}", "Fine.", "Good."]  # of two answers in two layouts each
    list(judge_answers(JudgeConfig(), [prediction(0), prediction(1)], QUESTIONS, Judge(texts), path))
    judged = with_verdicts([prediction(0), prediction(1)], read_verdicts(path))
    assert [one.reward for one in judged] == [0.75, None]
    assert [one.failure for one in judged] == [None, "no_valid_verdict"]
    result = summarize_judge("j", judged)
    assert (result.num_verdicts, result.num_invalid, result.failures) == (4, 2, {"no_box": 2})
    assert (result.layout_gap, result.repeat_gap, result.num_unjudged) == (0.5, None, 1)


def test_the_leaderboard_s_judge_reads_each_answer_once(tmp_path: Path):
    path = tmp_path / "verdicts.jsonl"
    model = Judge([r"\boxed{0.7}", r"\boxed{1}"])
    answers = [prediction(0), prediction(1)]
    list(judge_answers(JudgeConfig(), answers, QUESTIONS, model, path, LEADERBOARD_LAYOUTS))
    judged = with_verdicts(answers, read_verdicts(path))
    assert [one.reward for one in judged] == [0.7, 1.0] and model.asked == 2
    result = summarize_judge("j", judged)
    assert (result.num_verdicts, result.layout_gap) == (2, None)
    assert {verdict["layout"] for one in judged for verdict in one.verdicts} == {"gold_first"}


def test_a_question_that_was_not_asked_is_not_judged(tmp_path: Path):
    path = tmp_path / "verdicts.jsonl"
    unasked = prediction(0, text="", reward=0.0, failure=PROMPT_TOO_LONG)
    model = Judge([r"\boxed{1}"])
    list(judge_answers(JudgeConfig(), [unasked, prediction(1)], QUESTIONS, model, path))
    assert model.asked == 2
    judged = with_verdicts([unasked, prediction(1)], read_verdicts(path))
    assert [(one.reward, one.failure) for one in judged] == [(0.0, PROMPT_TOO_LONG), (1.0, None)]


@pytest.mark.parametrize("failure", ["empty", "unclosed_thought", "content_filter", "timeout"])
def test_an_answer_that_did_not_come_is_not_judged(tmp_path: Path, failure: str):
    path = tmp_path / "verdicts.jsonl"
    reward = None if failure == "timeout" else 0.0
    failed = prediction(0, text="", reward=reward, failure=failure)
    model = Judge([r"\boxed{1}"])
    list(judge_answers(JudgeConfig(), [failed, prediction(1)], QUESTIONS, model, path))
    assert model.asked == 2
    assert with_verdicts([failed, prediction(1)], read_verdicts(path))[0] == failed


def test_a_verdict_that_did_not_come_is_counted_and_asked_for_again_where_it_may_pass(tmp_path: Path):
    path = tmp_path / "verdicts.jsonl"
    answers = [prediction(0), prediction(1)]
    list(judge_answers(JudgeConfig(), answers, QUESTIONS, Judge(["timeout", r"\boxed{0.5}", "content_filter"]), path))
    judged = with_verdicts(answers, read_verdicts(path))
    assert [one.reward for one in judged] == [0.5, None]
    assert summarize_judge("j", judged).failures == {"content_filter": 1, "timeout": 2}
    again = Judge([r"\boxed{1}"])
    list(judge_answers(JudgeConfig(), answers, QUESTIONS, again, path))
    assert again.asked == 2
    judged = with_verdicts(answers, read_verdicts(path))
    assert [one.reward for one in judged] == [0.75, 1.0]
    assert summarize_judge("j", judged).failures == {"content_filter": 1}


def test_a_judge_that_gives_no_verdict_at_all_is_one_line(tmp_path: Path):
    path = tmp_path / "verdicts.jsonl"
    with pytest.raises(ValueError, match="none of 4 verdicts, the last one: http://host, model j: no"):
        list(judge_answers(JudgeConfig(), [prediction(0), prediction(1)], QUESTIONS, Judge(["refusal"]), path))
    assert not path.exists()


def test_a_line_that_is_no_verdict_is_named(tmp_path: Path):
    (tmp_path / "verdicts.jsonl").write_text('{"question_id": "val/0"}\n')
    with pytest.raises(ValueError, match=r"verdicts\.jsonl line 1 is no verdict"):
        read_verdicts(tmp_path / "verdicts.jsonl")


def test_repetitions_are_compared_within_a_layout():
    verdicts = tuple(
        {"layout": layout, "repeat": repeat, "score": score, "failure": None}
        for layout, scores in (("gold_first", (1.0, 0.5)), ("reply_first", (0.5, 0.5)))
        for repeat, score in enumerate(scores)
    )
    judged = dataclasses.replace(prediction(0), reward=0.625, verdicts=verdicts)
    result = summarize_judge("j", [judged])
    assert (result.layout_gap, result.repeat_gap) == (0.25, 0.25)


SAID = st.sampled_from(["Yes.", "No.", "Yes and no.", r"\boxed{yes}", r"\boxed{0} \boxed{1}", "", "timeout", "refusal"])
SCORES = st.sampled_from([0.0, 0.5, 1.0])


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SAID | SCORES, min_size=1, max_size=8))
def test_what_a_judge_does_not_say_clearly_is_in_no_mean(
    tmp_path_factory: pytest.TempPathFactory, said: list[str | float]
):
    questions = {question.question_id: question for question in map(make_question, range(len(said)))}
    answers = [
        make_prediction(question, option_order=(), parsed=None, reward=None, text="Jazz.")
        for question in questions.values()
    ]
    path = tmp_path_factory.mktemp("judge") / "verdicts.jsonl"
    model = Judge([text if isinstance(text, str) else rf"\boxed{{{text}}}" for text in said])
    if all(text in ("timeout", "refusal") for text in said):
        with pytest.raises(ValueError, match=f"the judge gave none of {len(said)} verdicts"):
            list(judge_answers(JudgeConfig(), answers, questions, model, path, LEADERBOARD_LAYOUTS))
        return
    list(judge_answers(JudgeConfig(), answers, questions, model, path, LEADERBOARD_LAYOUTS))
    judged = with_verdicts(answers, read_verdicts(path))
    assert [one.reward for one in judged] == [text if isinstance(text, float) else None for text in said]
    result = summarize_judge("j", judged)
    unclear = sum(isinstance(text, str) for text in said)
    assert (result.num_verdicts, result.num_invalid, result.num_unjudged) == (len(said), unclear, unclear)
    assert sum(result.failures.values()) == unclear
