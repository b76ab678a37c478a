"""What a run leaves: compared with an uninterrupted one, bit for bit where a bit can be the same."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

TIMES = ("time/", "step_time", "tokens_per_second", "update/tokens_per_second", "peak_memory_gib")
"""Metrics that no two runs have in common."""
NOT_OF_STEPS = ("wall_seconds", "save_seconds", "passing_steps")


def differences(run: Path, straight: Path) -> list[str]:
    """What of `run` is not as in `straight`; nothing where it should be."""
    found = [f"{path.name} was left" for path in run.iterdir() if path.name.startswith(".")]
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        found += row_differences(name, rows(run / name), rows(straight / name))
    folders = [sorted(path.name for path in folder.glob("checkpoint-*")) for folder in (run, straight)]
    if folders[0] != folders[1]:
        found.append(f"checkpoints {folders[0]}, and {folders[1]} without interruption")
    if (run / "best").resolve().name != (straight / "best").resolve().name:
        found.append("best is another checkpoint")
    for name in sorted(set(folders[0]) & set(folders[1])):
        found += checkpoint_differences(run / name, straight / name)
    if plain(json.loads((run / "summary.json").read_text())) != plain(
        json.loads((straight / "summary.json").read_text())
    ):
        found.append("summary.json differs")
    return found


def rows(path: Path) -> list[dict[str, Any]]:
    return [plain(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith(TIMES) and key not in NOT_OF_STEPS}


def row_differences(name: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[str]:
    if [row["step"] for row in ours] != [row["step"] for row in theirs]:
        return [f"{name} has rows of steps {[row['step'] for row in ours]}, not {[row['step'] for row in theirs]}"]
    pairs = zip(ours, theirs, strict=True)
    return [
        f"{name}, step {a['step']}: {[key for key in a | b if not same(a.get(key), b.get(key))]}"
        for a, b in pairs
        if a != b
    ]


def same(a: Any, b: Any) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def checkpoint_differences(ours: Path, theirs: Path) -> list[str]:
    names = [
        sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) for folder in (ours, theirs)
    ]
    if names[0] != names[1]:
        return [f"{ours.name} has other files: {sorted(set(names[0]) ^ set(names[1]))}"]
    return [f"{ours.name}/{name} differs" for name in names[0] if not same_file(ours / name, theirs / name)]


def same_file(ours: Path, theirs: Path) -> bool:
    if ours.name in ("files.json", "rft_config.yaml"):
        return True  # hashes of what is compared here, and the folder's own name
    if ours.name == "trainer_state.json":
        return plain(json.loads(ours.read_text())) == plain(json.loads(theirs.read_text()))
    if ours.suffix == ".safetensors":
        return equal(load_file(ours), load_file(theirs))
    if ours.suffix in (".bin", ".pt", ".pkl"):
        return equal(load(ours), load(theirs))
    return ours.read_bytes() == theirs.read_bytes()


def load(path: Path) -> Any:
    # Of this bench's own runs.
    return torch.load(path, map_location="cpu", weights_only=False)  # nosec B614


def equal(a: Any, b: Any) -> bool:
    """Of nested values with tensors."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if hasattr(a, "tobytes"):
        return bool(a.tobytes() == b.tobytes())
    if hasattr(a, "__dict__") and not isinstance(a, type):
        return equal(vars(a), vars(b))
    return bool(a == b)


def processes_of(folder: Path) -> list[str]:
    """Commands that still run with this folder among their arguments."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if process.pid != psutil.Process().pid and any(str(folder) in word for word in command):
            found.append(" ".join(command)[:200])
    return found
