"""One rank of a rehearsal: rft/train.py itself, with stopwatches around what Python does on the host.

    accelerate launch ... bench/rehearsal/rank.py FOLDER CONFIG [section.key=value ...]

Writes FOLDER/rank-0.json, rank-1.json, ... : seconds by phase, the most memory the process held, how much of the model
it held under ZeRO-3.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rft import train
from rft.process_exit import leave

TIMED = {
    "prompts": ("rft.grpo.live_rollouts:LiveRollouts.units",),
    "samples": ("rft.grpo.live_rollouts:training_samples",),
    # The metrics of a rollout are gathered before its samples, so nobody waits for another rank's rollouts here.
    "gather": ("rft.grpo.live_rollouts:gather_lists",),
    "packing": ("rft.grpo.frozen_logprobs:packs_of_rank", "rft.grpo.optimizer_step:packs_of_rank"),
    "forest": (
        "rft.grpo.logprobs:token_paths", "rft.grpo.logprobs:build_forest", "rft.grpo.logprobs:plan_attention",
    ),
    "loss tensors": ("rft.grpo.optimizer_step:trained_tokens",),
}  # fmt: skip
"""Phase -> the functions that make it up, as the modules that call them name them."""


def main(folder: Path, arguments: list[str]) -> int:
    seconds: dict[str, float] = {}
    shards: dict[str, int] = {}
    for phase, places in TIMED.items():
        for place in places:
            replace(place, functools.partial(timed, seconds, phase))
    replace("vllm.v1.engine.core:get_request_block_hasher", lambda make: timed_result(seconds, "hashing", make))
    replace("rft.grpo.run:build_run", lambda build: counting_shards(shards, build))
    status = train.main(arguments)
    folder.mkdir(parents=True, exist_ok=True)
    report = {
        "host_seconds": seconds,
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "parameters": shards,
    }
    (folder / f"rank-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(report, indent=2) + "\n")
    return status


def replace(place: str, wrap: Callable[[Any], Any]) -> None:
    """Puts `wrap(f)` where `place`, module:name or module:Class.name, has f."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    setattr(owner, name, wrap(getattr(owner, name)))


def timed(seconds: dict[str, float], phase: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """`work`, its seconds added to a phase."""

    @functools.wraps(work)
    def watched(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - started

    return watched


def timed_result(seconds: dict[str, float], phase: str, make: Callable[..., Any]) -> Callable[..., Any]:
    """`make`, whose result is a function: that one is timed."""
    return lambda *args, **kwargs: timed(seconds, phase, make(*args, **kwargs))


def counting_shards(shards: dict[str, int], build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, which also notes how many of the policy's numbers there are, and how many this rank holds."""

    def built(*args: Any, **kwargs: Any) -> Any:
        run = build(*args, **kwargs)
        for parameter in run.policy.parameters():
            whole = getattr(parameter, "ds_numel", parameter.numel())
            shards["all"] = shards.get("all", 0) + whole
            shards["held"] = shards.get("held", 0) + parameter.numel()  # DeepSpeed leaves an empty tensor behind
            shard = getattr(parameter, "ds_tensor", None)
            shards["shard"] = shards.get("shard", 0) + (whole if shard is None else shard.numel())
        return run

    return built


if __name__ == "__main__":
    leave(main(Path(sys.argv[1]), sys.argv[2:]))
