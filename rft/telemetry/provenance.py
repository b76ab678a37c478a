"""What a run was made of: the resolved config, the versions, the commit, the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

import rft
from rft.config import Config, to_dict

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "deepspeed", "vllm", "datasets", "wandb")


def write_provenance(output_dir: Path, config: Config) -> None:
    """Writes config.yaml (resolved, ready to be run again) and provenance.json into the run folder."""
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / "config.yaml").write_text(yaml.safe_dump(to_dict(config), sort_keys=False), encoding="utf-8")
    (output_dir / "provenance.json").write_text(json.dumps(provenance(), indent=2) + "\n", encoding="utf-8")


def provenance() -> dict[str, Any]:
    """Day, versions, commit and machine as plain values. No environment variable is read, so no secret can leak."""
    import torch  # seconds to import, and programs that only print need this module, too

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "rft": rft.__version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := installed_version(name))},
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "num_cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def cpu_name() -> str | None:
    """As Linux names it; None elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def installed_version(package: str) -> str | None:
    """Version of a distribution, None where it is not installed; vLLM's CPU build has a name of its own."""
    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def git_commit() -> str | None:
    """Commit of this source tree, with `-dirty` when it has changes; None outside a checkout.

    What benchmarks write (results, and tables in pages) is no change of the source: the second of two would otherwise
    never have a clean tree.
    """
    root = Path(rft.__file__).resolve().parents[1]
    try:
        commit = git(root, "rev-parse", "HEAD")
        changes = git(root, "status", "--porcelain", "--", ".", ":(exclude)bench/results", ":(exclude)docs/*.md")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True).stdout.strip()
