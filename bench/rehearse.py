"""A recipe's batch at its true length, on a CPU: everything but the width and the depth of its model.

    python bench/rehearse.py [--recipe qwen3_4b] [--short] [section.key=value ...]

The config is configs/RECIPE.yaml under configs/rehearse/override.yaml: 32 questions x 16 completions at full prompt
length, two ranks, ZeRO-3 that shards every parameter, the real engine; one rollout batch with its optimizer steps, one
evaluation, one checkpoint. A second start then continues from the checkpoint and finds nothing left to do. Data are
synthetic; the model is made here (rehearsal/model.py) and answers by guessing, so that siblings differ in reward.

Prints what was measured and writes it to bench/results/rehearse_32k.json (_128k, _memory). --short: a small batch of
histories of 2,000 tokens, and the second start takes one more batch. With it, and with settings of your own, the report
stays in the folder of the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from rehearsal.model import make_model

from rft.config import Config, load_config
from rft.data import prompts
from rft.planning.size import updates_per_batch
from rft.synthetic.generator import WINDOW_FACTOR, write_dataset
from rft.telemetry.names import LOGPROB_GAP
from rft.telemetry.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
NUM_RANKS = 2


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """What a recipe is rehearsed with.

    Example:
        Rehearsal(result="rehearse_32k", history_tokens=32_400, num_layers=2, num_personas=12)
    """

    result: str
    """Name of the file in bench/results."""
    history_tokens: int
    """Of each history, by the generator's count; the chat template and the question make an eighth more."""
    num_layers: int
    num_personas: int
    """Whose histories the training split has: more than a batch has."""


RECIPES = {
    "qwen3_4b": Rehearsal(result="rehearse_32k", history_tokens=32_400, num_layers=2, num_personas=12),
    # One layer: on two cores a second one would add an hour of attention.
    "qwen3_4b_128k": Rehearsal(result="rehearse_128k", history_tokens=122_800, num_layers=1, num_personas=20),
    "qwen3_4b_memory": Rehearsal(result="rehearse_memory", history_tokens=32_400, num_layers=2, num_personas=20),
}
SHORT = Rehearsal(result="rehearse_short", history_tokens=2_000, num_layers=2, num_personas=6)
SHORT_SETTINGS = ("rollout.questions_per_batch=8", "rollout.num_generations=4", "eval.num_questions=4")
QUESTIONS_PER_PERSONA = 4


