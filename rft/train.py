"""GRPO on questions about long contexts, from one yaml file.

    accelerate launch rft/train.py configs/qwen3_4b.yaml
    accelerate launch rft/train.py configs/qwen3_4b.yaml train.learning_rate=1e-6 data.window=128k
    python rft/train.py configs/qwen3_4b.yaml --dry-run

Exit status 2 and one line on a user's mistake, before any model loads.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rft.config import Config, load_config, to_dict
from rft.plan import Plan, check, describe, make_plan, replay_plan, without_effect
from rft.process_exit import leave

# torch and transformers are imported once the config is found sound: a wrong key is answered at once.
if TYPE_CHECKING:
    from accelerate import Accelerator

    from rft.grpo.data import Data


def main(argv: list[str] | None = None) -> int:
    """Parses, checks, prepares the data, trains; returns the exit status."""
    arguments = parse_arguments(argv)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        config = load_config(arguments.config, arguments.overrides)
        check(config, world_size)
        if arguments.dry_run:
            dry_run(config, world_size)
            return 0
        accelerator, data = prepare(config, world_size)
    except ValueError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    from rft.grpo.run import build_run
    from rft.grpo.train import train

    train(build_run(config, accelerator, data))
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GRPO on questions about long contexts.")
    parser.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and the plan, then exit")
    return parser.parse_intermixed_args(argv)


def dry_run(config: Config, world_size: int) -> None:
    """Prints the resolved config and the plan; reads the data where they are on this machine."""
    print(yaml.safe_dump(to_dict(config), sort_keys=False))
    places = {config.data.source: os.path.expanduser(config.data.source)}
    places[config.model.model_name_or_path] = config.model.model_name_or_path
    remote = [name for name, place in places.items() if not Path(place).exists()]
    if remote:
        say_plan(config, world_size)
        print(f"not counted      {' and '.join(remote)}: not on this machine, and a dry run downloads nothing")
        return
    _, plan = load(config, world_size)
    say_plan(config, world_size, plan)


def prepare(config: Config, world_size: int) -> tuple[Accelerator, Data | None]:
    """The process group and the data, once everything is checked that needs no weights.

    Returns:
        data: None with train.replay, where nothing is asked.
    """
    from rft.checkpoint import check_writable, find_resumable
    from rft.distributed import start
    from rft.grpo.forest_attention import check_dtype
    from rft.grpo.run import attention
    from rft.models import check_layers, resolve_dtype

    check_writable("output_dir", Path(config.output_dir))
    find_resumable(config)
    if config.model.lora.r > 0 or not config.train.shared_prefix:
        check_layers(config.model, attention(config))
    accelerator = start(config)
    if config.train.shared_prefix:
        check_dtype(resolve_dtype(config.model), accelerator.device)
    with accelerator.main_process_first():
        # The main process prepares the data, the others read its cache.
        data, plan = load(config, world_size)
    if accelerator.is_main_process:
        say_plan(config, world_size, plan)
    return accelerator, data


def load(config: Config, world_size: int) -> tuple[Data | None, Plan]:
    """The data and the size of the run; no data with train.replay.

    Raises:
        ValueError: data or a model that cannot be used.
    """
    from rft.grpo.data import check_model, load_data
    from rft.grpo.replay import num_saved

    if config.train.replay is not None:
        check_model(config)
        return None, replay_plan(config, num_saved(Path(config.train.replay)))
    data = load_data(config)
    return data, make_plan(config, world_size, len(data.train))


def say_plan(config: Config, world_size: int, plan: Plan | None = None) -> None:
    """Prints the plan, and what of the config does nothing."""
    import torch

    print(describe(config, world_size, plan))
    for line in without_effect(config, on_cuda=torch.cuda.is_available()):
        print(f"note: {line}")


if __name__ == "__main__":
    leave(main())
