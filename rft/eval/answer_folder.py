"""The folder of one system's answers: what they were made with, and what an interruption leaves behind."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rft.data import prompts
from rft.eval import systems
from rft.eval.config import EvaluationConfig
from rft.records import Rollout


def settings_of(system: str, config: EvaluationConfig, model_identity: dict[str, Any]) -> dict[str, Any]:
    """Everything that a prediction of this system depends on, as plain values."""
    compare, data = config.evaluate, config.data
    found: dict[str, Any] = {
        "system": system,
        "benchmark": compare.benchmark,
        "source": data.source,
        "revision": data.revision,
        "window": data.window,
        "train_split": data.train_split,
        "split": config.eval.split,
        "answers": compare.answers,
    }
    if system in systems.RULES:
        return found
    found |= {
        **model_identity,
        "protocol": compare.protocol,
        "reward_rule": config.reward.rule,
        "temperature": compare.temperature,
        "max_completion_length": config.rollout.max_completion_length,
        "prompts": hashlib.sha256(Path(str(prompts.__file__)).read_bytes()).hexdigest()[:16],
    }
    if system in ("full_history", "other_history", "truncated_history"):
        found |= {"persona_card": data.persona_card, "length_policy": data.length_policy}
        found |= {"max_prompt_length": data.max_prompt_length}
    if system == "truncated_history":
        found["max_context_tokens"] = compare.max_context_tokens
    if system in ("bm25", "embeddings"):
        found["retrieval"] = [compare.retrieval_window, compare.retrieval_overlap, compare.retrieval_top_k]
    if system == "embeddings":
        found["embedding_model"] = compare.embedding_model
    if system == systems.MEMORY:
        memory = config.memory
        found["memory"] = [memory.chunk_tokens, memory.max_memory_tokens, memory.max_update_length, memory.query_aware]
    return found


def model_identity(config: EvaluationConfig) -> dict[str, Any]:
    """What tells this model from another: an endpoint's address and name, or a path with the state of its weights."""
    if config.uses_endpoint:
        endpoint = config.evaluate.endpoint
        return {"endpoint": endpoint.base_url, "model": endpoint.model, "options": endpoint.options}
    model = config.model
    weights = [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(Path(model.model_name_or_path).glob("*.safetensors*"))
    ]
    return {"model": model.model_name_or_path, "revision": model.model_revision, "weights": weights}


def check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Writes the settings of a folder without answers; to answers that were made with other settings none are added.

    Raises:
        ValueError: the folder's settings differ.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "settings.json"
    if path.exists() and any((folder / name).exists() for name in ("predictions.jsonl", "memories.jsonl")):
        before = json.loads(path.read_text(encoding="utf-8"))
        before.pop("judge", None)
        differing = sorted(key for key in before.keys() | settings.keys() if before.get(key) != settings.get(key))
        if differing:
            raise ValueError(
                f"{folder} holds answers made with another {', '.join(differing)}; remove it, or set evaluate.label or "
                "output_dir to keep both"
            )
    else:
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def add_counters(path: Path, counters: dict[str, int]) -> None:
    """Adds up over interruptions."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    total = {name: value + before.get(name, 0) for name, value in counters.items()}
    path.write_text(json.dumps(total) + "\n", encoding="utf-8")


class Updates:
    """Writes a memory's updates to memories.jsonl."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, rollout: Rollout) -> None:
        answer = rollout.answers[0]
        lines = [
            json.dumps(
                {
                    "history_id": answer.prompt.history_id,
                    "sample": answer.sibling,
                    "turn": turn,
                    "memory": update.memory,
                    "failure": update.failure,
                },
                ensure_ascii=False,
            )
            for turn, update in enumerate(rollout.updates)
        ]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
