"""The planner's memory against what processes really use, on a CPU.

    python bench/plan_check.py
    python bench/plan_check.py ZeRO-3 "LoRA, checkpointed"     these alone, and nothing is written

Each case is a run of its own on saved samples (train.replay): one rollout batch with its optimizer steps, by the run's
own code, in one process or in two. Measured is the peak of the resident memory from the first optimizer step's batch
on, above what the process held before it loaded the model. The kernel counts it (VmHWM), so nothing is missed between
two looks; glibc is told to give every large block back at once (MALLOC_MMAP_THRESHOLD_), so that resident memory is
memory in use. Planned is what rft/planning says of the same config. Writes bench/results/plan_check.json and the table
in docs/planning.md; about 8 minutes of processor time. Fails where a plan is below what was measured, or far above it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from planning_page import write_table

RESULTS = Path(__file__).resolve().parent / "results/plan_check.json"
LOWEST, HIGHEST = 1.0, 1.2
"""Planned over measured."""
MIB = 2**20

PROMPT = 512
SIBLINGS = 4
COMPLETION = 128
TILE_TOKENS = 256
"""Of train.tiled_mlp, whose own tiles are longer than these micro-batches."""

SHAPE: dict[str, Any] = {
    "vocab_size": 16_384,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}

BASE: dict[str, Any] = {
    "train.max_tokens_per_microbatch": PROMPT + SIBLINGS * COMPLETION,
    "train.steps_per_generation": 2,
    "rollout.num_generations": SIBLINGS,
    "rollout.max_completion_length": COMPLETION,
    "data.max_prompt_length": PROMPT,
    "model.dtype": "float32",
    "log.report_to": "none",
    "checkpoint.save_steps": 2,
    "train.max_steps": 2,
    "train.max_logprob_gap": 1000.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Example: Case(ranks=2, zero=3, overrides={"train.gradient_checkpointing": True})"""

    ranks: int = 1
    zero: int | None = None
    """ZeRO stage; None is without DeepSpeed."""
    overrides: dict[str, Any] = field(default_factory=dict)


def questions(case: Case) -> int:
    """Of the rollout batch: two optimizer steps, in which every rank has two micro-batches."""
    return 4 * case.ranks


CHECKPOINTED = {"train.gradient_checkpointing": True}
LORA = {"model.lora.r": 16}
OFFLOADED = {**CHECKPOINTED, "train.activation_offloading": True}
TILED = {**CHECKPOINTED, "train.tiled_mlp": True}

CASES = {
    "plain": Case(),
    "checkpointed": Case(overrides=CHECKPOINTED),
    "reference model": Case(overrides={**CHECKPOINTED, "train.beta": 0.01}),
    "dense": Case(overrides={"train.shared_prefix": False, "train.per_device_train_batch_size": 2}),
    "LoRA": Case(overrides=LORA),
    "LoRA, checkpointed": Case(overrides={**LORA, **CHECKPOINTED}),
    "offloaded": Case(overrides=OFFLOADED),
    "tiled MLP": Case(overrides=TILED),
    # DDP makes its buckets anew in the second step, and fills them from then on.
    "DDP": Case(ranks=2, overrides={**CHECKPOINTED, "train.num_iterations": 2}),
    "DDP, LoRA": Case(ranks=2, overrides={**LORA, **CHECKPOINTED}),
    "ZeRO-2": Case(ranks=2, zero=2, overrides=CHECKPOINTED),
    "ZeRO-3": Case(ranks=2, zero=3, overrides=CHECKPOINTED),
    "ZeRO-3, bfloat16": Case(ranks=2, zero=3, overrides={**CHECKPOINTED, "model.dtype": "bfloat16"}),
    "ZeRO-3, LoRA": Case(ranks=2, zero=3, overrides={**LORA, **CHECKPOINTED}),
    "ZeRO-3, one rank": Case(ranks=1, zero=3, overrides=CHECKPOINTED),
}

BUCKET = 4_000_000
"""Elements of DeepSpeed's buckets, an eighth of the model as in the recipe."""


