"""Forward and backward pass of a GRPO step: shared prefixes against our plain path and trl's own.

python bench/train_step.py [ROW ...]

Each row is a process of its own that computes the same samples with the same weights three ways, each at the
micro-batch size that is fastest for it (the forest takes all at once), and compares log-probs and gradients. Writes
bench/results/train_step.json and train_step.png, and prints a table.
"""

from __future__ import annotations

import ctypes
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.logprobs import dense_logprobs, forest_logprobs
from rft.grpo.samples import pad_samples
from rft.records import Sample
from rft.telemetry.provenance import provenance

RESULTS = Path(__file__).resolve().parent / "results"
SHAPE: dict[str, Any] = {
    "vocab_size": 8192,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 16384,
    "tie_word_embeddings": True,
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one row computes: histories, each with questions, each with completions."""

    histories: tuple[int, ...]
    """Tokens of each history."""
    num_questions: int
    question: int
    """Tokens a question adds to its history; 0 with a single question."""
    siblings: int
    completion: int
    own_memory: int = 0
    """Tokens that differ between siblings before their completion: the memory each of them wrote."""
    checkpointing: Literal["none", "all", "forest"] = "none"
    """Where activations are computed again: with none of the three, with all, or with the forest alone, which trades a
    part of its lead in time for memory."""


ROWS = {
    "one prompt": Row((4096,), 1, 0, 8, 128),
    "one prompt, checkpointed": Row((4096,), 1, 0, 8, 128, checkpointing="all"),
    "one prompt, forest checkpointed": Row((4096,), 1, 0, 8, 128, checkpointing="forest"),
    "four questions": Row((4096,), 4, 64, 8, 128),
    "three personas": Row((1024, 2048, 3072), 2, 64, 8, 128),
    "memory turns": Row((1024,), 2, 0, 8, 256, own_memory=256),
    "P=1024": Row((1024,), 1, 0, 8, 128),
    "P=2048": Row((2048,), 1, 0, 8, 128),
    "P=8192": Row((8192,), 1, 0, 8, 128),
    "G=2": Row((2048,), 1, 0, 2, 128),
    "G=32": Row((2048,), 1, 0, 32, 128),
}


def samples_of(row: Row, vocab_size: int) -> list[Sample]:
    rng = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(vocab_size) for _ in range(count))

    samples = []
    for length in row.histories:
        history = tokens(length)
        for turn in range(row.num_questions):
            # Memory turns read another chunk each; questions continue the same history.
            prompt = (tokens(length) if row.own_memory else history) + tokens(row.question)
            for sibling in range(row.siblings):
                completion = tokens(row.completion)
                samples.append(
                    Sample(
                        prompt_ids=prompt + tokens(row.own_memory),
                        completion_ids=completion,
                        sampling_logprobs=(0.0,) * row.completion,
                        advantage=1.0 if sibling % 2 else -1.0,
                        group=f"{length}/{turn}",
                    )
                )
    return samples


# ------------------------------------------------------------------------------------------------------- three ways

LogProbs = Callable[[Qwen3ForCausalLM, Sequence[Sample]], Tensor]
"""Log-probs of all completion tokens, sample after sample: float32 [N]."""


def forest(model: Qwen3ForCausalLM, samples: Sequence[Sample]) -> Tensor:
    return forest_logprobs(model, samples, 1.0, entropy=True).logps


def dense(model: Qwen3ForCausalLM, samples: Sequence[Sample]) -> Tensor:
    return dense_logprobs(model, samples, 1.0, entropy=True).logps


def trl_path(model: Qwen3ForCausalLM, folder: str) -> tuple[Qwen3ForCausalLM, LogProbs]:
    """trl's GRPOTrainer: the method that gives its loss log-probs and entropies, on `model` as it prepares it."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1, "a": 2}, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    arguments = GRPOConfig(
        output_dir=folder, per_device_train_batch_size=2, num_generations=2, temperature=1.0,
        use_cpu=not torch.cuda.is_available(), bf16=False, gradient_checkpointing=False, report_to="none",
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": ["a"] * 2}),
        processing_class=tokenizer,
    )

    def logprobs(model: Qwen3ForCausalLM, samples: Sequence[Sample]) -> Tensor:
        completion = len(samples[0].completion_ids)
        # Completions of a row are equally long; shorter prompts are padded on the left, as trl does.
        width = max(len(sample.prompt_ids) for sample in samples)
        ids = [(0,) * (width - len(s.prompt_ids)) + s.prompt_ids + s.completion_ids for s in samples]
        mask = [(0,) * (width - len(s.prompt_ids)) + (1,) * (len(s.prompt_ids) + completion) for s in samples]
        logps, _, _ = trainer._get_per_token_logps_and_entropies(
            model, torch.tensor(ids, device=model.device), torch.tensor(mask, device=model.device), completion,
            compute_entropy=True,
        )  # fmt: skip
        return logps.flatten()

    return trainer.model, logprobs


