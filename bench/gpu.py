"""Everything that only a GPU can show, most of it in one command of nine minutes.

    python bench/gpu.py                 on a GPU; results in $OUT, or in bench/out
    python bench/gpu.py --seconds 1500  as much as there is
    python bench/gpu.py --parts engine_without_cascade,demo,tests,plans
    python bench/gpu.py --parts learning --seconds 1500 --model FOLDER
    python bench/gpu.py --toy           the same code at toy size, on a CPU

Parts run in the order of their importance, each in a process of its own with a time limit, on one visible GPU. Every
result is a line of gpu.jsonl as soon as it is there; a part that fails or takes too long leaves a line that says so,
and the output of each is in PART.log beside it. A later command replaces the lines of the parts that it runs, and those
for which the time was too short can be named. Random weights of Qwen3-4B's shape; nothing is downloaded. Part
`learning` alone needs a model, which the user names (gpu_parts/learning.py).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SECONDS = 530.0
"""For all parts together, unless the command says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Example: Part(name="kernels", function="kernels:run", seconds=90)"""

    name: str
    function: str
    """module:function in gpu_parts/."""
    seconds: int
    """After which it is stopped."""


PARTS = (
    Part(name="kernels", function="kernels:run", seconds=110),
    Part(name="update_forest", function="update:run_forest", seconds=170),
    Part(name="update_trl", function="update:run_trl", seconds=110),
    Part(name="engine_with_cascade", function="engine:run_with_cascade", seconds=190),
    Part(name="update_fast", function="update:run_fast", seconds=180),
    Part(name="update_long", function="update:run_long", seconds=190),
    Part(name="engine_without_cascade", function="engine:run_without_cascade", seconds=160),
    Part(name="demo", function="demo:run", seconds=240),
    Part(name="tests", function="tests:run", seconds=240),
    Part(name="plans", function="update:run_plans", seconds=180),
    Part(name="learning", function="learning:run", seconds=3600),
)


def main() -> int:
    arguments = parse_arguments()
    path = arguments.out / "gpu.jsonl"
    chosen = [part for part in PARTS if arguments.parts is None or part.name in arguments.parts]
    if arguments.run is not None:
        part = next(part for part in PARTS if part.name == arguments.run)
        run_here(part, path, toy=arguments.toy, seconds=arguments.limit)
        return 0
    if arguments.model is not None:
        os.environ["RFT_BENCH_MODEL"] = str(arguments.model.absolute())
    os.environ |= one_gpu(os.environ)
    if not arguments.toy and not has_gpu():
        print("no GPU: nothing measured (--toy runs the same code on a CPU)")
        return 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    path.write_text(without(path, [*(part.name for part in chosen), "summary"]), encoding="utf-8")
    deadline = time.monotonic() + arguments.seconds
    # A toy shares the cores of a CPU; on a GPU each part has the card for itself.
    with ThreadPoolExecutor(max_workers=2 if arguments.toy else 1) as pool:
        failures = list(pool.map(lambda part: run_apart(part, path, deadline, toy=arguments.toy), chosen))
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    append(path, {"part": "summary", "toy": arguments.toy} | summary(lines))
    print(f"{path}: {sum(failures)} of {len(chosen)} parts failed")
    return int(any(failures))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Everything that only a GPU can show.")
    parser.add_argument("--toy", action="store_true", help="toy sizes, on a CPU")
    parser.add_argument("--parts", type=names_of_parts, help=f"of {', '.join(part.name for part in PARTS)}")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or HERE / "out"), help="folder")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for all parts together ({SECONDS:.0f})")
    parser.add_argument("--model", type=Path, help="folder of the model that part learning trains")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def names_of_parts(text: str) -> list[str]:
    names = text.split(",")
    known = [part.name for part in PARTS]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no part '{name}'; choose of {', '.join(known)}")
    return names


def without(path: Path, parts: Sequence[str]) -> str:
    """The lines of a file of results that are of other parts; none where there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return "".join(line for line in lines if json.loads(line)["part"] not in parts)