def deepspeed_settings(stage: int) -> dict[str, Any]:
    """configs/deepspeed/zero{stage}.json with buckets in proportion to the model, and every weight sharded."""
    path = Path(__file__).resolve().parents[1] / f"configs/deepspeed/zero{stage}.json"
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    settings["zero_optimization"]["reduce_bucket_size"] = BUCKET
    if stage == 3:
        settings["zero_optimization"] |= {
            "stage3_param_persistence_threshold": 0,
            "stage3_max_live_parameters": BUCKET,
            "stage3_max_reuse_distance": BUCKET,
            "stage3_prefetch_bucket_size": 0,
        }
    return settings


# ------------------------------------------------------------------------------------------------ the run of one case


def status(name: str) -> int:
    """A value of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def config_of(folder: Path, case: Case) -> Any:
    from rft.config import load_config

    overrides = {**BASE, **case.overrides, "model.model_name_or_path": folder / "model", "output_dir": folder / "run"}
    overrides["train.replay"] = folder / "samples"
    overrides["rollout.questions_per_batch"] = questions(case)
    if case.zero is not None:
        overrides["train.deepspeed"] = folder / "deepspeed.json"
    (folder / "config.yaml").write_text("{}\n", encoding="utf-8")
    return load_config(
        folder / "config.yaml", [f"{key}={json.dumps(value, default=str)}" for key, value in overrides.items()]
    )


def run_rank(folder: Path, case: Case) -> None:
    """One rank of a case; writes what it measured."""
    import torch

    from rft.distributed import gather_lists, start
    from rft.grpo import tiled_mlp
    from rft.grpo.run import build_run
    from rft.grpo.train import train_on_batch
    from rft.parallel import parallel_mode
    from rft.stop import StopRequest
    from rft.watching.watch import Watch

    torch.set_num_threads(1)
    tiled_mlp.TILE_TOKENS = TILE_TOKENS
    config = config_of(folder, case)
    mode = parallel_mode(config, case.ranks)
    accelerator = start(config, mode)
    warm_up(config)
    before = status("VmRSS")
    watch = Watch(folder, run="", rank=accelerator.process_index, num_ranks=case.ranks, stall_timeout_s=None)
    run = build_run(config, accelerator, None, None, stop=StopRequest(None), watch=watch)
    loaded = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    train_on_batch(run)
    measured = gather_lists(accelerator, [(status("VmHWM") - before, loaded - before)])
    if accelerator.is_main_process:
        (folder / "measured.json").write_text(json.dumps(measured), encoding="utf-8")
    run.log.close()
    os._exit(0)  # nothing is left to say, and libraries differ in how they leave


def warm_up(config: Any) -> None:
    """What libraries load and allocate once, at first use, belongs to no case: a tiny model goes the same way."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from rft.grpo.forest_attention import FOREST_ATTENTION
    from rft.grpo.logprobs import trained_token_logprobs
    from rft.grpo.replay import read_samples

    samples = read_samples(Path(config.train.replay), 0)[:2]
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "head_dim": 32}
    model = Qwen3ForCausalLM(Qwen3Config(**{**SHAPE, **small}, attn_implementation=FOREST_ATTENTION))
    if config.train.deepspeed is not None:
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401  and PyTorch's compiler, 45 MiB of modules
    optimizer = torch.optim.AdamW(model.parameters())
    trained_token_logprobs(model, samples, 1.0, shared_prefix=True, entropy=True).logps.sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


# -------------------------------------------------------------------------------------------------------------- parent


def make_model(folder: Path) -> None:
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from rft.cold_start.word_tokenizer import build_word_tokenizer

    torch.manual_seed(0)
    tokenizer = build_word_tokenizer(["A text."], SHAPE["max_position_embeddings"])
    tokenizer.save_pretrained(folder)
    shape = Qwen3Config(**SHAPE, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id)
    Qwen3ForCausalLM(shape).save_pretrained(folder)


def make_samples(folder: Path, num_questions: int) -> None:
    from rft.grpo.replay import save_samples
    from rft.records import Sample

    tokens = count(100)
    samples = []
    for place in range(num_questions):
        prompt = tuple(next(tokens) % SHAPE["vocab_size"] for _ in range(PROMPT))
        for sibling in range(SIBLINGS):
            samples.append(
                Sample(
                    prompt_ids=prompt,
                    completion_ids=tuple(next(tokens) % SHAPE["vocab_size"] for _ in range(COMPLETION)),
                    sampling_logprobs=(-1.0,) * COMPLETION,
                    advantage=1.0 if sibling % 2 else -1.0,
                    group=f"question-{place}",
                    place=place,
                )
            )
    save_samples(folder, 0, samples)


