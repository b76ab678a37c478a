"""The folder of one system's answers: what they were made with, and what an interruption leaves behind."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from rft.chat.address import shown_address
from rft.data import prompts
from rft.eval.chosen_questions import ChosenQuestions
from rft.eval.config import ComparisonConfig, EndpointConfig, JudgeConfig
from rft.eval.material import Material
from rft.eval.predictions import append_predictions, read_predictions
from rft.eval.systems import System
from rft.jsonl import keep_whole_lines, whole_lines
from rft.records import Question

SETTINGS_VERSION = 6
"""Raised by whoever changes what is asked, or how it is read, for the same settings."""

QUESTION_SETTINGS = (
    "data.format", "data.options", "data.source", "data.revision", "data.window", "data.train_split", "compare.answers",
)  # fmt: skip
"""Config keys that decide which questions there are, and how they are shown."""

MODEL_SETTINGS = (
    "task", "task_options", "compare.protocol", "reward.rule", "reward.function", "reward.weights",
    "reward.completions", "compare.temperature", "rollout.max_completion_length",
)  # fmt: skip
"""Config keys that the answers of every system with a model depend on."""

SAMPLING_SETTINGS = ("rollout.top_p", "rollout.top_k", "train.seed")
"""And those that they depend on unless decoding is greedy."""


def settings_of_answers(
    system: System, material: Material, chosen: ChosenQuestions, identity: dict[str, Any]
) -> dict[str, Any]:
    """Everything that a prediction of this system depends on, as plain values.

    Args:
        chosen: the questions that are asked.
        identity: of the model (`model_identity`).
    """
    config = material.config
    found = {
        "version": SETTINGS_VERSION,
        "system": system.name,
        "dataset": material.dataset.name,
        "split": chosen.split,
        # Question ids are often numbers of rows: other rows would get the answers of those that had their numbers.
        "content of data.source": chosen.fingerprint,
        **values_of(config, QUESTION_SETTINGS),
    }
    if system.kind == "rule":
        return found
    sampled = SAMPLING_SETTINGS if config.compare.temperature != 0 else ()
    return {
        **found,
        **identity,
        **values_of(config, (*MODEL_SETTINGS, *sampled, *system.settings)),
        "texts": hash_of_texts([prompts.wording_text(material.form.wording), *system.texts]),
    }


def settings_of_judge(config: JudgeConfig) -> dict[str, Any]:
    """Everything that a verdict depends on besides the answer."""
    texts = [
        prompts.JUDGE_SYSTEM_PROMPT,
        prompts.JUDGE_TEMPLATE,
        json.dumps([prompts.JUDGE_PARTS, prompts.JUDGE_RUBRICS, prompts.JUDGE_LAYOUTS]),
    ]
    return {
        "version": SETTINGS_VERSION,
        **endpoint_identity(config.endpoint),
        "greedy": config.repeats == 1,
        "max_completion_length": config.max_completion_length,
        "texts": hash_of_texts(texts),
    }


def values_of(config: ComparisonConfig, keys: Iterable[str]) -> dict[str, Any]:
    """The values behind dotted keys."""
    return {key: reduce(getattr, key.split("."), config) for key in keys}


def hash_of_texts(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def model_identity(config: ComparisonConfig) -> dict[str, Any]:
    """What tells this model from another: an endpoint's address and name, or a path with the state of its weights."""
    if config.uses_endpoint:
        return endpoint_identity(config.compare.endpoint)
    model = config.model
    weights = [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(Path(model.model_name_or_path).glob("*.safetensors*"))
    ]
    return {"model": model.model_name_or_path, "revision": model.model_revision, "weights": weights}


def endpoint_identity(endpoint: EndpointConfig) -> dict[str, Any]:
    """What tells one model behind an endpoint from another, without a password or a key."""
    return {
        "endpoint": shown_address(endpoint.base_url),
        "model": endpoint.model,
        "options": endpoint.options,
        "omit": sorted(endpoint.omit),
        "system_role": endpoint.system_role,
        "alternating_roles": endpoint.alternating_roles,
    }


def check_answer_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a folder without answers; to answers that were made with other settings none are added.

    Raises:
        ValueError: the folder's settings differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    has_answers = any((folder / name).exists() for name in ("predictions.jsonl", "memories.jsonl"))
    remedy = "remove it, or set compare.label or output_dir to keep both"
    check_or_write(folder / "settings.json", settings, has_answers, f"{folder} holds answers", remedy)


def check_judge_settings(folder: Path, settings: dict[str, Any]) -> None:
    """The same for the verdicts of a judge.

    Raises:
        ValueError: the folder's verdicts were made with other settings.
    """
    verdicts = folder / "verdicts.jsonl"
    found = f"{verdicts} holds verdicts"
    check_or_write(folder / "judge.json", settings, verdicts.exists(), found, "remove the file to judge again")


def check_or_write(path: Path, settings: dict[str, Any], in_use: bool, found: str, remedy: str) -> None:
    """Writes `settings`, unless what was made with the ones that are there is `in_use`: then they must be equal.

    Args:
        found: what was made with them, for messages.
        remedy: what a person may do where they differ.
    """
    if not (in_use and path.exists()):
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(settings))
    if before.get("version") != now.get("version"):
        raise ValueError(f"{found} of another version of this program; {remedy}")
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        raise ValueError(f"{found} made with another {', '.join(differing)}; {remedy}")


def part_folder(folder: Path, rank: int, num_ranks: int) -> Path:
    """Where a rank writes while it asks: the folder itself where there is one rank, else a part of it; it is made."""
    part = folder if num_ranks == 1 else folder / f"rank-{rank}"
    part.mkdir(parents=True, exist_ok=True)
    return part


def merge_parts(folder: Path, questions: Sequence[Question]) -> None:
    """Adds what ranks have written to the folder's own files, and removes the parts.

    Parts of an interrupted run, which may have had more ranks, are among them.

    Args:
        questions: in the order in which they are asked.
    """
    parts = sorted(part for part in folder.glob("rank-*") if part.is_dir())
    if not parts:
        return
    path = folder / "predictions.jsonl"
    known = {(one.question_id, one.sample) for one in read_predictions(path)}
    place = {question.question_id: number for number, question in enumerate(questions)}
    added = [one for part in parts for one in read_predictions(part / "predictions.jsonl")]
    added.sort(key=lambda one: (one.sample, place.get(one.question_id, len(place))))
    keep_whole_lines(path)
    append_predictions(path, [one for one in added if (one.question_id, one.sample) not in known])
    for part in parts:
        memories = [line + "\n" for line in whole_lines(part / "memories.jsonl")]
        if memories:
            keep_whole_lines(folder / "memories.jsonl")
            with (folder / "memories.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(memories)
        if (counters := part / "counters.json").exists():
            add_counters(folder / "counters.json", json.loads(counters.read_text(encoding="utf-8")))
        shutil.rmtree(part)


def add_counters(path: Path, counters: dict[str, int]) -> None:
    """Adds up over interruptions."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    total = {name: value + before.get(name, 0) for name, value in counters.items()}
    path.write_text(json.dumps(total) + "\n", encoding="utf-8")
