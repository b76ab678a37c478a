"""Writing a checkpoint: whole or not at all, and never of weights that are no numbers."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedType
from huggingface_hub import save_torch_state_dict
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from rft.checkpoint.folder import checkpoint_folder, point_best_at, prune, publish, temporary_folder
from rft.checkpoint.manifest import list_files, record_files, share_of, write_manifest
from rft.checkpoint.room import check_room, full_disk_named
from rft.checkpoint.state import TrainerState, write_state
from rft.config import Config, to_dict
from rft.distributed import gather_lists
from rft.weights import named_full_weights


def save(
    config: Config,
    accelerator: Accelerator,
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    state: TrainerState,
    results: dict[str, str],
    in_use: Collection[Path] = (),
) -> Path:
    """Writes `checkpoint-{step}` atomically and prunes old ones. Collective: every rank calls it.

    Args:
        results: further files of the checkpoint, name to text (evaluation).
        in_use: checkpoints that are not pruned.

    Raises:
        NoRoom: the disk is full; checkpoints before this one are whole.
        RuntimeError: a weight is not a finite number; nothing is saved.
    """
    output_dir = Path(config.output_dir)
    final = checkpoint_folder(output_dir, state.step)
    temporary = temporary_folder(final)
    with full_disk_named(output_dir):
        if accelerator.is_main_process:
            shutil.rmtree(temporary, ignore_errors=True)
            check_room(output_dir)
            temporary.mkdir(parents=True)
        accelerator.wait_for_everyone()
        save_policy(accelerator, model, tokenizer, temporary)
        # It reports at every checkpoint that tied weights are written once.
        logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
        accelerator.save_state(str(temporary / "state"))
        if accelerator.is_main_process:
            write_small_files(config, accelerator, state, results, temporary)
        accelerator.wait_for_everyone()
        mine = share_of(list_files(temporary), accelerator.process_index, accelerator.num_processes)
        records = gather_lists(accelerator, record_files(temporary, mine))
        if accelerator.is_main_process:
            write_manifest(temporary, records)
            publish(temporary, final)
    if accelerator.is_main_process:
        if state.best_step == state.step:
            point_best_at(final)
        prune(output_dir, config.checkpoint.save_total_limit, state.best_step, in_use, state.passing_steps)
    accelerator.wait_for_everyone()
    return final


def write_small_files(
    config: Config, accelerator: Accelerator, state: TrainerState, results: dict[str, str], folder: Path
) -> None:
    for name, text in results.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "rft_config.yaml").write_text(yaml.safe_dump(to_dict(config), sort_keys=False), encoding="utf-8")
    write_state(folder, state)
    saved_by = {"kind": kind_of_state(accelerator), "num_ranks": accelerator.num_processes}
    (folder / "parallel.json").write_text(json.dumps(saved_by) + "\n", encoding="utf-8")


def save_policy(
    accelerator: Accelerator, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """The policy as transformers writes it. Gathering sharded weights is collective; only rank 0 writes.

    Raises:
        RuntimeError: a weight is not a finite number, on every rank.
    """
    full = {}
    for name, weight in named_full_weights(model):
        if not bool(torch.isfinite(weight).all()):
            raise RuntimeError(
                f"the weight {name} has numbers that are not finite, and is not saved: the last checkpoint is from "
                "before; look at grad_norm and the loss, and lower train.learning_rate"
            )
        if accelerator.is_main_process:
            full[name] = weight.detach().to("cpu", copy=True).contiguous()
    if not accelerator.is_main_process:
        return
    policy: Any = accelerator.unwrap_model(model)
    if isinstance(policy, PeftModel):
        policy.save_pretrained(folder / "adapter")
        policy = policy.get_base_model()
    save_torch_state_dict(full, folder)
    policy.config.save_pretrained(folder)
    if policy.generation_config is not None:
        policy.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def add_results(checkpoint: Path, state: TrainerState, results: dict[str, str]) -> None:
    """Adds what was measured of a checkpoint after it was saved. One process calls it."""
    for name, text in results.items():
        (checkpoint / name).write_text(text, encoding="utf-8")
    write_state(checkpoint, state)
    write_manifest(checkpoint, record_files(checkpoint, list_files(checkpoint)))
    if state.best_step == state.step:
        point_best_at(checkpoint)


def kind_of_state(accelerator: Accelerator) -> str:
    """`whole`: every rank holds, and any number of ranks reads, all of it. `zero1` and so on: a share per rank."""
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return "whole"
    return f"zero{accelerator.state.deepspeed_plugin.zero_stage}"
