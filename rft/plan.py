"""What a run will need, before anything is bought or queued: memory of each GPU, time, and what would make it fit.

    python rft/plan.py configs/qwen3_4b.yaml --gpus 8 --gpu h100
    python rft/plan.py configs/qwen3_4b_128k.yaml --gpus 8 --nodes 2 --gpu h200 plan.num_questions=18549
    python rft/plan.py configs/qwen3_4b.yaml --gpus 8 --gpu h100 --memory-gib 60 train.tiled_mlp=true

It needs no GPU, no weights and no network, and takes seconds; a minute or two where a run does not fit, since ways out
are found by trying them. Exit status 0 if the run is expected to fit, 1 if not, 2 and one line on a user's mistake.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from rft.config import Config, load_config
from rft.parallel import parallel_mode
from rft.planning.checks import check
from rft.planning.size import RunSize, size_of_run
from rft.process_exit import USERS_MISTAKE, refused, status_of

FITS, DOES_NOT_FIT = 0, 1


def main(argv: list[str] | None = None) -> int:
    """Prints the plan; returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        config = load_config(arguments.config, arguments.overrides)
        return print_plan(config, arguments)
    except ValueError as error:
        return refused(error)


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(USERS_MISTAKE, f"error: {message}\n")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = OneLineParser(description="What a run will need of memory and time.")
    parser.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    parser.add_argument("--gpus", type=positive, default=8, help="of each machine (default: 8)")
    parser.add_argument("--nodes", type=positive, default=1, help="machines (default: 1)")
    parser.add_argument(
        "--gpu", help="a100-80, h100, h200 or b200 (default: plan.gpu of the config, else this machine's, else h100)"
    )
    parser.add_argument("--memory-gib", type=float, help="of each GPU, in place of what such a card has")
    return parser.parse_intermixed_args(argv)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def print_plan(config: Config, arguments: argparse.Namespace) -> int:
    # A plan touches no GPU, and DeepSpeed, which others import, would otherwise say that it looked for one.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # These import torch and transformers, which takes seconds; a wrong key is told before.
    from rft.planning.cards import planned_card
    from rft.planning.planner import Machine, plan_run
    from rft.planning.remedies import ways_out
    from rft.planning.report import full_report
    from rft.planning.shape import model_shape

    card = planned_card(arguments.gpu or config.plan.gpu, arguments.memory_gib)
    machine = Machine(card=card, num_gpus=arguments.gpus, num_nodes=arguments.nodes)
    check(config, machine.num_ranks)
    mode, size = parallel_mode(config, machine.num_ranks, {}), size_of(config, machine.num_ranks)
    shape, source = model_shape(config.model)
    plan = plan_run(config, machine, shape, mode)
    ways = [] if plan.memory.fits else ways_out(config, machine, shape, {})
    print(full_report(plan, config, source, size, ways))
    return FITS if plan.memory.fits else DOES_NOT_FIT


def size_of(config: Config, num_ranks: int) -> RunSize | None:
    """The size of the run where the config alone says it."""
    if config.plan.num_questions is not None:
        return size_of_run(config, num_ranks, config.plan.num_questions)
    if config.train.max_steps > 0:
        return size_of_run(config, num_ranks, config.rollout.questions_per_batch)
    return None


if __name__ == "__main__":
    sys.exit(status_of(main))
