"""Reward functions are given what trl's GRPOTrainer gives them, and what they return is summed as trl sums it."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from rft.config import RewardConfig
from rft.records import Attempt, Question
from rft.reward.functions import RewardFunctions
from tests.tiny import tiny_qwen3

TEXTS = ("four", "five or so", "", "none")
WEIGHTS = [0.5, 2.0, -1.0]
seen: list[dict[str, Any]] = []


def length(completions: list[Any], solution: list[str], **kwargs: Any) -> list[float | None]:
    seen.append({"completions": completions, "solution": solution, **kwargs})
    texts = [completion[0]["content"] if isinstance(completion, list) else completion for completion in completions]
    return [None if text == "none" else len(text) / 4 for text in texts]


async def later(completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    return [None if len(ids) == 4 else float(len(ids)) for ids in completion_ids]


def nothing(prompts: list[Any], **kwargs: Any) -> list[None]:
    return [None] * len(prompts)


def attempt(number: int, text: str) -> Attempt:
    question = Question(
        question_id=f"q{number}", context_id="", cluster="", query="?", correct_answer="4", columns={"solution": "4"}
    )
    return Attempt(question=question, option_order=(), asked="2 + 2?", text=text, token_ids=tuple(range(number + 1)))


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> GRPOTrainer:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1, "a": 2}, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    folder: Path = tmp_path_factory.mktemp("trl")
    return GRPOTrainer(
        model=tiny_qwen3(tied=True),
        reward_funcs=[length, later, nothing],
        args=GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=4,
            num_generations=2,
            reward_weights=WEIGHTS,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 4}),
        processing_class=tokenizer,
    )


@pytest.mark.parametrize("form", ["messages", "text"])
def test_arguments_values_and_sums_are_those_of_trl(trainer: GRPOTrainer, form: Any) -> None:
    seen.clear()
    as_messages = form == "messages"
    prompts = [[{"role": "user", "content": "2 + 2?"}] if as_messages else "2 + 2?" for _ in TEXTS]
    completions = [[{"role": "assistant", "content": text}] if as_messages else text for text in TEXTS]
    inputs = [{"prompt": prompt, "solution": "4"} for prompt in prompts]
    values = trainer._calculate_rewards(inputs, prompts, completions, [list(range(i + 1)) for i in range(4)])
    totals = (values * torch.tensor(WEIGHTS)).nansum(dim=1)
    totals[values.isnan().all(dim=1)] = torch.nan

    module = types.ModuleType("rewards_of_this_test")
    module.__dict__.update(length=length, later=later, nothing=nothing)
    sys.modules[module.__name__] = module
    paths = [f"{module.__name__}:{name}" for name in ("length", "later", "nothing")]
    scorer = RewardFunctions(RewardConfig(function=paths, weights=WEIGHTS, completions=form), own=lambda _: [])
    scores = scorer([attempt(number, text) for number, text in enumerate(TEXTS)])

    assert [function.name for function in scorer.functions] == trainer.reward_func_names
    ours = [score.reward if score.reward is not None else torch.nan for score in scores]
    torch.testing.assert_close(torch.tensor(ours), totals, equal_nan=True)
    assert totals.isnan().tolist() == [False, False, False, True]
    for score, row in zip(scores, values.tolist(), strict=True):
        parts = dict(zip(trainer.reward_func_names, row, strict=True))
        assert score.parts == pytest.approx({name: value for name, value in parts.items() if value == value})
    trls, own = seen
    assert set(trls) <= set(own), "every argument of trl's"
    callables = {"log_extra", "log_metric", "trainer_state"}
    assert {key: value for key, value in own.items() if key in set(trls) - callables} == {
        key: value for key, value in trls.items() if key not in callables
    }
    assert type(own["trainer_state"]) is type(trls["trainer_state"])