def measure(folder: Path, name: str, case: Case) -> list[tuple[int, int]]:
    """Peak and loaded memory of each rank, in bytes."""
    if case.zero is not None:
        (folder / "deepspeed.json").write_text(json.dumps(deepspeed_settings(case.zero)), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(case.ranks):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": "65536",
            "MALLOC_TRIM_THRESHOLD_": "65536",
            "MALLOC_ARENA_MAX": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "DS_ACCELERATOR": "cpu",
        }
        if case.ranks > 1:
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(case.ranks),
                "LOCAL_WORLD_SIZE": str(case.ranks),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
        command = [sys.executable, __file__, "--rank-of", name, "--folder", str(folder)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    outputs = [process.communicate()[0].decode() for process in processes]
    found = folder / "measured.json"
    if not found.exists():
        raise RuntimeError(f"case {name} failed:\n{outputs[0][-4000:]}")
    measured = [tuple(pair) for pair in json.loads(found.read_text(encoding="utf-8"))]
    found.unlink()
    return measured


def planned(folder: Path, case: Case) -> Any:
    from rft.grpo import tiled_mlp
    from rft.parallel import parallel_mode
    from rft.planning.memory import plan_memory
    from rft.planning.shape import model_shape

    tiled_mlp.TILE_TOKENS = TILE_TOKENS
    config = config_of(folder, case)
    shape, _ = model_shape(config.model)
    return plan_memory(config, shape, parallel_mode(config, case.ranks), capacity=2**40, on_cuda=False)


def check(name: str) -> dict[str, Any]:
    """One case, planned and measured."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_model(folder / "model")
        make_samples(folder / "samples", questions(case))
        measured = measure(folder, name, case)
        plan = planned(folder, case)
    peak = plan.peak
    return {
        "case": name,
        "ranks": case.ranks,
        "instant": peak.name,
        "planned_mib": peak.total.expected / MIB,
        "measured_mib": max(pair[0] for pair in measured) / MIB,
        "ratio": peak.total.expected / max(pair[0] for pair in measured),
        "parts_mib": {part: amount.expected / MIB for part, amount in peak.parts.items()},
        "loaded_mib": max(pair[1] for pair in measured) / MIB,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all if none is named")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of:
        run_rank(Path(arguments.folder), CASES[arguments.rank_of])
        return
    rows = []
    for name in arguments.cases or CASES:
        rows.append(check(name))
        row = rows[-1]
        parts = ", ".join(f"{part} {size:.0f}" for part, size in row["parts_mib"].items())
        print(
            f"{name:22s} planned {row['planned_mib']:7.1f} measured {row['measured_mib']:7.1f} "
            f"ratio {row['ratio']:.3f}  at {row['instant']}: {parts} (loaded {row['loaded_mib']:.0f})",
            flush=True,
        )
    if not arguments.cases:
        write(rows)
    wrong = [row["case"] for row in rows if not LOWEST <= row["ratio"] <= HIGHEST]
    if wrong:
        sys.exit(f"not between {LOWEST} and {HIGHEST} times what was measured: {', '.join(wrong)}")


HEADER = """\
| run | processes | planned MiB | measured MiB | planned / measured | fullest |
| --- | --- | --- | --- | --- | --- |"""


def line(row: dict[str, Any]) -> str:
    return (
        f"| {row['case']} | {row['ranks']} | {row['planned_mib']:.0f} | {row['measured_mib']:.0f} | "
        f"{row['ratio']:.2f} | {row['instant']} |"
    )


def write(rows: list[dict[str, Any]]) -> None:
    from rft.telemetry.provenance import provenance

    found = {"command": "python bench/plan_check.py", "provenance": provenance(), "rows": rows}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    write_table("bench/plan_check.py", [HEADER, *map(line, rows)])


if __name__ == "__main__":
    main()