def one_gpu(environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """trl would spread over all that are visible, and its path has to be timed on one."""
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return {"CUDA_VISIBLE_DEVICES": "0" if visible is None else visible.split(",")[0]}


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run_here(part: Part, path: Path, *, toy: bool, seconds: float) -> None:
    """One part, in this process."""
    from gpu_parts.common import FULL, TOY, Report

    module, _, name = part.function.partition(":")
    run = getattr(importlib.import_module(f"gpu_parts.{module}"), name)
    run(Report(path, part.name, toy=toy, seconds=seconds), TOY if toy else FULL)


def run_apart(part: Part, path: Path, deadline: float, *, toy: bool) -> bool:
    """One part, in a process of its own that is stopped at its limit; whether it failed."""
    limit = min(part.seconds if not toy else SECONDS, deadline - time.monotonic())
    if limit <= 0:
        append(path, {"part": part.name, "toy": toy, "error": "not begun: the time is over; name it with --parts"})
        return True
    command = [sys.executable, __file__, "--run", part.name, "--out", str(path.parent), "--limit", f"{limit:.0f}"]
    command += ["--toy"] if toy else []
    log = path.parent / f"{part.name}.log"
    begin = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment_of(toy), start_new_session=True
        )
        try:
            status = process.wait(timeout=limit)
            error = None if status == 0 else f"exit status {status}: {last_line(log)}"
        except subprocess.TimeoutExpired:
            error = f"stopped after {limit:.0f} s: {last_line(log)}"
        finally:
            end(process)
    line = {"part": part.name, "toy": toy, "wall_seconds": time.monotonic() - begin}
    append(path, line if error is None else line | {"error": error})
    print(f"{part.name:24s}{line['wall_seconds']:6.0f} s  {error or 'done'}", flush=True)
    return error is not None


def environment_of(toy: bool) -> dict[str, str]:
    """Of a part: this repository can be imported, and what the user's own PYTHONPATH has (the package gguf, say); on a
    CPU waiting threads do not spin.

    On a GPU memory is handed out as in the scripts of launch/, and what the first part compiles of flash attention 4
    is there for the others (should that kernel fail, try again with FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED=0). Nobody
    waits for a network that is not there.
    """
    places = [str(HERE.parent), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    found.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    found.setdefault("FLASH_ATTENTION_CUTE_DSL_CACHE_ENABLED", "1")
    found |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    if toy:
        found |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        found |= {"ACCELERATE_USE_CPU": "true", "DS_ACCELERATOR": "cpu"}
    return found


def end(process: subprocess.Popen[bytes]) -> None:
    """The process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


# ------------------------------------------------------------------------------------------------- across the parts


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What two parts say together: how much faster than trl, and what cascade attention gives."""
    found: dict[str, Any] = {}
    trl = [line["seconds_per_sequence"] for line in lines if "seconds_per_sequence" in line]
    for siblings in (8, 16):
        ours = [
            line for line in lines
            if line["part"] in ("update_forest", "update_fast") and line.get("siblings") == siblings
            and line.get("questions") == 1
        ]  # fmt: skip
        if trl and ours:
            best = min(ours, key=lambda line: line["seconds"])
            # Sequences of trl's path have nothing in common, so as many more take as much longer.
            speedup = siblings * min(trl) / best["seconds"]
            found[f"speedup_vs_trl_{siblings}"] = speedup
            found[f"share_of_flop_ratio_{siblings}"] = speedup / best["flop_ratio"]
            found[f"fastest_{siblings}"] = f"{best['case']}, {best['kernel']}"
    for line in lines:
        if line["part"] == "engine_with_cascade" and line.get("cascade") and "milliseconds_per_step" in line:
            plain = first(lines, "engine_without_cascade", lambda other, case=line["case"]: other.get("case") == case)
            if plain:
                ratio = plain["milliseconds_per_step"] / line["milliseconds_per_step"]
                found[f"decode_speedup_by_cascade, {line['case']}"] = ratio
    return found


def first(lines: Sequence[dict[str, Any]], part: str, fits: Any) -> dict[str, Any] | None:
    return next((line for line in lines if line["part"] == part and fits(line)), None)


if __name__ == "__main__":
    sys.exit(main())
