"""A memory batch through the packs of the forest equals the sum over its turns, each computed by itself, densely."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from rft.config import Config
from rft.grpo.credit import CreditRule
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.frozen_logprobs import score_shares
from rft.grpo.optimizer_step import micro_batch_loss, step_totals
from rft.grpo.packing import packs_of_rank
from rft.grpo.samples import training_samples
from rft.records import Answer, Completion, MemoryUpdate, Prompt, Question, Rollout, Sample, Score
from tests.tiny import VOCAB_SIZE, gradient_difference, gradients, tiny_qwen3

TOLERANCE = 1e-5
HEAD = (2, 3, 4)
"""Instructions, the same in every prompt."""


def draw(rng: random.Random, low: int, high: int) -> tuple[int, ...]:
    return tuple(rng.randrange(5, VOCAB_SIZE) for _ in range(rng.randint(low, high)))


def reply(rng: random.Random) -> Completion:
    ids = draw(rng, 2, 9)
    logprobs = tuple(rng.uniform(-6.0, -1.0) for _ in ids)
    return Completion(token_ids=ids, logprobs=logprobs, finish_reason="stop", policy_version=0)


def persona(number: int, num_updates: int, siblings: int, questions: int, rng: random.Random) -> list[Rollout]:
    """A group of memories of one person: siblings share each chunk, then differ in their memories."""
    chunks = [draw(rng, 6, 14) for _ in range(num_updates)]
    asked = [draw(rng, 3, 6) for _ in range(questions)]
    group = []
    for sibling in range(siblings):
        updates, memory = [], (9,)
        for turn, chunk in enumerate(chunks):
            completion = reply(rng)
            updates.append(
                MemoryUpdate(
                    prompt_ids=HEAD + chunk + memory, completion=completion, memory=str(turn), failure=None,
                    num_memory_tokens=len(completion.token_ids), num_chunk_tokens=len(chunk),
                )
            )  # fmt: skip
            memory = completion.token_ids
        answers = [
            Answer(
                prompt=prompt(f"train/{number}-{index}", HEAD + memory + question), sibling=sibling,
                completion=reply(rng), text="", turn=num_updates,
                score=Score(reward=float(rng.random() < 0.5), parsed="a"),
            )
            for index, question in enumerate(asked)
        ]  # fmt: skip
        group.append(Rollout(updates=tuple(updates), answers=tuple(answers)))
    return group


def prompt(question_id: str, token_ids: tuple[int, ...]) -> Prompt:
    question = Question(
        question_id=question_id, context_id="h", cluster="0", query="?", correct_answer="yes", incorrect_answers=("no",)
    )
    return Prompt(question=question, token_ids=token_ids, num_context_tokens=0, option_order=(0, 1))


def memory_samples(credit: CreditRule) -> list[Sample]:
    """Two personas with another number of turns, questions and siblings each."""
    rng = random.Random(3)
    groups = [persona(0, 4, 3, 2, rng), persona(1, 2, 4, 3, rng)]
    places = {answer.prompt.question_id: place for place, group in enumerate(groups) for answer in group[0].answers}
    return training_samples(groups, scale_rewards=True, credit=credit, places=places)


def gradients_of(config: Config, samples: list[Sample], attention: str) -> tuple[float, dict[str, Tensor], int]:
    model = tiny_qwen3(tied=True, attn_implementation=attention)
    accelerator = Accelerator(cpu=True)
    scored = score_shares(config, accelerator, model, None, [samples])[0]
    totals = step_totals(scored, max_completion_length=9)
    loss, computed = 0.0, 0
    for pack, _ in packs_of_rank(config.train, samples, rank=0, num_ranks=1):
        terms, current = micro_batch_loss(config, model, [scored[index] for index in pack], totals)
        terms.loss.backward()
        loss += terms.loss.item()
        computed += current.num_computed
    return loss, gradients(model), computed


@pytest.mark.parametrize("credit", ["shared", "broadcast"])
@pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
def test_a_memory_batch_is_the_sum_of_its_turns(loss_type: Any, credit: CreditRule) -> None:
    samples = memory_samples(credit)
    config = Config(task="memory")
    config.rollout.max_completion_length = config.memory.max_update_length = 9
    config.train.loss_type = loss_type
    config.train.shared_prefix = False
    config.train.per_device_train_batch_size = 1
    loss, grads, dense_tokens = gradients_of(config, samples, "sdpa")
    assert abs(loss) > 1e-3
    config.train.shared_prefix = True
    for budget in (60, 100_000):
        config.train.max_tokens_per_microbatch = budget
        packed_loss, packed_grads, tokens = gradients_of(config, samples, FOREST_ATTENTION)
        assert packed_loss == pytest.approx(loss, rel=TOLERANCE)
        assert gradient_difference(packed_grads, grads) <= TOLERANCE
    assert tokens < 0.75 * dense_tokens, "siblings share chunks, answers share memories"


def test_every_rollout_weighs_one_whatever_its_turns() -> None:
    samples = memory_samples("shared")
    weights = {0: 0.0, 1: 0.0}
    for sample in samples:
        weights[sample.place] += sample.weight
    assert weights == {0: pytest.approx(3.0), 1: pytest.approx(4.0)}
    assert torch.tensor([sample.weight for sample in samples]).unique().tolist() == pytest.approx([1 / 6, 1 / 5])
