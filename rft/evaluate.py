"""Systems side by side on the same questions, controls beside every result.

    python rft/evaluate.py configs/qwen3_4b.yaml model.model_name_or_path=checkpoints/qwen3_4b/best
    python rft/evaluate.py configs/demo.yaml system=full_history,controls eval.num_questions=100
    python rft/evaluate.py configs/qwen3_4b.yaml compare.endpoint.model=gpt-5-mini compare.protocol=final_answer
    torchrun --nproc-per-node 8 rft/evaluate.py configs/qwen3_4b.yaml

A training config says which model, data and engine. Results go to OUTPUT_DIR/evaluation (rft/eval/results.py); a
comparison that was stopped continues, and nothing is asked twice, on however many processes. Of several, launched with
torchrun or accelerate, each has an engine of its own and answers for whole contexts; the first one asks what needs no
engine: an endpoint, the rules, a judge. Exit status 2 and one line on a user's mistake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rft.config import parse_config
from rft.eval.config import ComparisonConfig
from rft.eval.ranks import Ranks
from rft.eval.results import as_table
from rft.eval.systems import choose_systems
from rft.process_exit import FINISHED, INTERRUPTED, leave, refused, status_of
from rft.reporting.page import write_report
from rft.telemetry.provenance import provenance


def main(argv: list[str] | None = None) -> int:
    """Parses, checks, asks, writes the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compares systems and controls on the same questions.")
    parser.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    arguments = parser.parse_args(argv)
    ranks = Ranks.launched()
    try:
        config: ComparisonConfig = parse_config(ComparisonConfig, arguments.config, arguments.overrides)
        from rft.eval.config_check import check_comparison  # seconds to import, and a misspelt key is told before

        check_comparison(config)
        if not asks_local_model(config):
            if not ranks.is_first:
                return FINISHED
            ranks = Ranks()
        compare(config, ranks)
    except ValueError as error:
        return refused(error)
    except KeyboardInterrupt:
        if ranks.is_first:
            print("stopped; the same command continues", file=sys.stderr)
        return INTERRUPTED
    return FINISHED


def asks_local_model(config: ComparisonConfig) -> bool:
    """Whether there is work for more than one process: an endpoint and the rules are asked by one."""
    return not config.uses_endpoint and any(system.kind != "rule" for system in choose_systems(config.system))


def compare(config: ComparisonConfig, ranks: Ranks) -> None:
    """Asks on all ranks, and writes and prints the table on the first."""
    from rft.eval.comparison import Comparison

    ranks.join(config.train.ddp_timeout)
    comparison = ranks.one_machine_after_another(lambda: Comparison(config, ranks))
    try:
        if ranks.is_first:
            for line in comparison.left_out:
                print(f"note: {line}", file=sys.stderr)
        comparison.ask_systems()
        if ranks.is_first:
            print(as_table(comparison.make_table(provenance())))
            print(f"\n{comparison.folder / 'results.json'}\n{write_report([Path(config.output_dir)])}")
    finally:
        comparison.close()
    ranks.leave()


if __name__ == "__main__":
    leave(status_of(main))