def make_model(attention: str) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**SHAPE, attn_implementation=attention)).train()


# -------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    peak_mib: float
    logps: Tensor
    grads: dict[str, Tensor]


def measure(model: Qwen3ForCausalLM, logprobs: LogProbs, samples: Sequence[Sample], size: int) -> Measured:
    """One forward and backward pass over `samples`, `size` at a time, from zero gradients."""
    model.zero_grad(set_to_none=True)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    parts = []
    with PeakMemory() as memory:
        begin = time.perf_counter()
        for start in range(0, len(samples), size):
            batch = samples[start : start + size]
            logps = logprobs(model, batch)
            advantages = torch.tensor([sample.advantage for sample in batch])
            lengths = torch.tensor([len(sample.completion_ids) for sample in batch])
            loss = -(advantages.repeat_interleave(lengths) * logps).sum() / sum(len(s.completion_ids) for s in samples)
            loss.backward()
            parts.append(logps.detach())
        seconds = time.perf_counter() - begin
    grads = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return Measured(seconds, memory.peak_mib, torch.cat(parts), grads)


class PeakMemory:
    """Resident memory above what it was at the start, looked at every two milliseconds."""

    def __enter__(self) -> PeakMemory:
        self.before = self.most = resident()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.done.wait(0.002):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.peak_mib = (self.most - self.before) / 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def best_size(model: Qwen3ForCausalLM, logprobs: LogProbs, samples: Sequence[Sample]) -> int:
    """Doubles the micro-batch as long as that is faster per sample."""
    size, fastest = 1, measure(model, logprobs, samples[:1], 1).seconds
    fastest = min(fastest, measure(model, logprobs, samples[:1], 1).seconds)
    while 2 * size <= len(samples):
        seconds = measure(model, logprobs, samples[: 2 * size], 2 * size).seconds / (2 * size)
        if seconds >= fastest:
            break
        size, fastest = 2 * size, seconds
    return size


def flops(paths: Sequence[tuple[int, int]], s: dict[str, Any]) -> float:
    """Of the layers, forward, for pieces of (tokens, tokens before them): linear layers, and query-key pairs."""
    heads, groups, size, width = (
        s["num_attention_heads"], s["num_key_value_heads"], s["head_dim"], s["hidden_size"],
    )  # fmt: skip
    weights = 2 * width * size * (heads + groups) + 3 * width * s["intermediate_size"]
    linear = sum(count for count, _ in paths) * 2 * weights
    pairs = sum(count * before + count * (count + 1) / 2 for count, before in paths)
    return float(s["num_hidden_layers"] * (linear + 4 * pairs * heads * size))


def dense_flops(samples: Sequence[Sample], shape: dict[str, Any]) -> float:
    return flops([(len(sample.prompt_ids) + len(sample.completion_ids), 0) for sample in samples], shape)


def forest_flops(samples: Sequence[Sample], shape: dict[str, Any]) -> float:
    trie = build_forest([sample.prompt_ids + sample.completion_ids for sample in samples])
    return flops([(s.end - s.start, int(trie.position_ids[s.start])) for s in trie.segments], shape)


