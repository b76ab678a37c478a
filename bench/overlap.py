"""The demo with vLLM servers beside it: in turns, and one step ahead (rollout.max_lag).

    python bench/overlap.py [--parts step_seconds two_servers one_step_ahead] [--steps 24] [--seeds 0 1 2]

1. Step time with server and trainer on a core each, at lag 0 and at lag 1, against max(rollout, update), which is all
   that running side by side can reach.
2. The whole demo through two servers at lag 0: accuracies beside those of the engine in the process (demo.json).
3. The whole demo at lag 1, one seed after another: accuracy after equally many samples.

Each part is written to bench/results/overlap.json as soon as it is there, with where it was measured; parts that are
not asked for stay as they are. The first needs two cores and nothing else running.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo import RESULTS, ROOT

from rft.serving.client import Server
from rft.serving.handshake import meet
from rft.telemetry.provenance import provenance

RESULT = RESULTS / "overlap.json"
PORTS = (8431, 8432)
MODEL = "checkpoints/demo_sft"
PARTS = ("step_seconds", "two_servers", "one_step_ahead")
READY_S = 300.0
"""For a server to come up; its log is in bench/out."""
WARM_UP = 4
"""Steps that are left out of a mean: at lag 1 the first has nothing ahead of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    arguments = parser.parse_args()
    report = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    report |= {"command": "python bench/overlap.py", "provenance": provenance()}
    if "step_seconds" in arguments.parts:
        with servers(1, core=0) as urls:
            write(report, "step_seconds", step_seconds(urls, arguments.steps))
    if "two_servers" in arguments.parts:
        with servers(2) as urls:
            write(report, "two_servers", {"seed 0": run("two", urls, "train.seed=0")})
    if "one_step_ahead" in arguments.parts:
        ahead: dict[str, Any] = {}
        with servers(1) as urls:
            for seed in arguments.seeds:
                ahead[f"seed {seed}"] = run(f"lag-{seed}", urls, f"train.seed={seed}", "rollout.max_lag=1")
                write(report, "one_step_ahead", ahead)
    print(json.dumps(report, indent=2))


def write(report: dict[str, Any], part: str, found: dict[str, Any]) -> None:
    here = provenance()
    report[part] = found | {"measured": {key: here[key] for key in ("date", "git_commit")}}
    RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def step_seconds(urls: Sequence[str], num_steps: int) -> dict[str, Any]:
    """Means over the steps after the first few, trainer and server on a core each."""
    found: dict[str, Any] = {}
    short = (
        f"train.max_steps={num_steps}",
        "eval.at_start=false",
        "eval.num_questions=4",
        "checkpoint.save_steps=1000",
    )
    for lag in (0, 1):
        rows = rows_of(start(f"steps-{lag}", urls, f"rollout.max_lag={lag}", *short, core=1))
        steps = [row for row in rows if "reward" in row][WARM_UP:]
        names = ["step_time", "time/rollout_s", "time/update_s", "time/sync_s", "time/reward_s"]
        names += ["time/generation_s", "engine/idle_s"] if lag else []
        found[f"lag {lag}"] = {name: statistics.fmean(row[name] for row in steps) for name in names}
    in_turns, ahead = found["lag 0"], found["lag 1"]
    limit = max(in_turns["time/rollout_s"], in_turns["step_time"] - in_turns["time/rollout_s"])
    return found | {
        "limit": limit,
        "ratio": ahead["step_time"] / in_turns["step_time"],
        "ratio_of_limit": limit / in_turns["step_time"],
    }


def run(name: str, urls: Sequence[str], *overrides: str) -> dict[str, Any]:
    """One whole demo; its summary."""
    folder = start(name, urls, *overrides)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    gaps = [row.get("sampling/canary_logp_difference") for row in rows_of(folder)]
    found = [gap for gap in gaps if gap is not None]
    return summary | ({"max_canary_gap": max(found)} if found else {})


def start(name: str, urls: Sequence[str], *overrides: str, core: int | None = None) -> Path:
    """A demo run that samples on the servers; its folder."""
    folder = Path("checkpoints") / f"overlap-{name}"
    command = [
        *([] if core is None else ["taskset", "--cpu-list", str(core)]),
        str(ROOT / "launch" / "demo.sh"), *overrides, f"output_dir={folder}",
        "rollout.engine=server", f"rollout.servers=[{','.join(urls)}]",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / folder


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@contextmanager
def servers(number: int, core: int | None = None) -> Iterator[list[str]]:
    """Servers of the demo's model, ready."""
    started, urls = [], [f"http://127.0.0.1:{port}" for port in PORTS[:number]]
    (ROOT / "bench" / "out").mkdir(exist_ok=True)
    environment = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    for port in PORTS[:number]:
        command = [
            *([] if core is None else ["taskset", "--cpu-list", str(core)]), sys.executable, "rft/serve.py",
            "configs/demo.yaml", f"model.model_name_or_path={MODEL}", "--port", str(port),
        ]  # fmt: skip
        with (ROOT / "bench" / "out" / f"server-{port}.log").open("w") as log:
            started.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
            )
    try:
        for url in urls:
            meet(Server(url, READY_S, READY_S), READY_S)
        yield urls
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    main()
