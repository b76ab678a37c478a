"""The memory demo with two seeds, and what its memories hold beside the controls.

    python bench/demo_memory.py [SEED ...]

Writes bench/results/demo_memory.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from demo import RESULTS, ROOT, compare_systems

from rft.telemetry.provenance import provenance

CONTROLS = ("system=memory,evidence_only,controls", "data.max_prompt_length=640")


def main(seeds: list[int]) -> None:
    report = {
        "command": "python bench/demo_memory.py",
        "provenance": provenance(),
        "seeds": {str(seed): run(seed) for seed in seeds},
        "controls": compare_systems("demo_memory", folder_of(seeds[0]), CONTROLS),
    }
    (RESULTS / "demo_memory.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def run(seed: int) -> dict[str, Any]:
    """One run's summary, and the memories' lengths in its first and last evaluation."""
    folder = ROOT / folder_of(seed)
    command = [str(ROOT / "launch" / "demo.sh"), "memory", f"train.seed={seed}", f"output_dir={folder_of(seed)}"]
    subprocess.run(command, cwd=ROOT, check=True)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    tokens = [row["eval/memory_tokens_mean"] for row in rows if "eval/memory_tokens_mean" in row]
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return summary | {"memory_tokens_before": tokens[0], "memory_tokens_after": tokens[-1]}


def folder_of(seed: int) -> str:
    return f"checkpoints/demo_memory-seed{seed}"


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1])
