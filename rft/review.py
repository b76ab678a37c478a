"""A page on which a person looks at a sample of a data set, and the data set without what that person dropped.

    python rft/review.py sample out review --questions 50 --seed 0
    python rft/review.py drop out verdicts.json out_reviewed

The page needs no network and no server; it saves verdicts to a file (docs/auditing.md). Exit status 2 and one line on a
user's mistake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rft.auditing.drops import MANIFEST, read_verdicts, write_without_drops
from rft.auditing.review import draw, review_material
from rft.auditing.sources import Source, layout_of, open_sources
from rft.config import DataConfig
from rft.process_exit import refused, status_of
from rft.reporting.review_page import render_review


def main(argv: list[str] | None = None) -> int:
    """Parses, writes; returns the exit status."""
    arguments = parse_review_arguments(argv)
    try:
        print(arguments.run(arguments))
    except ValueError as error:
        return refused(error)
    return 0


def write_sample(arguments: argparse.Namespace) -> str:
    if arguments.questions < 1:
        raise ValueError(f"--questions {arguments.questions}: at least one question is needed")
    source = open_source(arguments.data)
    questions = draw(source, arguments.questions, arguments.seed, arguments.split)
    page = render_review(review_material(source, questions, arguments.seed))
    path: Path = arguments.out / "review.html"
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); name another folder") from None
    return f"{path}: {len(questions)} questions"


def write_drops(arguments: argparse.Namespace) -> str:
    verdicts = read_verdicts(arguments.verdicts)
    num_dropped = write_without_drops(open_source(arguments.data), verdicts, arguments.out)
    return f"{num_dropped} questions dropped, {arguments.out / MANIFEST} names them"


def open_source(data: str) -> Source:
    """The first window of a data set."""
    return open_sources(DataConfig(source=data), layout_of(data))[0]


def parse_review_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Looks at a sample of a data set, and drops what is no good.")
    kinds = parser.add_subparsers(required=True, metavar="COMMAND")
    sample = kinds.add_parser("sample", help="write the page")
    sample.set_defaults(run=write_sample)
    sample.add_argument("data", help="a folder or file in any layout that data.format names")
    sample.add_argument("out", type=Path, help="folder of review.html")
    sample.add_argument("--questions", type=int, default=50, help="how many are drawn")
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--split", help="draw of this split alone")
    drop = kinds.add_parser("drop", help="write the data set without what was dropped")
    drop.set_defaults(run=write_drops)
    drop.add_argument("data", help="the data set that was looked at")
    drop.add_argument("verdicts", type=Path, help="the file that the page saved")
    drop.add_argument("out", type=Path, help="a new folder")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(status_of(main))
