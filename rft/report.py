"""A run as one HTML page that needs no network, or several runs side by side.

    python rft/report.py checkpoints/demo
    python rft/report.py checkpoints/demo-seed0 checkpoints/demo-seed1 --output seeds.html

Training writes RUN/report.html by itself, at every checkpoint. Exit status 2 and one line on a user's mistake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rft.process_exit import refused, status_of
from rft.reporting.page import write_report


def main(argv: list[str] | None = None) -> int:
    """Parses, writes the page; returns the exit status."""
    parser = argparse.ArgumentParser(description="Writes a run, or several, as one HTML page.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--output", type=Path, help="the page; RUN/report.html for one run, else report.html here")
    arguments = parser.parse_args(argv)
    try:
        print(write_report(arguments.runs, arguments.output))
    except ValueError as error:
        return refused(error)
    return 0


if __name__ == "__main__":
    sys.exit(status_of(main))
