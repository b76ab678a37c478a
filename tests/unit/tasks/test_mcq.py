"""Multiple choice: what is asked, how the reply becomes a scored rollout, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.config import Config, DataConfig, RewardConfig, RolloutConfig
from rft.records import Completion, Message, Prompt
from rft.reward.mcq import FailureReason
from rft.rollout.collect import score_episodes
from rft.tasks.mcq import McqTask
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.tasks.builder import MemoryDataset, make_prompt, make_question

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])
GOLD_IS_B = (1, 0, 2, 3)


def prompt(text: str) -> Prompt:
    return make_prompt(TOKENIZER.encode(text), make_question(), GOLD_IS_B)


def reply(text: str) -> Completion:
    ids = (*TOKENIZER.encode(text), TOKENIZER.convert_tokens_to_ids("<|im_end|>"))
    return Completion(token_ids=ids, logprobs=(0.0,) * len(ids), finish_reason="stop", policy_version=0)


def task(rule: str = "strict") -> McqTask:
    config = Config(reward=RewardConfig(rule=rule), rollout=RolloutConfig(max_completion_length=40))
    return McqTask(config, TOKENIZER, MemoryDataset({"h": []}))


def score_of(task: McqTask, prompt: Prompt, completion: Completion):
    return task.score([task.attempt(prompt, completion)])[0]


def test_an_episode_asks_once_and_its_reply_is_scored():
    episode = task().episode([prompt("hi")], sibling=3, seed_of={"val/0": 7}.__getitem__)
    (request,) = episode.requests()
    assert (request.prompt_ids, request.seed, request.max_tokens) == (prompt("hi").token_ids, 7, 40)
    assert list(episode.requests()) == [request]
    episode.observe([reply("<think>hm</think> \\boxed{b}")])
    assert list(episode.requests()) == []
    (rollout,) = score_episodes(task(), [episode])
    (answer,) = rollout.answers
    assert (rollout.updates, rollout.early_answers) == ((), ())
    assert (answer.sibling, answer.text, answer.turn) == (3, "<think>hm</think> \\boxed{b}", 0)
    assert (answer.score.reward, answer.score.parsed) == (1.0, "b")


def test_a_reward_sees_the_question_the_message_and_the_reply():
    attempt = task().attempt(prompt("hi"), reply("\\boxed{a}"))
    assert (attempt.question, attempt.option_order, attempt.text) == (make_question(), GOLD_IS_B, "\\boxed{a}")
    assert attempt.asked.startswith("Question 0?") and "(a) Wrong 1.\n(b) Right." in attempt.asked
    assert attempt.token_ids == reply("\\boxed{a}").token_ids


def test_an_unfinished_episode_has_nothing_to_score():
    with pytest.raises(AssertionError, match="not over"):
        task().episode([prompt("hi")], sibling=0, seed_of=lambda name: 0).attempts()


def test_a_template_that_opens_the_thought_makes_an_endless_thought_no_answer():
    opened = prompt("<|im_start|>assistant\n<think>\n")
    assert score_of(task(), opened, reply("hm \\boxed{b}")).failure == FailureReason.UNCLOSED_THOUGHT
    assert score_of(task(), opened, reply("hm</think>\\boxed{b}")).reward == 1.0
    assert score_of(task(), prompt("hi"), reply("hm \\boxed{b}")).reward == 1.0


def test_the_papers_rule_is_an_option():
    unclosed = reply("<think> \\boxed{b}")
    assert score_of(task("strict"), prompt("hi"), unclosed).reward == 0.0
    assert score_of(task("paper"), prompt("hi"), unclosed).reward == 1.0


def test_letters_are_counted_over_all_answers():
    episodes = [task().episode([prompt("hi")], sibling, lambda name: 0) for sibling in range(4)]
    for episode, text in zip(episodes, ["\\boxed{a}", "\\boxed{b}", "none", "\\boxed{b}"], strict=True):
        episode.observe([reply(text)])
    rollouts = score_episodes(task(), episodes)
    assert task().metrics(task().outcomes([rollouts])) == {"letters/a": 0.25, "letters/b": 0.5}


def test_questions_without_options_are_refused(tmp_path: Path):
    questions = [make_question(0), make_question(1, options=1)]
    config = Config(data=DataConfig(cache_dir=str(tmp_path), max_prompt_length=999))
    dataset = MemoryDataset({"h": [Message(role="user", content="jazz")]}, questions, config.data)
    with pytest.raises(ValueError, match="task mcq needs options, and question val/1 has no incorrect answers"):
        McqTask(config, TOKENIZER, dataset).load_split("val")
