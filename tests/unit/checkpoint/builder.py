"""A tiny policy, and checkpoints of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft.checkpoint.manifest import list_files, record_files, write_manifest
from rft.config import Config


def make_tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1, "</s>": 2}, unk_token="a")), eos_token="</s>"
    )


def make_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2,
        )
    )  # fmt: skip


def a_config(output_dir: Path) -> Config:
    config = Config(output_dir=str(output_dir))
    config.checkpoint.save_total_limit = 2
    return config


def write_checkpoint(
    output_dir: Path, saved: dict[str, Any], step: int = 1, *, kind: str = "whole", num_ranks: int = 1
) -> Path:
    """What a resumed run reads before it loads anything, and nothing else."""
    folder = output_dir / f"checkpoint-{step}"
    (folder / "state").mkdir(parents=True)
    torch.save({"numbers": torch.zeros(1000)}, folder / "state" / "optimizer.bin")
    (folder / "rft_config.yaml").write_text(yaml.safe_dump(saved, sort_keys=False))
    (folder / "trainer_state.json").write_text(json.dumps({"step": step, "batch_index": step, "best_accuracy": None}))
    (folder / "parallel.json").write_text(json.dumps({"kind": kind, "num_ranks": num_ranks}))
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    """Writes files.json anew, as whoever changed the checkpoint on purpose would."""
    write_manifest(folder, record_files(folder, list_files(folder)))
