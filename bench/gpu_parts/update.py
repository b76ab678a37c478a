"""The update at full length: seconds, share of the card's peak by counted FLOPs, and memory beside the plan's.

One forward and backward pass over the completions of one history, with gradient checkpointing and without optimizer:
the forest's part in one process, trl's own path in another.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from train_step import LogProbs, PeakMemory, Row, dense_flops, forest, forest_flops, samples_of, trl_path
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils import is_liger_kernel_available

from gpu_parts.common import Report, Sizes, bf16_peak, device, in_one_line, make_model, timed
from gpu_parts.kernels import attention_shape
from rft.config import Config
from rft.grpo.attention_kernels import IN_USE, AttentionKernel, candidates
from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.kernel_agreement import failure_of
from rft.grpo.layers import prepare_layers
from rft.grpo.samples import token_paths
from rft.records import Sample

PASSES, RECOMPUTED = 3, 1
"""A step's FLOPs in forward passes: one forward and a backward of two, and what checkpointing computes again."""
TRL_SIBLINGS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Example: Case(name="16 completions, flash_attn_4", siblings=16, kernel=FLASH_ATTN_4)"""

    name: str
    kernel: AttentionKernel
    siblings: int = 8
    questions: int = 1
    train: dict[str, bool] = field(default_factory=dict)
    """Settings of section `train` that change the model's layers. They stay in the model for the cases after it."""


def run_forest(report: Report, sizes: Sizes) -> None:
    model = make_model(sizes, FOREST_ATTENTION).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    config = Config()
    config.train.gradient_checkpointing = True
    for case in cases(sizes):
        try:
            config = with_settings(config, model, case)
            row = Row((sizes.prompt,), case.questions, sizes.question, case.siblings, sizes.completion)
            samples = samples_of(row, sizes.shape["vocab_size"])
            warm_up = samples_of(Row((256,), 1, 0, 2, 16), sizes.shape["vocab_size"])
            IN_USE[device().type] = case.kernel
            found = measure(model, forest, warm_up, samples, len(samples))
            counted = describe(found, forest_flops(samples, sizes.shape))
            paths = sum(len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples)
            report.write(
                case=case.name,
                siblings=case.siblings,
                questions=case.questions,
                kernel=case.kernel.name,
                tokens_per_second=build_forest(token_paths(samples)).num_tokens / found["seconds"],
                path_tokens_per_second=paths / found["seconds"],
                flop_ratio=dense_flops(samples, sizes.shape) / forest_flops(samples, sizes.shape),
                **counted,
            )
            report.write(case=f"plan of: {case.name}", **planned(config, model, samples, sizes))
        except torch.cuda.OutOfMemoryError as error:
            report.write(case=case.name, error=f"does not fit: {in_one_line(error)}")
            empty(model)


def cases(sizes: Sizes) -> list[Case]:
    """What is known to work first; then the fastest kernel that agrees, and what can be added to it."""
    every = candidates("auto", device())
    plain = every[-1]
    shape = attention_shape(sizes)
    best = next((k for k in every if device().type == "cpu" or failure_of(k, shape, device()) is None), plain)
    found = [Case(name=f"8 completions, {plain.name}", kernel=plain)]
    if best is not plain:
        found.append(Case(name=f"8 completions, {best.name}", kernel=best))
    if torch.cuda.is_available() and is_liger_kernel_available():
        found.append(Case(name=f"8 completions, {best.name}, liger", kernel=best, train={"use_liger_kernel": True}))
    found += [
        Case(name="16 completions", kernel=best, siblings=16),
        Case(name="4 questions x 8 completions", kernel=best, questions=4),
        Case(
            name="16 completions, tiled MLP, offloaded inputs",
            kernel=best,
            siblings=16,
            train={"tiled_mlp": True, "activation_offloading": True},
        ),
    ]
    return found


def with_settings(config: Config, model: Qwen3ForCausalLM, case: Case) -> Config:
    """The config with the case's settings, which are applied to the model's layers."""
    if case.train:
        alone = Config()
        for name, value in case.train.items():
            setattr(alone.train, name, value)
            setattr(config.train, name, value)
        prepare_layers(model, alone.train)
    return config


