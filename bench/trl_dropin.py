"""Whole steps of `trainer.train()`: SharedPrefixGRPOTrainer against trl's GRPOTrainer, both in one process.

    python bench/trl_dropin.py

Both get the same completions from a function that draws them at random, so that no generation is timed; everything else
of a step is: rewards, advantages, forward, loss, backward, clipping, AdamW. trl runs at each micro-batch size and its
fastest counts; ours takes all completions at once. Writes bench/results/trl_dropin.json.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from train_step import SHAPE, dense_flops, forest_flops
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from rft.integrations.trl import SharedPrefixGRPOTrainer
from rft.records import Sample
from rft.telemetry.provenance import provenance

RESULT = Path(__file__).resolve().parent / "results" / "trl_dropin.json"
GROUP = 8
COMPLETION = 128
TEXT = 4096
QUESTION = 64
STEPS = 3
"""The first one warms up; the fastest of the others counts."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Example: Row(name="one prompt", num_questions=1)"""

    name: str
    num_questions: int
    """Prompts that begin with the same text; each has a group of completions."""


ROWS = [
    Row(name=f"a prompt of {TEXT}, {GROUP} completions of {COMPLETION}", num_questions=1),
    Row(
        name=f"2 questions of {QUESTION} on a text of {TEXT}, {GROUP} completions of {COMPLETION} each", num_questions=2
    ),
]


class StepTimes(TrainerCallback):
    """Seconds of each optimizer step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if not self.ends:
            self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.ends.append(time.perf_counter())

    def best(self) -> float:
        return min(after - before for before, after in zip(self.ends[1:], self.ends[2:], strict=False))


def make_prompts(row: Row) -> list[tuple[int, ...]]:
    rng = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(2, SHAPE["vocab_size"]) for _ in range(count))

    text = tokens(TEXT)
    return [text + (tokens(QUESTION) if row.num_questions > 1 else ()) for _ in range(row.num_questions)]


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<eos>": 1} | {f"w{number}": number for number in range(2, SHAPE["vocab_size"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def drawn(prompts: list[str], trainer: GRPOTrainer) -> dict[str, Any]:
    """Completions at random, the same for both trainers at the same step."""
    rng = random.Random(trainer.state.global_step)
    ids = [[int(word[1:]) for word in prompt.split()] for prompt in prompts]
    completions = [[rng.randrange(2, SHAPE["vocab_size"]) for _ in range(COMPLETION)] for _ in prompts]
    return {"prompt_ids": ids, "completion_ids": completions, "logprobs": None}


def first_token_is_odd(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(ids[0] % 2) for ids in completion_ids]


def run(kind: type[GRPOTrainer], row: Row, size: int, folder: str) -> tuple[float, list[float]]:
    """Seconds of the fastest step after the first, and the losses."""
    torch.manual_seed(0)
    total = GROUP * row.num_questions
    times = StepTimes()
    texts = [" ".join(f"w{token}" for token in prompt) for prompt in make_prompts(row)]
    trainer = kind(
        model=Qwen3ForCausalLM(Qwen3Config(**SHAPE, attn_implementation="sdpa", pad_token_id=0, eos_token_id=1)),
        reward_funcs=first_token_is_odd,
        args=GRPOConfig(
            output_dir=folder, per_device_train_batch_size=size, gradient_accumulation_steps=total // size,
            num_generations=GROUP, max_steps=STEPS, learning_rate=1e-4, logging_steps=1, report_to="none",
            use_cpu=not torch.cuda.is_available(), bf16=torch.cuda.is_available(), gradient_checkpointing=False,
            save_strategy="no", disable_tqdm=True, shuffle_dataset=False, max_completion_length=COMPLETION,
        ),
        train_dataset=Dataset.from_dict({"prompt": texts * STEPS}),
        processing_class=make_tokenizer(),
        rollout_func=drawn,
        callbacks=[times],
    )  # fmt: skip
    trainer.train()
    return times.best(), [line["loss"] for line in trainer.state.log_history if "loss" in line]


def flop_ratio(row: Row) -> float:
    """What sharing saves, counted: layers' products and attention."""
    samples = [
        Sample(
            prompt_ids=prompt,
            completion_ids=tuple([index + 2] * COMPLETION),
            sampling_logprobs=(),
            advantage=0.0,
            group="",
        )
        for prompt in make_prompts(row)
        for index in range(GROUP)
    ]
    return dense_flops(samples, SHAPE) / forest_flops(samples, SHAPE)


def measure(row: Row) -> dict[str, Any]:
    total = GROUP * row.num_questions
    with tempfile.TemporaryDirectory() as folder:
        ours, our_losses = run(SharedPrefixGRPOTrainer, row, total, folder)
        theirs = {size: run(GRPOTrainer, row, size, folder) for size in (1, 2, 4, 8)}
    size, (seconds, losses) = min(theirs.items(), key=lambda item: item[1][0])
    found = {
        "row": row.name,
        "seconds": ours,
        "trl_seconds": {str(size): seconds for size, (seconds, _) in theirs.items()},
        "trl_micro_batch": size,
        "speed_up": seconds / ours,
        "flop_ratio": flop_ratio(row),
        "share_of_flop_ratio": seconds / ours / flop_ratio(row),
        "losses": our_losses,
        "trl_losses": losses,
    }
    print(json.dumps(found, indent=2), flush=True)
    return found


def main() -> None:
    torch.set_num_threads(2)
    rows = [measure(row) for row in ROWS]
    report = {"command": "python bench/trl_dropin.py", "threads": 2, "rows": rows, "provenance": provenance()}
    RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
