"""Which rank answers what in a policy evaluation, and what an answer becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st

from rft.config import Config, RewardConfig
from rft.eval.policy import answer_prediction, share_of_rank
from rft.records import Answer, Completion, Prompt, Score
from rft.tasks.registry import task_class
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.eval.builder import UsersDataset, make_question


def rank_of(world: int, rank: int) -> Accelerator:
    return cast(Accelerator, SimpleNamespace(process_index=rank, num_processes=world))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 5))
def test_ranks_share_the_questions_and_no_context(sizes: list[int], world: int):
    contexts = [f"h{number}" for number, size in enumerate(sizes) for _ in range(size)]
    indices = list(range(100, 100 + len(contexts)))
    shares = [share_of_rank(indices, contexts, rank_of(world, rank)) for rank in range(world)]
    assert [index for share in shares for index in share] == indices
    for share in shares:
        mine = {contexts[index - 100] for index in share}
        assert all(contexts[index - 100] not in mine for index in indices if index not in share)


@pytest.mark.parametrize(
    ("task", "reward", "score", "reference", "order"),
    [
        ("mcq", RewardConfig(), Score(reward=1.0, parsed="c"), "c", (1, 2, 0, 3)),
        # This task shows no options.
        ("qa", RewardConfig(function="tests.unit.eval.builder:exact"), Score(reward=None), "Some {jazz}.", ()),
    ],
)
def test_an_answer_becomes_a_prediction(
    task: str, reward: RewardConfig, score: Score, reference: str, order: tuple[int, ...]
):
    question, tokenizer = make_question(0), make_tokenizer(TEMPLATES["chatml"])
    config = Config(task=task, reward=reward)
    made: Any = task_class(config)(config, tokenizer, UsersDataset([question]))
    ids = tokenizer("tea garden walk", add_special_tokens=False)["input_ids"]
    prompt = Prompt(question=question, token_ids=(1, 1, *ids), num_context_tokens=2, option_order=order)
    completion = Completion(token_ids=(1, 2, 3), logprobs=(0.0,) * 3, finish_reason="length", policy_version=0)
    answer = Answer(prompt=prompt, sibling=0, completion=completion, text="Hm.", score=score)
    prediction = answer_prediction(made, answer, None)
    assert (prediction.reference, prediction.option_order) == (reference, order)
    assert (prediction.reward, prediction.parsed, prediction.tags) == (score.reward, score.parsed, question.tags)
    assert (prediction.question, prediction.text) == ("tea garden walk", "Hm.")
    assert (prediction.prompt_tokens, prediction.completion_tokens) == (2 + len(ids), 3)
    assert (prediction.finish_reason, prediction.memory) == ("length", None)
