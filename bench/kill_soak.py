"""Kills a tiny run again and again, and starts it again each time: nothing may be lost, doubled or damaged.

    python bench/kill_soak.py [--kills 100] [--seed N] [--minutes 60] [--only mcq-1 ...] [--folder DIR]

Four kinds of run: mcq and memory, on one rank and on two (ZeRO-3 for mcq, DDP for memory). Each is killed by SIGKILL,
SIGTERM, SIGINT and SIGUSR1, at random moments and in the middle of what must not be cut: the writing of a checkpoint,
its publication, the pruning of old ones, the weight sync, the evaluation. After some kills the run comes to its end and
is compared with one that nobody disturbed: metrics.jsonl, rollouts.jsonl, summary.json, and every tensor of every
checkpoint, bit for bit; no file, lock or process may be left.

Prints its seed; with the same one the same kills are tried again. Writes bench/results/kill_soak.json when all of
`--kills` were done on all kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from rehearsal.model import make_model
from soak.leftovers import differences, processes_of

from rft.data import prompts
from rft.process_exit import FAULT, FINISHED, INTERRUPTED, TO_BE_CONTINUED
from rft.synthetic.generator import write_dataset
from rft.telemetry.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "kill_soak.json"
NUM_STEPS = 12
KILLS_PER_RUN = 5
TIMEOUT_S = 300

KINDS = {
    "mcq-1": ["train.deepspeed=null"],
    "memory-1": ["task=memory", "train.deepspeed=null"],
    "mcq-2": ["train.deepspeed={folder}/shard_all.json"],
    "memory-2": ["task=memory", "train.deepspeed=null"],
}
"""Task and number of ranks -> settings."""

AIMS = {
    "checkpoint": "rft.checkpoint.save:save_policy",
    "training state": "rft.checkpoint.save:list_files",
    "publication": "rft.checkpoint.save:publish",
    "pruning": "rft.checkpoint.save:prune",
    "sync": "rft.weights:named_full_weights",
    "evaluation": "rft.grpo.live_rollouts:evaluate_policy",
    "update": "rft.grpo.train:optimizer_step",
}
"""What a kill is aimed at: the function in whose call it comes."""

SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1")
EXPECTED = {
    "SIGKILL": {-signal.SIGKILL, FAULT},
    "SIGTERM": {TO_BE_CONTINUED},
    "SIGUSR1": {TO_BE_CONTINUED},
    "SIGINT": {INTERRUPTED},
}
"""Statuses with which a killed start may end; FINISHED where the signal came too late. Of two ranks the first one's: a
rank that is killed is a fault to the other."""


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Example: Kill(signal="SIGTERM", aim="evaluation", call=2, delay_s=0.01, rank=0)"""

    signal: str
    aim: str | None
    """None is a random moment."""
    call: int
    delay_s: float
    rank: int


@dataclass
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    """Those that ended a start, by signal and aim."""
    too_late: int = 0
    """Starts that had finished before their signal came."""
    statuses: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    exact_runs: int = 0
    resumes_exact: int = 0
    faults: list[str] = field(default_factory=list)


def main() -> None:
    arguments = parse_arguments()
    print(f"seed {arguments.seed}", flush=True)
    rng = random.Random(arguments.seed)
    folder = Path(arguments.folder or ROOT / "bench" / "out" / "kill_soak").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    prepare(folder)
    until = time.monotonic() + 60 * arguments.minutes
    tallies = {kind: Tally() for kind in arguments.only}
    for kind in arguments.only:
        status, said = run(folder, kind, "straight")
        assert status == FINISHED, said[-3000:]
    shares = {kind: arguments.kills * (n + 1) // len(arguments.only) - arguments.kills * n // len(arguments.only)
              for n, kind in enumerate(arguments.only)}  # fmt: skip
    for kind, kills in shares.items():
        done = 0
        while done < kills and time.monotonic() < until:
            disturb(folder, kind, min(KILLS_PER_RUN, kills - done), rng, tallies[kind])
            done = tallies[kind].kills.total()
    report = {
        "seed": arguments.seed,
        "kills_asked": arguments.kills,
        "kills": sum(tally.kills.total() for tally in tallies.values()),
        "runs": sum(tally.runs for tally in tallies.values()),
        "exact_runs": sum(tally.exact_runs for tally in tallies.values()),
        "resumes_exact": sum(tally.resumes_exact for tally in tallies.values()),
        "faults": [fault for tally in tallies.values() for fault in tally.faults],
        "kinds": {kind: vars(tally) for kind, tally in tallies.items()},
        "provenance": provenance(),
    }
    print(json.dumps(report, indent=2))
    if list(arguments.only) == list(KINDS) and report["kills"] >= arguments.kills >= 100:
        # Without the places of this machine.
        text = json.dumps(report, indent=2).replace(sys.executable, "python").replace(f"{folder}/", "")
        RESULT.write_text(text + "\n", encoding="utf-8")
    sys.exit(1 if report["faults"] or report["kills"] < arguments.kills else 0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--minutes", type=float, default=90, help="after which no further run is begun")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--folder", help="of model, data and runs; by default one in bench/out")
    return parser.parse_args()


