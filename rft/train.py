"""GRPO on PersonaMem-v2, from one yaml file.

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

import yaml

from rft.config import Config, load_config, to_dict
from rft.plan import check, describe, describe_batch, make_plan, training_length
from rft.process_exit import leave


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
        run_parts = prepare(config, world_size)
    except ValueError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        return 2
    from rft.grpo.run import build_run
    from rft.grpo.train import train

    train(build_run(config, *run_parts))
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GRPO on PersonaMem-v2.")
    parser.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and the plan, then exit")
    return parser.parse_intermixed_args(argv)


def dry_run(config: Config, world_size: int) -> None:
    """Prints the resolved config and the plan; reads the data where they are on this machine."""
    print(yaml.safe_dump(to_dict(config), sort_keys=False))
    remote = [name for name in (config.data.source, config.model.model_name_or_path) if not Path(name).exists()]
    if remote:
        print(f"training         {training_length(config)}\n{describe_batch(config, world_size)}")
        print(f"not counted      {' and '.join(remote)}: not on this machine, and a dry run downloads nothing")
        return
    from rft.grpo.data import load_data

    data = load_data(config)
    print(describe(make_plan(config, world_size, len(data.train)), config, world_size))


def prepare(config: Config, world_size: int):  # type: ignore[no-untyped-def]
    """The process group and the data; the main process prepares first, the others read its cache."""
    from rft.distributed import start
    from rft.grpo.data import load_data
    from rft.grpo.forest_attention import check_dtype
    from rft.models import resolve_dtype

    accelerator = start(config)
    if config.train.shared_prefix:
        check_dtype(resolve_dtype(config.model), accelerator.device)
    with accelerator.main_process_first():
        data = load_data(config)
    plan = make_plan(config, world_size, len(data.train))
    if accelerator.is_main_process:
        print(describe(plan, config, world_size))
    return accelerator, data


if __name__ == "__main__":
    leave(main())
