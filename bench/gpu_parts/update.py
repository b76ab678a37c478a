"""The update at full length: seconds, share of the card's peak by counted FLOPs, and memory beside the plan's.

One forward and backward pass over the completions of one history, with gradient checkpointing and without optimizer:
the forest's part in processes of their own, trl's own path in another. The first of them has PyTorch's kernel alone:
what another kernel, or liger-kernel, does to a process, it does to its own.
"""

from __future__ import annotations

import gc
import json
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
TRL_SEQUENCES = 2
"""That are timed: trl's sequences have nothing in common, so as many more take as much longer."""
SHORT_STEP_S = 15.0
"""A step of fewer seconds is taken twice, and the second counts: its memory is there, and its kernels are loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Example: Case(name="16 completions", siblings=16)"""

    name: str
    siblings: int = 8
    questions: int = 1
    long: bool = False
    """On a history of Sizes.long_prompt tokens."""
    train: dict[str, bool] = field(default_factory=dict)
    """Settings of section `train` that change the model's layers. They stay in the model for the cases after it."""


LESS_MEMORY = {"tiled_mlp": True, "activation_offloading": True}
SHAPES = [
    Case(name="8 completions"),
    Case(name="16 completions", siblings=16),
    Case(name="4 questions x 8 completions", questions=4),
]
LONG = Case(name="8 completions, long history, tiled MLP, offloaded inputs", long=True, train=LESS_MEMORY)
OFFLOADED = Case(name="16 completions, tiled MLP, offloaded inputs", siblings=16, train=LESS_MEMORY)
LIGER = Case(name="8 completions, liger", train={"use_liger_kernel": True})


def run_forest(report: Report, sizes: Sizes) -> None:
    run_cases(report, sizes, SHAPES, plain_kernel())


def run_fast(report: Report, sizes: Sizes) -> None:
    """The same with the fastest kernel that agrees, if that is another one; then what can be added to it."""
    kernel = fastest_kernel(report, sizes)
    run_cases(report, sizes, [*(SHAPES if kernel is not plain_kernel() else []), OFFLOADED], kernel)
    if torch.cuda.is_available() and is_liger_kernel_available():
        # Last, and on a model of its own: liger-kernel replaces what layers are made of, over what is tiled.
        run_cases(report, sizes, [LIGER], kernel)


def run_long(report: Report, sizes: Sizes) -> None:
    run_cases(report, sizes, [LONG], fastest_kernel(report, sizes))


def plain_kernel() -> AttentionKernel:
    return candidates("auto", device())[-1]


def fastest_kernel(report: Report, sizes: Sizes) -> AttentionKernel:
    """The fastest of those that agree, by the results of part `kernels`; without these the first that agrees here."""
    known = candidates("auto", device())
    lines = [json.loads(line) for line in report.path.read_text(encoding="utf-8").splitlines()]
    found = [line for line in lines if line["part"] == "kernels" and "kernel" in line]
    if not found:
        shape = attention_shape(sizes)
        return next((k for k in known[:-1] if failure_of(k, shape, device()) is None), known[-1])
    agreeing = {line["kernel"] for line in found if line.get("agrees")}
    speeds = {line["kernel"]: line["tflops"] for line in found if "tflops" in line}
    return max(known, key=lambda kernel: speeds.get(kernel.name, 0.0) if kernel.name in agreeing else -1.0)


def run_cases(report: Report, sizes: Sizes, cases: Sequence[Case], kernel: AttentionKernel) -> None:
    IN_USE[device().type] = kernel
    model = make_model(sizes, FOREST_ATTENTION).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    for case in cases:
        prepare_layers(model, settings_of(case).train)
        samples = samples_of_case(case, sizes)
        if case.train.get("activation_offloading") and torch.cuda.is_available():
            pin_ahead(model, samples)
        warm_up = samples_of(Row((256,), 1, 0, 2, 16), sizes.shape["vocab_size"])
        try:
            found = measure(model, forest, warm_up, samples, len(samples))
        except torch.cuda.OutOfMemoryError as error:
            failure = in_one_line(error)
        else:
            flops = forest_flops(samples, sizes.shape)
            report.write(**described_case(case, kernel, samples, sizes), **found, **shares(flops, found["seconds"]))
            continue
        # Only now do the frames of the error hold no tensor any more.
        empty(model)
        report.write(case=case.name, kernel=kernel.name, error=f"does not fit: {failure}")


def settings_of(case: Case) -> Config:
    """The config of a run with the case's settings, and with checkpointing."""
    config = Config()
    config.train.gradient_checkpointing = True
    for name, value in case.train.items():
        setattr(config.train, name, value)
    return config


def samples_of_case(case: Case, sizes: Sizes) -> list[Sample]:
    length = sizes.long_prompt if case.long else sizes.prompt
    row = Row((length,), case.questions, sizes.question, case.siblings, sizes.completion)
    return samples_of(row, sizes.shape["vocab_size"])