def run_row(name: str) -> dict[str, Any]:
    """All three ways on one row."""
    row = ROWS[name]
    samples = samples_of(row, SHAPE["vocab_size"])
    forest_model, dense_model = make_model(FOREST_ATTENTION), make_model("sdpa")
    with tempfile.TemporaryDirectory() as folder:
        trl_model, trl = trl_path(make_model("sdpa"), folder)
    trl_model.load_state_dict(dense_model.state_dict())
    trl_model.train()
    checkpointed = {"none": [], "all": [forest_model, dense_model, trl_model], "forest": [forest_model]}
    for model in checkpointed[row.checkpointing]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    measure(forest_model, forest, samples[:2], 2)  # warm up
    sizes = {"trl": best_size(trl_model, trl, samples), "dense": best_size(dense_model, dense, samples)}
    rounds = [measure(forest_model, forest, samples, len(samples))]
    theirs = measure(trl_model, trl, samples, sizes["trl"])
    rounds.append(measure(forest_model, forest, samples, len(samples)))
    plain = measure(dense_model, dense, samples, sizes["dense"])
    rounds.append(measure(forest_model, forest, samples, len(samples)))
    ours = rounds[-1]
    seconds = statistics.median(measured.seconds for measured in rounds)
    num_unique = build_forest([s.prompt_ids + s.completion_ids for s in samples]).num_tokens
    num_tokens = sum(len(s.prompt_ids) + len(s.completion_ids) for s in samples)
    ratio = dense_flops(samples, SHAPE) / forest_flops(samples, SHAPE)
    return {
        "row": name,
        "num_paths": len(samples),
        "num_tokens": num_tokens,
        "num_unique_tokens": num_unique,
        "seconds_forest": seconds,
        "seconds_trl": theirs.seconds,
        "seconds_dense": plain.seconds,
        "micro_batch_size_trl": sizes["trl"],
        "micro_batch_size_dense": sizes["dense"],
        "speedup_vs_trl": theirs.seconds / seconds,
        "speedup_vs_dense": plain.seconds / seconds,
        "token_ratio": num_tokens / num_unique,
        "flop_ratio": ratio,
        "share_of_flop_ratio": theirs.seconds / seconds / ratio,
        "peak_mib_forest": ours.peak_mib,
        "peak_mib_trl": theirs.peak_mib,
        "peak_mib_dense": plain.peak_mib,
        "peak_memory_ratio": ours.peak_mib / theirs.peak_mib,
        "logprob_max_diff": max((ours.logps - other.logps).abs().max().item() for other in (theirs, plain)),
        "grad_rel_diff": max(grad_difference(ours.grads, other.grads) for other in (theirs, plain)),
        "padded_tokens_if_one_batch": pad_samples(samples, torch.device("cpu")).input_ids.numel(),
    }


def grad_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest difference of an entry over the largest entry of that parameter's gradient; the worst parameter."""
    assert ours.keys() == theirs.keys()
    return max(((ours[n] - g).abs().max() / g.abs().max()).item() for n, g in theirs.items())


# -------------------------------------------------------------------------------------------------------- reporting


def main(names: Sequence[str]) -> None:
    path = RESULTS / "train_step.json"
    known = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    rows = {row["row"]: row for row in known if row["row"] in ROWS}
    columns = ("speedup_vs_trl", "speedup_vs_dense", "flop_ratio", "token_ratio", "peak_memory_ratio")
    print(f"{'row':31s}", *columns, "logprob_max_diff", "grad_rel_diff")
    for name in names:
        out = subprocess.run([sys.executable, __file__, "--row", name], stdout=subprocess.PIPE, text=True, check=True)
        row = rows[name] = json.loads(out.stdout.splitlines()[-1])
        numbers = [f"{row[column]:{len(column)}.2f}" for column in columns]
        print(f"{name:31s}", *numbers, f"{row['logprob_max_diff']:16.1e} {row['grad_rel_diff']:13.1e}", flush=True)
        report = {
            "command": "python bench/train_step.py",
            "threads": torch.get_num_threads(),
            "shape": SHAPE,
            "provenance": provenance(),
            "rows": [rows[each] for each in ROWS if each in rows],
        }
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    plot(rows, RESULTS / "train_step.png")


def plot(rows: dict[str, dict[str, Any]], path: Path) -> None:
    """Speed-up over trl and the FLOP ratio that bounds it, by prompt length and by group size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lengths = {1024: "P=1024", 2048: "P=2048", 4096: "one prompt", 8192: "P=8192"}
    groups = {2: "G=2", 8: "P=2048", 32: "G=32"}
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained", sharey=False)
    for axis, points, label in zip(
        axes, (lengths, groups), ("prompt tokens (8 completions of 128)", "completions (prompt of 2,048)"), strict=True
    ):
        found = {x: rows[name] for x, name in points.items() if name in rows}
        axis.plot(list(found), [r["speedup_vs_trl"] for r in found.values()], "o-", color="#0072b2", label="measured")
        axis.plot(list(found), [r["flop_ratio"] for r in found.values()], "--", color="gray", label="counted FLOPs")
        axis.set(xlabel=label, ylabel="speed-up over trl", xscale="log", ylim=(0, None))
        axis.set_xticks(list(found), [f"{x:,}" for x in found])
        axis.minorticks_off()
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="lower right")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        print(json.dumps(run_row(sys.argv[2])))
    else:
        main(sys.argv[1:] or list(ROWS))
