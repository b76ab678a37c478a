"""The planner's table of Qwen3-4B: what each recipe needs and how long it takes on 1, 8 and 16 GPUs of 80 and 141 GB.

    python bench/plan_table.py

Planned, not measured. Writes bench/results/plan_table.json, and the table into docs/planning.md between its markers. It
takes some minutes on a CPU.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from planning_page import write_table

from rft.config import load_config
from rft.parallel import parallel_mode
from rft.planning.cards import CARDS, GIB
from rft.planning.checks import check
from rft.planning.planner import Machine, RunPlan, plan_run
from rft.planning.shape import model_shape
from rft.telemetry.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench/results/plan_table.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Example: Run(name="32k, all weights", config="qwen3_4b.yaml")"""

    name: str
    config: str
    overrides: list[str] = field(default_factory=list)


LORA = ["model.lora.r=32", "train.deepspeed=null"]
RUNS = [
    Run(name="32k, all weights", config="qwen3_4b.yaml"),
    Run(name="32k, LoRA", config="qwen3_4b_lora.yaml"),
    Run(name="128k, all weights", config="qwen3_4b_128k.yaml"),
    Run(name="128k, LoRA", config="qwen3_4b_128k.yaml", overrides=LORA),
    Run(name="memory, all weights", config="qwen3_4b_memory.yaml"),
]
MACHINES = [
    Machine(card=CARDS[name], num_gpus=gpus, num_nodes=nodes)
    for name in ("h100", "h200")
    for gpus, nodes in ((1, 1), (8, 1), (8, 2))
]


def row(run: Run, machine: Machine) -> dict[str, Any]:
    """One line of the table."""
    where = {"run": run.name, "gpus": machine.num_ranks, "card": machine.card.name}
    config = load_config(ROOT / "configs" / run.config, run.overrides)
    try:
        check(config, machine.num_ranks)
    except ValueError as error:
        return {**where, "refused": str(error)}
    shape, _ = model_shape(config.model)
    plan = plan_run(config, machine, shape, parallel_mode(config, machine.num_ranks, {}))
    return {**where, **numbers(plan)}


def numbers(plan: RunPlan) -> dict[str, Any]:
    update = next(instant for instant in plan.memory.instants if instant.name == "update")
    time = plan.time
    assert time is not None
    return {
        "fits": plan.memory.fits,
        "fits_surely": plan.memory.fits_surely,
        "capacity_gib": plan.memory.capacity / GIB,
        "peak_at": plan.memory.peak.name,
        "peak_gib": plan.memory.peak.total.expected / GIB,
        "peak_high_gib": max(instant.total.high for instant in plan.memory.instants) / GIB,
        "update_gib": update.total.expected / GIB,
        "max_tokens_per_microbatch": plan.config.train.max_tokens_per_microbatch,
        "vllm_gpu_memory_utilization": plan.config.rollout.vllm_gpu_memory_utilization,
        "kv_cache_tokens": plan.memory.held.engine.kv_tokens if plan.memory.held.engine else 0,
        "batch_seconds": time.batch_seconds,
        "phases": {phase.name: phase.seconds for phase in time.phases},
        "split_into": time.split_into,
    }


HEADER = """\
| run | GPUs | fits | update GiB | peak GiB (at most) | tokens per micro-batch | engine's share | s per batch |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def line(found: dict[str, Any]) -> str:
    gpus = f"{found['gpus']} x {found['card']}"
    if "refused" in found:
        return f"| {found['run']} | {gpus} | refused | | | | | |"
    fits = "yes" if found["fits_surely"] else "probably" if found["fits"] else "no"
    peak = f"{found['peak_gib']:.0f} ({found['peak_high_gib']:.0f}) of {found['capacity_gib']:.0f}"
    cut = f", groups cut into {found['split_into']}" if found["split_into"] > 1 else ""
    seconds = f"{found['batch_seconds']:.0f}" if found["fits"] else ""
    return (
        f"| {found['run']} | {gpus} | {fits} | {found['update_gib']:.0f} | {peak} | "
        f"{found['max_tokens_per_microbatch']:,}{cut} | {found['vllm_gpu_memory_utilization']} | {seconds} |"
    )


def main() -> None:
    rows = []
    for run in RUNS:
        for machine in MACHINES:
            rows.append(row(run, machine))
            print(line(rows[-1]), flush=True)
    RESULTS.write_text(json.dumps({"provenance": provenance(), "rows": rows}, indent=2) + "\n", encoding="utf-8")
    write_table("bench/plan_table.py", [HEADER, *map(line, rows)])


if __name__ == "__main__":
    main()