def described_case(case: Case, kernel: AttentionKernel, samples: Sequence[Sample], sizes: Sizes) -> dict[str, Any]:
    return {
        "case": case.name,
        "kernel": kernel.name,
        "siblings": case.siblings,
        "questions": case.questions,
        "history": sizes.long_prompt if case.long else sizes.prompt,
        "tokens": build_forest(token_paths(samples)).num_tokens,
        "path_tokens": sum(len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples),
        "flop_ratio": dense_flops(samples, sizes.shape) / forest_flops(samples, sizes.shape),
        "forward_flops": forest_flops(samples, sizes.shape),
    }


def pin_ahead(model: Qwen3ForCausalLM, samples: Sequence[Sample]) -> None:
    """Has PyTorch take the host memory that the layers' inputs will lie in: a run does so once, and waits for it."""
    tokens, width = build_forest(token_paths(samples)).num_tokens, model.config.hidden_size
    held = [
        torch.empty(1, tokens, width, dtype=model.dtype, pin_memory=True) for _ in range(model.config.num_hidden_layers)
    ]
    del held


def run_trl(report: Report, sizes: Sizes) -> None:
    """trl's path at its best micro-batch; then the log-probs of both on a short prompt."""
    samples = samples_of(Row((sizes.prompt,), 1, 0, TRL_SEQUENCES, sizes.completion), sizes.shape["vocab_size"])
    warm_up = samples_of(Row((256,), 1, 0, 2, 16), sizes.shape["vocab_size"])
    with tempfile.TemporaryDirectory() as folder:
        model, trl = trl_path(make_model(sizes, "sdpa"), folder)
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        flops = dense_flops(samples, sizes.shape)
        for size in (1, 2):
            case = f"{TRL_SEQUENCES} sequences, micro-batch of {size}"
            try:
                found = measure(model, trl, warm_up, samples, size)
            except torch.cuda.OutOfMemoryError as error:
                failure = in_one_line(error)
            else:
                per_sequence = found["seconds"] / TRL_SEQUENCES
                counted = {"seconds_per_sequence": per_sequence, "forward_flops": flops}
                report.write(case=case, micro_batch=size, **found, **counted, **shares(flops, found["seconds"]))
                continue
            empty(model)
            report.write(case=case, error=f"does not fit: {failure}")
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
    """Seconds and peak memory of one forward and backward pass, `size` samples at a time."""
    step(model, logprobs, warm_up, len(warm_up))
    empty(model)
    if not torch.cuda.is_available():
        with PeakMemory() as memory:
            seconds, _ = timed(lambda: step(model, logprobs, samples, size))
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        return {"seconds": seconds, "first_seconds": seconds, "peak_gib": weights / 2**30 + memory.peak_mib / 1024}
    torch.cuda.reset_peak_memory_stats()
    first, _ = timed(lambda: step(model, logprobs, samples, size))
    seconds = first
    if first < SHORT_STEP_S:
        model.zero_grad(set_to_none=True)
        seconds, _ = timed(lambda: step(model, logprobs, samples, size))
    return {"seconds": seconds, "first_seconds": first, "peak_gib": torch.cuda.max_memory_allocated() / 2**30}


def step(model: Qwen3ForCausalLM, logprobs: LogProbs, samples: Sequence[Sample], size: int) -> Tensor:
    parts = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        logps = logprobs(model, batch)
        advantages = torch.tensor([s.advantage for s in batch for _ in s.completion_ids], device=logps.device)
        (-(advantages * logps).mean()).backward()
        parts.append(logps.detach())
    return torch.cat(parts)


def shares(flops: float, seconds: float) -> dict[str, float | None]:
    """Of the card's peak. FLOPs are those of the layers; the LM head, about a hundredth of it, is not counted."""
    peak = bf16_peak()
    return {
        "mfu": PASSES * flops / seconds / peak if peak else None,
        "share_of_peak_with_recomputation": (PASSES + RECOMPUTED) * flops / seconds / peak if peak else None,
        "lower_bound_seconds": (PASSES + RECOMPUTED) * flops / peak if peak else None,
    }


def run_plans(report: Report, sizes: Sizes) -> None:
    """What the planner expects of the cases; it needs no GPU, and comes when nothing else waits for one."""
    for case in [*SHAPES, OFFLOADED, LONG]:
        report.write(case=case.name, **planned(case, sizes))


def planned(case: Case, sizes: Sizes) -> dict[str, Any]:
    """The peak: weights, all gradients, and the pass on fake tensors."""
    from rft.planning.passes import meta_policy, pass_cost

    config, shape = settings_of(case), Qwen3Config(**sizes.shape)
    cost = pass_cost(
        config, shape, samples_of_case(case, sizes),
        backward=True, dtype=sizes.dtype, autocast=None, on_cuda=torch.cuda.is_available(),
    )  # fmt: skip
    weights = sum(p.numel() * p.element_size() for p in meta_policy(config, shape, sizes.dtype).parameters())
    return {"planned_gib": (2 * weights + cost.peak) / 2**30, "planned_pass_gib": cost.peak / 2**30}


def empty(model: Qwen3ForCausalLM) -> None:
    model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
