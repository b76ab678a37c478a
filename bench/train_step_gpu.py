"""The GRPO step at Qwen3-4B's shape on one GPU: shared prefixes against trl's own path and against counted FLOPs.

python bench/train_step_gpu.py [PROMPT_TOKENS COMPLETION_TOKENS SIBLINGS]

Random weights in bfloat16, gradient checkpointing, one prompt of 32,768 tokens with 8 completions of 1,024. Each path
takes one untimed step on a short prompt and one timed step. Writes bench/results/train_step_<card>.json. Without a GPU
it says so and ends.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from train_step import RESULTS, LogProbs, Row, dense_flops, forest, forest_flops, samples_of, trl_path
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.records import Sample
from rft.telemetry.provenance import provenance

SHAPE: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262144,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5_000_000.0},
}
"""Qwen3-4B-Instruct-2507."""

BF16_PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "B200": 2250e12}
"""Dense bfloat16 FLOP/s by name of the card, from the vendor's data sheets."""

PASSES = 4
"""Forward passes a step costs: forward, the same again under gradient checkpointing, a backward of two."""


def main(prompt: int, completion: int, siblings: int) -> None:
    if not torch.cuda.is_available():
        print("no GPU: nothing measured")
        return
    card = torch.cuda.get_device_name()
    peak = next((flops for name, flops in BF16_PEAK.items() if name in card), None)
    row = Row((prompt,), 1, 0, siblings, completion)
    samples = samples_of(row, SHAPE["vocab_size"])
    warm_up = samples_of(Row((256,), 1, 0, 2, 64), SHAPE["vocab_size"])
    report: dict[str, Any] = {
        "command": f"python bench/train_step_gpu.py {prompt} {completion} {siblings}",
        "card": card,
        "bf16_peak_flops": peak,
        "shape": SHAPE,
        "flop_ratio": dense_flops(samples, SHAPE) / forest_flops(samples, SHAPE),
        "provenance": provenance(),
    }
    ours = step(make_model(FOREST_ATTENTION), forest, warm_up, samples, len(samples))
    report["forest"] = describe(ours, forest_flops(samples, SHAPE), peak)
    show("forest", report["forest"])
    with tempfile.TemporaryDirectory() as folder:
        model, trl = trl_path(make_model("sdpa"), folder)
        theirs = step(model, trl, warm_up, samples, 1)
    report["trl"] = describe(theirs, dense_flops(samples, SHAPE), peak)
    show("trl", report["trl"])
    if ours is not None and theirs is not None:
        report["speedup_vs_trl"] = theirs["seconds"] / ours["seconds"]
        report["logprob_mean_diff"] = (ours["logps"] - theirs["logps"]).abs().mean().item()
        print(f"speed-up {report['speedup_vs_trl']:.2f} of {report['flop_ratio']:.2f} by FLOPs")
    path = RESULTS / f"train_step_{card.replace(' ', '_').lower()}.json"
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(path)


def make_model(attention: str) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Qwen3ForCausalLM(Qwen3Config(**SHAPE, attn_implementation=attention, dtype="bfloat16"))
    model = model.to(torch.bfloat16).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def step(
    model: Qwen3ForCausalLM, logprobs: LogProbs, warm_up: Sequence[Sample], samples: Sequence[Sample], size: int
) -> dict[str, Any] | None:
    """Seconds, peak bytes and log-probs of one forward and backward pass; None when it does not fit."""
    try:
        run(model, logprobs, warm_up, len(warm_up))
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        begin = time.perf_counter()
        logps = run(model, logprobs, samples, size)
        torch.cuda.synchronize()
        return {
            "seconds": time.perf_counter() - begin,
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "logps": logps,
        }
    except torch.cuda.OutOfMemoryError:
        return None
    finally:
        model.to("meta")
        gc.collect()
        torch.cuda.empty_cache()


def run(model: Qwen3ForCausalLM, logprobs: LogProbs, samples: Sequence[Sample], size: int) -> Tensor:
    model.zero_grad(set_to_none=True)
    parts = []
    for start in range(0, len(samples), size):
        batch = samples[start : start + size]
        logps = logprobs(model, batch)
        advantages = torch.tensor([s.advantage for s in batch for _ in s.completion_ids], device=logps.device)
        (-(advantages * logps).mean()).backward()
        parts.append(logps.detach())
    return torch.cat(parts)


def describe(measured: dict[str, Any] | None, forward_flops: float, peak: float | None) -> dict[str, Any]:
    if measured is None:
        return {"fits": False}
    seconds = measured["seconds"]
    return {
        "fits": True,
        "seconds": seconds,
        "peak_gib": measured["peak_bytes"] / 2**30,
        "layer_flops": PASSES * forward_flops,
        "share_of_bf16_peak": PASSES * forward_flops / seconds / peak if peak else None,
        "lower_bound_seconds": PASSES * forward_flops / peak if peak else None,
    }


def show(name: str, found: dict[str, Any]) -> None:
    print(name, "does not fit" if not found["fits"] else json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:] or ("32768", "1024", "8")))
