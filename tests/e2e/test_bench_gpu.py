"""bench/gpu.py at toy size on a CPU: the code that a rented hour of a GPU will run, and what it says across parts."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.e2e.runs import ROOT

# The part without cascade is the one with it, less the cycle: a CPU has no cascade attention to switch off.
PARTS = (
    "kernels", "update_forest", "update_trl", "engine_with_cascade", "update_fast", "update_long", "demo", "tests",
    "plans",
)  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", ROOT / "bench" / "gpu.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gpu")
    finished = subprocess.run(
        [sys.executable, "bench/gpu.py", "--toy", "--parts", ",".join(PARTS), "--out", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=590,
    )  # fmt: skip
    logs = "".join(log.read_text()[-3000:] for log in folder.glob("*.log"))
    assert finished.returncode == 0, finished.stdout + finished.stderr + logs
    return [json.loads(line) for line in (folder / "gpu.jsonl").read_text().splitlines()]


def of_part(lines: list[dict[str, Any]], part: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["part"] == part]


@pytest.mark.slow
def test_every_part_ends_and_nothing_fails(lines: list[dict[str, Any]]) -> None:
    assert not [line for line in lines if "error" in line]
    for part in PARTS:
        assert of_part(lines, part)[-1]["wall_seconds"] > 0
    assert all(line["toy"] for line in lines)


@pytest.mark.slow
def test_kernels_agree_and_are_timed(lines: list[dict[str, Any]]) -> None:
    agreement, speed, _ = of_part(lines, "kernels")
    assert agreement["agrees"] and speed["num_tokens"] == 512 + 8 * 16
    assert speed["forward_seconds"] > 0 and speed["tflops"] > 0


@pytest.mark.slow
def test_the_update_is_measured_beside_its_plan_and_trl(lines: list[dict[str, Any]]) -> None:
    plans = {line.get("case"): line for line in of_part(lines, "plans")}
    found = {line.get("case"): line for line in of_part(lines, "update_forest")}
    for siblings, questions in ((8, 1), (16, 1), (8, 4)):
        (case, *_) = [
            one for one in found.values() if (one.get("siblings"), one.get("questions")) == (siblings, questions)
        ]
        assert case["seconds"] > 0 and case["peak_gib"] > 0 and case["forward_flops"] > 0 and case["flop_ratio"] > 3
        assert plans[case["case"]]["planned_gib"] > 0
    trl = {line.get("case"): line for line in of_part(lines, "update_trl")}
    two = trl["2 sequences, micro-batch of 1"]
    assert 4 * two["forward_flops"] > 3 * found["8 completions"]["forward_flops"]
    assert trl["log-probs on a short prompt"]["logprob_max_diff"] <= 1e-5
    (summary,) = of_part(lines, "summary")
    assert summary["speedup_vs_trl_16"] > 0


@pytest.mark.slow
def test_what_saves_memory_is_measured_on_the_longest_history(lines: list[dict[str, Any]]) -> None:
    (long, _), (fast, _) = of_part(lines, "update_long"), of_part(lines, "update_fast")
    assert long["history"] == 1024 and long["tokens"] == 1024 + 8 + 8 * 16
    assert fast["case"] == "16 completions, tiled MLP, offloaded inputs" and fast["kernel"] == long["kernel"]
    assert {fast["case"], long["case"]} < {line.get("case") for line in of_part(lines, "plans")}


@pytest.mark.slow
def test_the_tests_of_a_gpu_are_counted(lines: list[dict[str, Any]]) -> None:
    run, _ = of_part(lines, "tests")
    assert (run["status"], run["passed"], run["failed"]) == (0, 0, []) and run["skipped"] > 10


@pytest.mark.slow
def test_the_engine_holds_the_weights_of_the_trainer(lines: list[dict[str, Any]]) -> None:
    found = {line.get("case"): line for line in of_part(lines, "engine_with_cascade")}
    for sequences in (32, 64):
        decoded = found[f"{sequences} completions on one history"]
        assert decoded["steps"] == decoded["steps_with_one_prefix"] == 8
        assert decoded["prefix_cache_hit_rate"] > 0.9
    assert found["first sync"]["gap"] <= 1e-5 and found["first sync"]["same_tokens_twice"]
    for number in (1, 2):
        cycle = found[f"cycle {number}"]
        assert cycle["gap"] <= 1e-5 < 1e-3 < cycle["gap_without_sync"]


@pytest.mark.slow
def test_the_demo_takes_a_step(lines: list[dict[str, Any]]) -> None:
    run, _ = of_part(lines, "demo")
    assert run["steps"] == 1 and 0 <= run["max_logprob_gap"] <= 1e-4
    assert "KV cache of" in run["engine"]


def test_the_summary_puts_parts_side_by_side(bench: ModuleType) -> None:
    case = "64 completions on one history"
    eight = {"case": "8 completions", "siblings": 8, "questions": 1, "flop_ratio": 5.0}
    lines = [
        {"part": "update_trl", "seconds_per_sequence": 6.0},
        {"part": "update_trl", "seconds_per_sequence": 5.0},
        {"part": "update_forest", "kernel": "aten", "seconds": 10.0} | eight,
        {"part": "update_fast", "kernel": "flash_attn_4", "seconds": 8.0} | eight,
        {"part": "engine_with_cascade", "case": case, "cascade": True, "milliseconds_per_step": 10.0},
        {"part": "engine_without_cascade", "case": case, "cascade": False, "milliseconds_per_step": 40.0},
    ]
    assert bench.summary(lines) == {
        "speedup_vs_trl_8": 5.0,
        "share_of_flop_ratio_8": 1.0,
        "fastest_8": "8 completions, flash_attn_4",
        f"decode_speedup_by_cascade, {case}": 4.0,
    }
    assert bench.summary([]) == {}


def test_a_part_that_fails_or_takes_too_long_leaves_a_line(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    broken = bench.Part(name="broken", function="nowhere:run", seconds=60)
    slow = bench.Part(name="kernels", function="kernels:run", seconds=60)
    bench.PARTS = (*bench.PARTS, broken)
    assert bench.run_apart(broken, path, time.monotonic() + 60, toy=True)
    assert bench.run_apart(slow, path, time.monotonic() + 0.5, toy=True)
    assert bench.run_apart(slow, path, time.monotonic() - 1, toy=True)
    failed, stopped, late = (json.loads(line)["error"] for line in path.read_text().splitlines())
    assert failed.startswith("exit status") and stopped.startswith("stopped after") and late.startswith("not begun")


def test_one_gpu_is_visible(bench: ModuleType) -> None:
    assert bench.one_gpu({}) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert bench.one_gpu({"CUDA_VISIBLE_DEVICES": "3,5"}) == {"CUDA_VISIBLE_DEVICES": "3"}


def test_a_part_imports_this_repository_first_and_what_the_user_names(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/some/packages")
    assert bench.environment_of(True)["PYTHONPATH"] == f"{ROOT}:{ROOT / 'bench'}:/some/packages"
    monkeypatch.delenv("PYTHONPATH")
    assert bench.environment_of(False)["PYTHONPATH"] == f"{ROOT}:{ROOT / 'bench'}"


def test_a_later_command_replaces_its_own_parts_only(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    assert bench.without(path, ["demo"]) == ""
    bench.append(path, {"part": "kernels", "tflops": 400})
    bench.append(path, {"part": "demo", "error": "not begun"})
    bench.append(path, {"part": "summary"})
    assert [json.loads(line)["part"] for line in bench.without(path, ["demo", "summary"]).splitlines()] == ["kernels"]


def test_the_fastest_kernel_is_one_that_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the results of part `kernels`, so that no part tries a kernel before it has measured without it."""
    monkeypatch.setattr("sys.path", [str(ROOT / "bench"), *sys.path])
    update = importlib.import_module("gpu_parts.update")
    common = importlib.import_module("gpu_parts.common")
    monkeypatch.setattr(update, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (9, 0))
    report = common.Report(tmp_path / "gpu.jsonl", "kernels", toy=False)
    report.write(kernel="aten", agrees=True)
    report.write(kernel="aten", tflops=300.0)
    assert update.fastest_kernel(report, common.FULL).name == "aten", "of the other one nothing is known"
    report.write(kernel="flash_attn_4", agrees=False)
    report.write(kernel="flash_attn_4", tflops=500.0)
    assert update.fastest_kernel(report, common.FULL).name == "aten", "fast and wrong"
    report.write(kernel="flash_attn_4", agrees=True)
    assert update.fastest_kernel(report, common.FULL).name == "flash_attn_4"
