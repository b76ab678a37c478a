"""What a rank finds after `rft.distributed.start`, and after a policy was loaded.

Usage: rank_facts.py OUT [KEY=VALUE ...]. Each rank writes OUT/RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from rft.config import Config, load_config
from rft.distributed import gather_lists, start
from rft.models import load_policy
from rft.parallel import parallel_mode
from rft.process_exit import leave
from tests.tiny import tiny_qwen3


def main(out: Path, overrides: list[str]) -> None:
    (out / "run.yaml").write_text("train: {}\n")
    config: Config = load_config(out / "run.yaml", overrides)
    config.model.dtype = "float32"
    mode = parallel_mode(config, int(os.environ.get("WORLD_SIZE", "1")))
    accelerator = start(config, mode)
    if accelerator.is_main_process and not (out / "model").exists():
        tiny_qwen3(tied=True).save_pretrained(out / "model")
    accelerator.wait_for_everyone()
    config.model.model_name_or_path = str(out / "model")
    policy = load_policy(config.model, False)
    held = sum(weight.numel() for weight in policy.parameters())
    partitioned = [hasattr(weight, "ds_tensor") and weight.numel() == 0 for weight in policy.parameters()]
    policy = accelerator.prepare(policy, torch.optim.AdamW(policy.parameters()))[0]
    policy(input_ids=torch.arange(8)[None])
    facts = {
        "kind": mode.kind,
        "said": mode.describe(),
        "type": str(accelerator.distributed_type),
        "ranks": gather_lists(accelerator, [accelerator.process_index]),
        "device": str(accelerator.device),
        "held": held,
        "partitioned": [all(partitioned), any(partitioned)],
        "timeouts": timeouts(),
    }
    (out / f"{accelerator.process_index}.json").write_text(json.dumps(facts))
    accelerator.wait_for_everyone()


def timeouts() -> list[float]:
    """Seconds after which each process group gives up."""
    from torch.distributed import distributed_c10d

    groups = distributed_c10d._world.pg_map
    return [group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in groups]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
    leave(0)
