"""Looks at a machine before a run: one line per probe, `ok`, `note` or `bad`.

    python rft/doctor.py [configs/qwen3_4b.yaml [section.key=value ...]]
    accelerate launch --num_processes 8 rft/doctor.py configs/qwen3_4b.yaml

Under a launcher the all-reduce is that of its ranks; the rest is asked once per machine. Exit status 2 where a line is
`bad`, else 0. Nothing is changed, and nothing is waited for longer than its time limit.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from collections.abc import Mapping

from rft.config import load_config
from rft.probes.probe import Finding, Probe, ask
from rft.process_exit import refused, status_of

PROBES = (
    # First, so that the other ranks of a launch need not wait.
    Probe(name="ranks", function="rft.probes.ranks:all_reduce", limit_s=120),
    Probe(name="config", function="rft.probes.software:settings", limit_s=60),
    Probe(name="versions", function="rft.probes.software:versions", limit_s=20),
    Probe(name="driver", function="rft.probes.machine:driver", limit_s=20),
    Probe(name="torch", function="rft.probes.machine:torch_build", limit_s=60),
    Probe(name="GPU memory", function="rft.probes.machine:gpu_memory", limit_s=20),
    Probe(name="host memory", function="rft.probes.machine:host_memory", limit_s=20),
    Probe(name="disk", function="rft.probes.machine:disk", limit_s=60),
    Probe(name="port", function="rft.probes.machine:port", limit_s=10),
    Probe(name="hub", function="rft.probes.software:hub", limit_s=20),
    Probe(name="wandb", function="rft.probes.software:wandb", limit_s=20),
    Probe(name="servers", function="rft.probes.software:servers", limit_s=120),
    Probe(name="vLLM", function="rft.probes.software:engine", limit_s=300),
)

LAUNCHER = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells its ranks; a probe that is one process must not take itself for one of them."""
KNOWS_RANKS = ("ranks", "config", "port")
"""Probes that are told."""


def main(argv: list[str] | None = None) -> int:
    """Asks every probe and prints what it finds; returns the exit status."""
    parser = argparse.ArgumentParser(description="Looks at this machine before a run.")
    parser.add_argument(
        "config", nargs="?", help="a yaml file of rft/train.py; without one only the machine is looked at"
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    options = parser.parse_intermixed_args(argv)
    # A launcher ends its ranks with SIGTERM: this way a probe in progress is ended with them.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    arguments = [options.config, *options.overrides] if options.config else []
    try:
        if arguments:
            load_config(options.config, options.overrides)
    except ValueError as error:
        return refused(error)
    if os.environ.get("LOCAL_RANK", "0") != "0":
        take_part(arguments)
        return 0
    found = [(probe.name, ask_and_print(probe, arguments)) for probe in PROBES]
    return 2 if any(finding.status == "bad" for _, finding in found) else 0


def take_part(arguments: list[str]) -> None:
    """What a rank does that is not the first of its machine: its part of the all-reduce.

    What goes wrong in it is printed; the exit status is the first rank's, which then fails in the same probe. A
    launcher ends all ranks when one fails, and the first would be cut off in the middle of its lines.
    """
    finding = ask(PROBES[0], arguments, os.environ)
    if finding.status == "bad":
        print_line(PROBES[0].name, finding)


def ask_and_print(probe: Probe, arguments: list[str]) -> Finding:
    finding = ask(probe, arguments, environment_of(probe, os.environ))
    print_line(probe.name, finding)
    return finding


def environment_of(probe: Probe, environment: Mapping[str, str]) -> dict[str, str]:
    if probe.name in KNOWS_RANKS:
        return dict(environment)
    told = ("ACCELERATE_", "TORCHELASTIC_")
    return {name: value for name, value in environment.items() if name not in LAUNCHER and not name.startswith(told)}


def print_line(name: str, finding: Finding) -> None:
    """`ok    disk         51 GiB free at ...`; under a launcher with the machine's name and the rank before it."""
    rank = os.environ.get("RANK")
    where = "" if rank is None else f"{socket.gethostname()} rank {rank}: "
    print(f"{where}{finding.status:4s}  {name:11s}  {finding.text}", flush=True)


if __name__ == "__main__":
    sys.exit(status_of(main))