def run_trl(report: Report, sizes: Sizes) -> None:
    """trl's path at its best micro-batch; then the log-probs of both on a short prompt."""
    row = Row((sizes.prompt,), 1, 0, TRL_SIBLINGS, sizes.completion)
    samples = samples_of(row, sizes.shape["vocab_size"])
    warm_up = samples_of(Row((256,), 1, 0, 2, 16), sizes.shape["vocab_size"])
    with tempfile.TemporaryDirectory() as folder:
        model, trl = trl_path(make_model(sizes, "sdpa"), folder)
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        seconds: dict[int, float] = {}  # per sequence, by size of the micro-batch
        for size in (1, 2):
            try:
                seconds[size] = measure(model, trl, warm_up, samples[:2], size)["seconds"] / 2
                report.write(case=f"2 sequences, micro-batch of {size}", seconds_per_sequence=seconds[size])
            except torch.cuda.OutOfMemoryError as error:
                report.write(case=f"2 sequences, micro-batch of {size}", error=f"does not fit: {in_one_line(error)}")
                empty(model)
        if seconds:
            size = min(seconds, key=lambda size: seconds[size])
            found = measure(model, trl, warm_up, samples, size)
            report.write(
                case=f"{TRL_SIBLINGS} completions",
                siblings=TRL_SIBLINGS,
                micro_batch=size,
                seconds_per_sequence=found["seconds"] / TRL_SIBLINGS,
                **describe(found, dense_flops(samples, sizes.shape)),
            )
        report.write(case="log-probs on a short prompt", **difference(model, trl, sizes))


def difference(model: Qwen3ForCausalLM, trl: LogProbs, sizes: Sizes) -> dict[str, float]:
    """Between trl's log-probs and the forest's, from the same weights."""
    samples = samples_of(Row((sizes.short_prompt,), 1, 0, 4, 16), sizes.shape["vocab_size"])
    with torch.no_grad():
        theirs = trl(model, samples)
        model.set_attn_implementation(FOREST_ATTENTION)
        ours = forest(model, samples)
    gap = (ours - theirs).abs()
    return {"logprob_mean_diff": gap.mean().item(), "logprob_max_diff": gap.max().item()}


# ---------------------------------------------------------------------------------------------------------- measuring


def measure(
    model: Qwen3ForCausalLM, logprobs: LogProbs, warm_up: Sequence[Sample], samples: Sequence[Sample], size: int
) -> dict[str, Any]:
    """Seconds and peak bytes of one forward and backward pass, `size` samples at a time."""
    step(model, logprobs, warm_up, len(warm_up))
    model.zero_grad(set_to_none=True)
    gc.collect()
    if not torch.cuda.is_available():
        with PeakMemory() as memory:
            seconds, _ = timed(lambda: step(model, logprobs, samples, size))
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        return {"seconds": seconds, "peak_bytes": weights + memory.peak_mib * 2**20}
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds, _ = timed(lambda: step(model, logprobs, samples, size))
    return {"seconds": seconds, "peak_bytes": torch.cuda.max_memory_allocated()}


def step(model: Qwen3ForCausalLM, logprobs: LogProbs, samples: Sequence[Sample], size: int) -> Tensor:
    parts = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        logps = logprobs(model, batch)
        advantages = torch.tensor([s.advantage for s in batch for _ in s.completion_ids], device=logps.device)
        (-(advantages * logps).mean()).backward()
        parts.append(logps.detach())
    return torch.cat(parts)


def describe(found: dict[str, Any], forward_flops: float) -> dict[str, Any]:
    """Of the layers; the LM head, about a hundredth of it, is not counted."""
    seconds, peak = found["seconds"], bf16_peak()
    return {
        "seconds": seconds,
        "peak_gib": found["peak_bytes"] / 2**30,
        "forward_flops": forward_flops,
        "mfu": PASSES * forward_flops / seconds / peak if peak else None,
        "share_of_peak_with_recomputation": (PASSES + RECOMPUTED) * forward_flops / seconds / peak if peak else None,
        "lower_bound_seconds": (PASSES + RECOMPUTED) * forward_flops / peak if peak else None,
    }


def planned(config: Config, model: Qwen3ForCausalLM, samples: Sequence[Sample], sizes: Sizes) -> dict[str, Any]:
    """What the planner expects at the peak: weights, all gradients, and the pass on fake tensors."""
    try:
        from rft.planning.passes import pass_cost

        cost = pass_cost(
            config, Qwen3Config(**sizes.shape), samples,
            backward=True, dtype=sizes.dtype, autocast=None, on_cuda=torch.cuda.is_available(),
        )  # fmt: skip
    except Exception as error:  # a measurement is worth having without its plan
        return {"planned_gib": None, "plan_error": in_one_line(error)}
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"planned_gib": (2 * weights + cost.peak) / 2**30, "planned_pass_gib": cost.peak / 2**30}


def empty(model: Qwen3ForCausalLM) -> None:
    model.zero_grad(set_to_none=True)
    gc.collect()
    torch.cuda.empty_cache()
