"""Systems side by side on the same questions, controls beside every result.

    python rft/evaluate.py configs/qwen3_4b.yaml model.model_name_or_path=checkpoints/qwen3_4b/best
    python rft/evaluate.py configs/demo.yaml system=full_history,controls eval.num_questions=100
    python rft/evaluate.py configs/qwen3_4b.yaml compare.endpoint.model=gpt-5-mini compare.protocol=final_answer

A training config says which model, data and engine. Results go to OUTPUT_DIR/evaluation (rft/eval/results.py); a
comparison that was stopped continues, and nothing is asked twice. Exit status 2 and one line on a user's mistake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rft.config import parse_config
from rft.eval.comparison import Comparison
from rft.eval.config import ComparisonConfig
from rft.eval.config_check import check_comparison
from rft.eval.results import as_table
from rft.reporting.page import write_report
from rft.telemetry.provenance import provenance


def main(argv: list[str] | None = None) -> int:
    """Parses, checks, asks, writes the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="Compares systems and controls on the same questions.")
    parser.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    arguments = parser.parse_args(argv)
    try:
        config: ComparisonConfig = parse_config(ComparisonConfig, arguments.config, arguments.overrides)
        check_comparison(config)
        comparison = Comparison(config)
        for line in comparison.left_out:
            print(f"note: {line}", file=sys.stderr)
        try:
            results = comparison.compare_systems(provenance())
        finally:
            comparison.close()
        print(as_table(results))
        print(f"\n{comparison.folder / 'results.json'}\n{write_report([Path(config.output_dir)])}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
