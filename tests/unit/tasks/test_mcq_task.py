"""One turn: what is asked, and how the reply becomes a scored rollout."""

import pytest

from rft.config import RewardConfig
from rft.records import Completion, FailureReason, Prompt
from rft.tasks.mcq import McqTask
from tests.unit.data.builder import TEMPLATES, make_tokenizer

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])


def prompt(text: str) -> Prompt:
    return Prompt(
        question_id="val/0", persona_id=0, history_id="h", token_ids=tuple(TOKENIZER.encode(text)),
        num_history_tokens=0, letters=("a", "b", "c", "d"), gold="b", option_order=(1, 0, 2, 3), pref_type="p",
        who="self", updated=False, sensitive=False, scenario="s",
    )  # fmt: skip


def reply(text: str) -> Completion:
    ids = (*TOKENIZER.encode(text), TOKENIZER.convert_tokens_to_ids("<|im_end|>"))
    return Completion(token_ids=ids, logprobs=(0.0,) * len(ids), finish_reason="stop", policy_version=0)


def task(rule: str = "strict") -> McqTask:
    return McqTask(TOKENIZER, RewardConfig(rule=rule), max_completion_length=40)


def test_an_episode_asks_once_and_scores_the_reply():
    episode = task().episode([prompt("hi")], sibling=3, seed_of={"val/0": 7}.__getitem__)
    (request,) = episode.requests()
    assert (request.prompt_ids, request.seed, request.max_tokens) == (prompt("hi").token_ids, 7, 40)
    assert list(episode.requests()) == [request]
    episode.observe([reply("<think>hm</think> \\boxed{b}")])
    assert list(episode.requests()) == []
    rollout = episode.rollout()
    (answer,) = rollout.answers
    assert (rollout.updates, rollout.early_answers) == ((), ())
    assert (answer.sibling, answer.text, answer.turn) == (3, "<think>hm</think> \\boxed{b}", 0)
    assert (answer.score.reward, answer.score.letter) == (1.0, "b")


def test_an_unfinished_episode_has_no_rollout():
    with pytest.raises(AssertionError, match="not over"):
        task().episode([prompt("hi")], sibling=0, seed_of=lambda name: 0).rollout()


def test_a_template_that_opens_the_thought_makes_an_endless_thought_no_answer():
    opened = prompt("<|im_start|>assistant\n<think>\n")
    assert task().scored(opened, 0, reply("hm \\boxed{b}")).score.failure is FailureReason.UNCLOSED_THOUGHT
    assert task().scored(opened, 0, reply("hm</think>\\boxed{b}")).score.reward == 1.0
    assert task().scored(prompt("hi"), 0, reply("hm \\boxed{b}")).score.reward == 1.0


def test_the_papers_rule_is_an_option():
    unclosed = reply("<think> \\boxed{b}")
    assert task("strict").scored(prompt("hi"), 0, unclosed).score.reward == 0.0
    assert task("paper").scored(prompt("hi"), 0, unclosed).score.reward == 1.0