def prepare(folder: Path) -> None:
    """Data, a tiny model that guesses letters, and a config that takes a checkpoint every two steps."""
    write_dataset(
        folder / "data", num_personas=10, questions_per_persona=4, history_tokens=300, style="brief",
        num_val_personas=1, num_benchmark_personas=1,
    )  # fmt: skip
    wording = [value for value in vars(prompts).values() if isinstance(value, str)]
    texts = [path.read_text() for path in sorted((folder / "data").rglob("*")) if path.suffix in (".json", ".csv")]
    make_model(folder / "model", [*wording, *texts], num_layers=2, vocab_size=4096)
    settings = json.loads((ROOT / "configs/rehearse/zero3.json").read_text())
    (folder / "shard_all.json").write_text(json.dumps(settings))
    config = {
        "model": {"model_name_or_path": str(folder / "model"), "dtype": "float32"},
        "data": {
            "source": str(folder / "data"), "train_split": "paper", "max_prompt_length": 2048,
            "cache_dir": str(folder / "cache"), "questions_per_context": 2,
        },
        "memory": {"chunk_tokens": 400, "max_memory_tokens": 16, "max_update_length": 16},
        "rollout": {
            "questions_per_batch": 4, "num_generations": 4, "max_completion_length": 16, "vllm_kv_cache_gb": 0.1,
        },
        "train": {"learning_rate": 1e-3, "max_tokens_per_microbatch": 4096, "max_logprob_gap": 1e-4},
        "eval": {"num_questions": 4, "at_start": True},
        "checkpoint": {"save_steps": 2, "save_total_limit": 2},
        "log": {"report_to": "none"},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(config))


def disturb(folder: Path, kind: str, kills: int, rng: random.Random, tally: Tally) -> None:
    """One run: killed up to `kills` times, then left alone to its end, then compared."""
    name, before = f"run-{tally.runs}", tally.kills.total()
    shutil.rmtree(folder / kind / name, ignore_errors=True)
    for _ in range(kills):
        kill = draw(kind, rng)
        status, said = run(folder, kind, name, kill)
        if status == FINISHED:
            tally.too_late += 1
            break
        tally.kills[f"{kill.signal} {kill.aim or 'at random'}"] += 1
        tally.statuses[f"{kill.signal} {status}"] += 1
        if status not in EXPECTED[kill.signal]:
            tally.faults.append(f"{kind}/{name}: {kill} ended with status {status}: {said[-2000:]}")
        print(f"{kind}/{name}: {kill.signal} {kill.aim or 'at random'}: {status}", flush=True)
    status, said = run(folder, kind, name)
    found = [f"ended with status {status}: {said[-2000:]}"] if status != FINISHED else []
    found = found or differences(folder / kind / name, folder / kind / "straight")
    found += [f"still runs: {command}" for command in processes_of(folder / kind / name)]
    tally.runs += 1
    tally.exact_runs += not found
    tally.resumes_exact += 0 if found else tally.kills.total() - before
    tally.faults += [f"{kind}/{name}: {text}" for text in found]
    print(f"{kind}/{name}: {found or 'exact'}", flush=True)
    if not found:
        shutil.rmtree(folder / kind / name)


def draw(kind: str, rng: random.Random) -> Kill:
    """Half of the kills are aimed."""
    aim = rng.choice(list(AIMS)) if rng.random() < 0.5 else None
    return Kill(
        signal=rng.choice(SIGNALS),
        aim=aim,
        call=rng.randint(1, 3),
        delay_s=rng.uniform(0, 0.03) if aim else rng.uniform(0, 8),
        rank=rng.randrange(num_ranks(kind)),
    )


def num_ranks(kind: str) -> int:
    return int(kind.rpartition("-")[2])


def run(folder: Path, kind: str, name: str, kill: Kill | None = None) -> tuple[int, str]:
    """One start; its status and what it said."""
    output_dir = folder / kind / name
    settings = [setting.replace("{folder}", str(folder)) for setting in KINDS[kind]]
    arguments = [
        "bench/soak/victim.py", str(folder / "run.yaml"), f"output_dir={output_dir}", f"train.max_steps={NUM_STEPS}",
        *settings,
    ]  # fmt: skip
    launcher = ["launch/ranks.py", "--standalone", "--nproc-per-node", "2"] if num_ranks(kind) == 2 else []
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu",
        "PYTHONPATH": f"{ROOT}", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    if kill is not None and kill.aim is not None:
        environment |= {
            "SOAK_AIM": AIMS[kill.aim], "SOAK_CALL": str(kill.call), "SOAK_SIGNAL": kill.signal,
            "SOAK_DELAY_S": str(kill.delay_s), "SOAK_RANK": str(kill.rank),
        }  # fmt: skip
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    log = output_dir.with_name(f"{name}.log")
    with log.open("w") as file:
        started = subprocess.Popen(
            [sys.executable, *launcher, *arguments], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        if kill is not None and kill.aim is None:
            kill_at_random(started, output_dir, kill)
        status = started.wait(timeout=TIMEOUT_S)
    finally:
        started.kill()
    return status, log.read_text(errors="replace")


def kill_at_random(started: subprocess.Popen[bytes], output_dir: Path, kill: Kill) -> None:
    """Waits until the ranks work, then a while, then sends SIGKILL to one rank, or another signal to the launcher."""
    begin = time.monotonic()
    while started.poll() is None and not pids(output_dir) and time.monotonic() - begin < TIMEOUT_S:
        time.sleep(0.02)
    time.sleep(kill.delay_s)
    if started.poll() is not None:
        return
    target = pids(output_dir).get(kill.rank) if kill.signal == "SIGKILL" else started.pid
    if target is not None:
        with suppress(ProcessLookupError):
            os.kill(target, signal.Signals[kill.signal])


def pids(output_dir: Path) -> dict[int, int]:
    """Rank -> process, of those that have met."""
    found: dict[int, Any] = {}
    for path in (output_dir / ".ranks").glob("*.json"):
        try:
            report = json.loads(path.read_text())
            # An earlier start may have left its own, and its number may be another process by now.
            if str(output_dir) in " ".join(psutil.Process(report["pid"]).cmdline()):
                found[int(path.stem)] = report["pid"]
        except (OSError, ValueError, psutil.Error):
            continue
    return found


if __name__ == "__main__":
    main()
