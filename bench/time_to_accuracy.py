"""Held-out accuracy over seconds of training: trl's own GRPOTrainer, and ours, on the demo.

    python bench/time_to_accuracy.py [--trl-steps 100] [--micro-batch 32]

Both train the same cold-started model, on the same questions in the same order (16 a step, 16 completions each), with
the same reward, loss, optimizer and schedule. trl generates with transformers, since its way to vLLM does not reach an
engine on a CPU; so that the comparison is fair its update is also counted with the time that our engine takes in place
of its generation. That third curve is computed, and so says its name. Evaluations are in no curve. Writes
bench/results/time_to_accuracy.json and .png. Needs two cores and nothing else running.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from datasets import Dataset
from demo import RESULTS, ROOT, run
from transformers import AutoModelForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from rft.config import Config, load_config
from rft.data.prompts import gold_letter, offered_letters
from rft.grpo.data import Data, load_data
from rft.grpo.stages import Stages
from rft.records import Prompt
from rft.reward.mcq import score_boxed_letter
from rft.reward.thoughts import decode_reply
from rft.telemetry.provenance import provenance

EVERY = 10
"""Steps between two evaluations."""
TARGET = 0.80
EVAL_BATCH = 50
WARM_UP = 2
"""Steps that are left out of a mean."""


class TimedTrainer(GRPOTrainer):
    """trl's trainer, and the seconds that its generation takes."""

    generation_seconds = 0.0

    def _generate_single_turn(self, *arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return super()._generate_single_turn(*arguments, **named)
        finally:
            self.generation_seconds += time.perf_counter() - begin


class Curve(TrainerCallback):
    """Accuracy and seconds at every few steps; stops the run after `num_steps`."""

    def __init__(self, data: Data, num_steps: int) -> None:
        self.data = data
        self.num_steps = num_steps
        self.trainer: TimedTrainer
        self.steps: list[tuple[float, float]] = []
        """Seconds of each step, and those of them that are generation."""
        self.evals: list[tuple[int, float]] = []

    def on_train_begin(self, *_: Any, **named: Any) -> None:
        self.evals.append((0, accuracy(named["model"], self.data)))

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.begin, self.generated = time.perf_counter(), self.trainer.generation_seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self.steps.append((time.perf_counter() - self.begin, self.trainer.generation_seconds - self.generated))
        if state.global_step % EVERY == 0:
            self.evals.append((state.global_step, accuracy(named["model"], self.data)))
            print(f"trl: step {state.global_step}, {self.evals[-1][1]:.3f}, {self.steps[-1][0]:.1f} s", flush=True)
        control.should_training_stop = state.global_step >= self.num_steps


def accuracy(model: Any, data: Data) -> float:
    """Of greedy answers to all held-out questions, as our evaluation reads them."""
    split, tokenizer, was_training = data.evaluation, data.tokenizer, model.training
    model.eval()
    right = 0.0
    for start in range(0, len(split), EVAL_BATCH):
        prompts = [split.prompt(i, split.eval_order(i)) for i in range(start, min(len(split), start + EVAL_BATCH))]
        padded = tokenizer.pad(
            {"input_ids": [list(prompt.token_ids) for prompt in prompts]}, padding_side="left", return_tensors="pt"
        )
        with torch.no_grad():
            ids = model.generate(**padded, do_sample=False, max_new_tokens=32)[:, padded["input_ids"].shape[1] :]
        right += sum(map(score, (decode_reply(tokenizer, tuple(row.tolist())) for row in ids), prompts_orders(prompts)))
    model.train(was_training)
    return right / len(split)


def prompts_orders(prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    return [prompt.option_order for prompt in prompts]


def score(text: str, option_order: Sequence[int]) -> float:
    found = score_boxed_letter(
        text, offered_letters(option_order), gold_letter(option_order), rule="strict", thought_open=False
    )
    assert found.reward is not None
    return found.reward


def questions(config: Config, data: Data, num_steps: int) -> Dataset:
    """The prompts of our run's first batches, in its order."""
    stages = Stages(config, data)
    rows = []
    for number in range(num_steps):
        epoch, units = stages.at(number).batch(number)
        for index in (index for unit in units for index in unit):
            prompt = stages.at(number).prompt(index, epoch)
            text = data.tokenizer.decode(prompt.token_ids)
            assert tuple(data.tokenizer(text)["input_ids"]) == prompt.token_ids, "trl would see other tokens"
            rows.append({"prompt": text, "option_order": list(prompt.option_order)})
    return Dataset.from_list(rows)


def train_with_trl(config: Config, data: Data, num_steps: int, micro_batch: int) -> Curve:
    rollout, train = config.rollout, config.train
    batch = rollout.questions_per_batch * rollout.num_generations
    curve = Curve(data, num_steps)

    def reward(completion_ids: list[list[int]], option_order: list[list[int]], **_: Any) -> list[float]:
        texts = [decode_reply(data.tokenizer, tuple(ids)) for ids in completion_ids]
        return list(map(score, texts, option_order))

    torch.manual_seed(train.seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = TimedTrainer(
            model=AutoModelForCausalLM.from_pretrained(ROOT / config.model.model_name_or_path, dtype=torch.float32),
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=folder, per_device_train_batch_size=micro_batch,
                gradient_accumulation_steps=batch // micro_batch, num_generations=rollout.num_generations,
                max_steps=train.max_steps, learning_rate=train.learning_rate, warmup_steps=train.warmup_steps,
                lr_scheduler_type=train.lr_scheduler_type, weight_decay=train.weight_decay,
                max_grad_norm=train.max_grad_norm, loss_type=train.loss_type, scale_rewards="group", beta=train.beta,
                epsilon=train.epsilon, temperature=rollout.temperature, top_p=1.0, top_k=0,
                max_completion_length=rollout.max_completion_length, shuffle_dataset=False, seed=train.seed,
                gradient_checkpointing=False, use_cpu=True, bf16=False, report_to="none", save_strategy="no",
                logging_steps=1, disable_tqdm=True,
            ),
            train_dataset=questions(config, data, num_steps),
            processing_class=data.tokenizer,
            callbacks=[curve],
        )  # fmt: skip
        curve.trainer = trainer
        trainer.train()
    return curve


def seconds_at(steps: Sequence[float]) -> list[float]:
    """Seconds when each step ends, step 0 first."""
    total, found = 0.0, [0.0]
    for seconds in steps:
        total += seconds
        found.append(total)
    return found


def points(evals: Sequence[tuple[int, float]], ends: Sequence[float]) -> list[list[float]]:
    """Step, seconds and accuracy of each evaluation."""
    return [[step, ends[step], value] for step, value in evals]


def to_target(curve: Sequence[Sequence[float]]) -> float | None:
    return next((seconds for _, seconds, value in curve if value >= TARGET), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-steps", type=int, default=100, help="trl's run is cut there")
    parser.add_argument("--micro-batch", type=int, default=32, help="completions that trl computes at a time")
    arguments = parser.parse_args()
    _, rows = run("tta", f"checkpoint.save_steps={EVERY}")
    ours = [row for row in rows if "reward" in row]
    config = load_config(ROOT / "configs" / "demo.yaml")
    data = load_data(config)
    trl = train_with_trl(config, data, arguments.trl_steps, arguments.micro_batch)
    engine = statistics.fmean(row["time/rollout_s"] + row["time/sync_s"] for row in ours[WARM_UP:])
    evals = [(row["step"], row["eval/accuracy"]) for row in rows if "eval/accuracy" in row]
    curves = {
        "trl, its own generation": points(trl.evals, seconds_at([seconds for seconds, _ in trl.steps])),
        "trl's update, our engine's time (computed)": points(
            trl.evals, seconds_at([seconds - generation + engine for seconds, generation in trl.steps])
        ),
        "rft": points(evals, seconds_at([row["step_time"] for row in ours])),
    }
    report = {
        "command": "python bench/time_to_accuracy.py",
        "provenance": provenance(),
        "target_accuracy": TARGET,
        "curves": curves,
        "seconds_to_target": {name: to_target(curve) for name, curve in curves.items()},
        "step_seconds": {
            "trl": statistics.fmean(seconds for seconds, _ in trl.steps[WARM_UP:]),
            "trl_generation": statistics.fmean(generation for _, generation in trl.steps[WARM_UP:]),
            "trl_micro_batch": arguments.micro_batch,
            "rft": statistics.fmean(row["step_time"] for row in ours[WARM_UP:]),
            "rft_engine": engine,
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "time_to_accuracy.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(curves, RESULTS / "time_to_accuracy.png")
    print(json.dumps(report["step_seconds"], indent=2), json.dumps(report["seconds_to_target"], indent=2))


def plot(curves: dict[str, list[list[float]]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    styles = zip(("#d55e00", "#d55e00", "#0072b2"), ("-", ":", "-"), strict=True)
    for (name, curve), (color, line) in zip(curves.items(), styles, strict=True):
        axes.plot(
            [seconds for _, seconds, _ in curve], [value for *_, value in curve],
            color=color, linestyle=line, marker="o", markersize=3, label=name,
        )  # fmt: skip
    axes.axhline(TARGET, color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="seconds of training, evaluations left out", ylabel="held-out accuracy")
    axes.set_title("The demo: same model, questions, reward and batch", fontsize=10)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
