"""Writes a data set of our own making.

    python rft/make_data.py synthetic out --personas 1000 --questions 25 --history-tokens 32000 --seed 0
    python rft/make_data.py synthetic out --personas 400 --questions 8 --history-tokens 500 --style brief

Exit status 2 and one line on a user's mistake.
"""

from __future__ import annotations

import os
import sys

if not __package__:  # run as a script: its folder is first on the path, where types.py would hide Python's own
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import argparse

from rft.data.synthetic import write_dataset


def main(argv: list[str] | None = None) -> int:
    """Parses, writes; returns the exit status."""
    arguments = parse_arguments(argv)
    try:
        write_dataset(
            arguments.out,
            num_personas=arguments.personas,
            questions_per_persona=arguments.questions,
            history_tokens=arguments.history_tokens,
            seed=arguments.seed,
            style=arguments.style,
            decoys=arguments.decoys,
            num_val_personas=arguments.val_personas,
            num_benchmark_personas=arguments.benchmark_personas,
            windows=arguments.windows,
            progress=sys.stderr.isatty(),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.personas} personas x {arguments.questions} questions in {arguments.out}")
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Writes a data set of our own making.")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    synthetic = kinds.add_parser("synthetic", help="personas from word lists, in the layout of PersonaMem-v2")
    synthetic.add_argument("out", help="folder to write into")
    synthetic.add_argument("--personas", type=int, default=1000)
    synthetic.add_argument("--questions", type=int, default=25, help="questions per persona")
    synthetic.add_argument("--history-tokens", type=int, default=32_000, help="length of a 32k history")
    synthetic.add_argument("--seed", type=int, default=0)
    synthetic.add_argument("--style", choices=("full", "brief"), default="full", help="brief: 50 tokens per question")
    synthetic.add_argument("--decoys", type=float, default=0.5, help="how often a wrong value is mentioned as well")
    synthetic.add_argument("--val-personas", type=int, help="default: a tenth")
    synthetic.add_argument("--benchmark-personas", type=int, help="default: a tenth")
    synthetic.add_argument("--windows", nargs="+", choices=("32k", "128k"), default=["32k"])
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