def main() -> None:
    arguments = parse_arguments()
    rehearsal = SHORT if arguments.short else RECIPES[arguments.recipe]
    folder = Path(arguments.folder or ROOT / "bench" / "out" / rehearsal.result).absolute()
    for name in ("model", "data", "cache", "run", "first", "second"):
        shutil.rmtree(folder / name, ignore_errors=True)
    recipe = ROOT / "configs" / f"{arguments.recipe}.yaml"
    changed = [
        *as_overrides(yaml.safe_load((ROOT / "configs/rehearse/override.yaml").read_text())),
        *(SHORT_SETTINGS if arguments.short else ()),
        *arguments.overrides,
    ]
    settings = [
        *changed, f"model.model_name_or_path={folder / 'model'}", f"data.source={folder / 'data'}",
        f"data.cache_dir={folder / 'cache'}", f"output_dir={folder / 'run'}",
    ]  # fmt: skip
    config = load_config(recipe, settings)
    make_data(folder / "data", config, rehearsal)
    make_model(folder / "model", known_texts(folder / "data"), rehearsal.num_layers)
    steps = updates_per_batch(config)
    last_step = 2 * steps if arguments.short else steps
    seconds = {"first start": launch(folder / "first", recipe, [*settings, f"train.max_steps={steps}"])}
    shutil.copy(folder / "run" / "summary.json", folder / "first")
    seconds["second start"] = launch(folder / "second", recipe, [*settings, f"train.max_steps={last_step}"])
    report = {
        "command": shlex.join(["python", "bench/rehearse.py", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "recipe": str(recipe.relative_to(ROOT)),
        "overrides": changed,
        "num_ranks": NUM_RANKS,
        "num_layers": rehearsal.num_layers,
        **measured(folder, steps, last_step),
        "command_seconds": seconds,
        "provenance": provenance(),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    check(report, last_step)
    if not (arguments.short or arguments.overrides):
        shutil.copy(folder / "report.json", ROOT / "bench" / "results" / f"{rehearsal.result}.json")
    print(json.dumps(report, indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="qwen3_4b")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--folder", help="of model, data, runs and report; by default one in bench/out")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    return parser.parse_intermixed_args()


def as_overrides(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """A config's tree as `section.key=value` arguments."""
    found: list[str] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += as_overrides(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}={json.dumps(value)}")
    return found


def make_data(folder: Path, config: Config, rehearsal: Rehearsal) -> None:
    window: Any = config.data.window
    held_out = config.data.num_val_clusters
    write_dataset(
        folder,
        num_personas=rehearsal.num_personas + held_out + 2,
        questions_per_persona=QUESTIONS_PER_PERSONA,
        history_tokens=rehearsal.history_tokens // (1 if rehearsal is SHORT else WINDOW_FACTOR[window]),
        num_val_personas=1,
        num_benchmark_personas=1,
        windows=(window,),
    )


def known_texts(folder: Path) -> list[str]:
    """What the tokenizer has to know the words of: the data, and the prompts' own wording."""
    wording = [value for value in vars(prompts).values() if isinstance(value, str)]
    return [*wording, *(path.read_text() for path in sorted(folder.rglob("*.json")) + sorted(folder.rglob("*.csv")))]


def launch(folder: Path, recipe: Path, settings: list[str]) -> float:
    """Two ranks of rft/train.py; the seconds they took."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "DS_ACCELERATOR": "cpu",
        "PYTHONWARNINGS": "ignore::FutureWarning", "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "1800",
    }  # fmt: skip
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(NUM_RANKS),
        "bench/rehearsal/rank.py", str(folder), str(recipe), *settings,
    ]  # fmt: skip
    started = time.perf_counter()
    status = subprocess.run(command, cwd=ROOT, env=environment | {"PYTHONPATH": str(ROOT)}, check=False).returncode
    if status:
        sys.exit(f"rehearse: this ended with status {status}: {shlex.join(command)}")
    return time.perf_counter() - started


def measured(folder: Path, steps: int, last_step: int) -> dict[str, Any]:
    """Everything that the two starts left behind."""
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    batch = next(row for row in rows if row["step"] == steps and "reward" in row)
    evaluated = next(row for row in rows if row["step"] == steps and "eval/accuracy" in row)
    save_seconds = json.loads((folder / "first" / "summary.json").read_text())["save_seconds"]
    last = next(row for row in rows if row["step"] == last_step and "reward" in row)
    ranks = [json.loads((folder / "first" / f"rank-{rank}.json").read_text()) for rank in range(NUM_RANKS)]
    second = [json.loads((folder / "second" / f"rank-{rank}.json").read_text()) for rank in range(NUM_RANKS)]
    manifests = [json.loads(path.read_text()) for path in (folder / "cache").glob("prepared/train-*/manifest.json")]
    return {
        "prompt_tokens": manifests[0]["tokens"]["prompt"] if manifests else None,
        "questions_dropped": manifests[0]["length_policy"].get("questions_dropped", 0) if manifests else None,
        "phase_seconds": {
            name.removeprefix("time/").removesuffix("_s"): seconds
            for row in (batch, evaluated)
            for name, seconds in row.items()
            if name.startswith("time/")
        }
        | {"save": save_seconds},
        "host_seconds": [rank["host_seconds"] for rank in ranks],
        "peak_memory_gib": [rank["peak_memory_gib"] for rank in ranks],
        "peak_memory_gib_second_start": [rank["peak_memory_gib"] for rank in second],
        "parameters": [rank["parameters"] for rank in ranks],
        "tokens": {
            "prompts": batch["engine/prompt_tokens"],
            "computed by the engine": batch["engine/prefill_tokens"],
            "generated": batch["engine/generated_tokens"],
            "computed per optimizer step": batch["update/num_tokens"],
            "of the paths' tokens, computed": batch["update/unique_token_ratio"],
        },
        "logprob_gap": {"first start": batch[LOGPROB_GAP], "second start": last[LOGPROB_GAP]},
        "reward": batch["reward"],
        "trained_ratio": batch["completions/trained_ratio"],
        "grad_norm": batch["grad_norm"],
        "eval_accuracy": evaluated["eval/accuracy"],
        "checkpoints": sorted(path.name for path in (folder / "run").glob("checkpoint-*")),
        "steps": sorted({row["step"] for row in rows}),
    }


def check(report: dict[str, Any], last_step: int) -> None:
    """What a rehearsal must show, whatever its numbers are."""
    assert report["steps"][-1] == last_step and f"checkpoint-{last_step}" in report["checkpoints"], report["steps"]
    assert 0 < report["reward"] < 1 and report["grad_norm"] > 0 and report["trained_ratio"] > 0, "nothing was trained"
    for parameters in report["parameters"]:
        assert parameters["shard"] < 0.51 * parameters["all"] and parameters["held"] == 0, "ZeRO-3 did not shard"


if __name__ == "__main__":
    main()
