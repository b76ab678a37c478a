"""Checkpoints that from_pretrained and vLLM load as they are, and that a run continues from.

All of its state is kept. On a CPU the steps after a resume are those of an uninterrupted run to the bit; on a GPU the
kernels themselves do not repeat the last bit (flash attention's backward pass adds up with atomics).

    OUTPUT_DIR/checkpoint-50/
        config.json, model.safetensors, tokenizer...    the policy in transformers' format, LoRA merged
        adapter/                                        the LoRA adapter by itself, where there is one
        state/                                          accelerate's or DeepSpeed's training state
        trainer_state.json                              step, batch, best accuracy so far
        parallel.json                                   what `state` was spread over
        eval.json, predictions.jsonl                    what the hooks measured of these weights
    OUTPUT_DIR/best -> checkpoint-50

A checkpoint is written under a temporary name and renamed when it is whole, so a folder called `checkpoint-N`
is always complete: a crash, a full disk or `kill -9` in the middle leaves only a temporary folder behind, which
the next start removes. What a start finds is read in every process, and removed in one.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedType
from huggingface_hub import save_torch_state_dict
from peft import PeftModel
from transformers import PreTrainedTokenizerBase

from rft.config import Config, to_dict
from rft.config_parser import differing_keys, settle, with_new_names
from rft.config_yaml import merge, read_yaml_chain
from rft.parallel import ParallelMode
from rft.weights import named_full_weights

MAY_DIFFER = (
    "output_dir",
    "checkpoint",
    "hooks",
    "log",
    "eval",
    "train.max_steps",
    "train.num_train_epochs",
    "train.max_idle_steps",
    "train.max_logprob_gap",
    # How samples are packed, and how many are generated at a time, change sums in their last bits and nothing else;
    # `auto` may choose otherwise on another card.
    "train.max_tokens_per_microbatch",
    "rollout.vllm_gpu_memory_utilization",
    "train.deepspeed",
    "train.ddp_timeout",
    "train.stop_grace_s",
)
"""Sections and keys that a resumed run may change without changing the steps already taken. What DeepSpeed spreads
over the ranks is compared by itself (`check_parallel`)."""

NEEDED = ("rft_config.yaml", "trainer_state.json", "state")
"""What a run continues from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerState:
    """Where a run stands.

    Example:
        TrainerState(step=50, batch_index=25, best_accuracy=0.61, best_step=50)
    """

    step: int = 0
    """Optimizer steps taken."""
    batch_index: int = 0
    """Rollout batches consumed."""
    best_accuracy: float | None = None
    best_step: int | None = None
    idle_steps: int = 0
    """Optimizer steps in a row, up to now, that had nothing to learn from."""


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
    """
    output_dir = Path(config.output_dir)
    final = output_dir / f"checkpoint-{state.step}"
    temporary = output_dir / f".{final.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    save_policy(accelerator, model, tokenizer, temporary)
    # It reports at every checkpoint that tied weights are written once.
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)
    accelerator.save_state(str(temporary / "state"))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        for name, text in results.items():
            (temporary / name).write_text(text, encoding="utf-8")
        (temporary / "rft_config.yaml").write_text(yaml.safe_dump(to_dict(config), sort_keys=False), encoding="utf-8")
        (temporary / "trainer_state.json").write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")
        saved_by = {"kind": kind_of_state(accelerator), "num_ranks": accelerator.num_processes}
        (temporary / "parallel.json").write_text(json.dumps(saved_by) + "\n", encoding="utf-8")
        sync_to_disk(temporary)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        if state.best_step == state.step:
            point_best_at(final)
        prune(output_dir, config.checkpoint.save_total_limit, state.best_step, in_use)
    accelerator.wait_for_everyone()
    return final


def save_policy(
    accelerator: Accelerator, model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """The policy as transformers writes it. Gathering sharded weights is collective; only rank 0 writes."""
    full = {}
    for name, weight in named_full_weights(model):
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


def sync_to_disk(folder: Path) -> None:
    """Forces every file out of the write cache, so that the rename never outlives its contents."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def point_best_at(checkpoint: Path) -> None:
    """`best` is a relative link, replaced in one move."""
    temporary = checkpoint.parent / ".best.tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(checkpoint.name)
    os.replace(temporary, checkpoint.parent / "best")


def kind_of_state(accelerator: Accelerator) -> str:
    """`whole`: every rank holds, and any number of ranks reads, all of it. `zero1` and so on: a share per rank."""
    if accelerator.distributed_type != DistributedType.DEEPSPEED:
        return "whole"
    return f"zero{accelerator.state.deepspeed_plugin.zero_stage}"


def prune(output_dir: Path, keep: int, best_step: int | None, in_use: Collection[Path] = ()) -> None:
    """Removes all but the latest `keep` checkpoints, the best one, and those that somebody reads."""
    steps = complete_steps(output_dir)
    for step in steps[: -keep or None]:
        folder = output_dir / f"checkpoint-{step}"
        if step != best_step and folder not in in_use:
            shutil.rmtree(folder)


def complete_steps(output_dir: Path) -> list[int]:
    """Steps that have a complete checkpoint, in order."""
    if not output_dir.is_dir():
        return []
    matches = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in output_dir.iterdir() if path.is_dir())
    return sorted(int(match[1]) for match in matches if match)


def find_resumable(config: Config, mode: ParallelMode) -> Path | None:
    """The checkpoint a run continues from, None for a fresh start. It only reads, so that every process may ask.

    Args:
        mode: how this start spreads the work.

    Raises:
        ValueError: the checkpoint was made with a config whose steps would differ (the keys are named), its training
            state is spread otherwise than this start would spread it, or the folder is no checkpoint of a run.
    """
    output_dir = Path(config.output_dir)
    steps = complete_steps(output_dir)
    if config.checkpoint.resume == "never" or not steps:
        return None
    checkpoint = output_dir / f"checkpoint-{steps[-1]}"
    absent = [name for name in NEEDED if not (checkpoint / name).exists()]
    if absent:
        raise ValueError(
            f"{checkpoint} has no {absent[0]}, so no run can continue from it; move it away, choose another "
            "output_dir, or set checkpoint.resume=never"
        )
    changed = [key for key in differing_keys(saved_config(checkpoint), to_dict(config)) if not may_differ(key)]
    if changed:
        raise ValueError(
            f"{checkpoint} was made with other values of {', '.join(changed)}; "
            "restore them, choose another output_dir, or set checkpoint.resume=never"
        )
    check_parallel(checkpoint, mode)
    return checkpoint


def check_parallel(checkpoint: Path, mode: ParallelMode) -> None:
    """Refuses a training state that DeepSpeed has spread otherwise than this start would: it reads no other.

    A checkpoint of an earlier version does not say; DeepSpeed then finds out by itself.
    """
    try:
        saved = json.loads((checkpoint / "parallel.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    now = {"kind": mode.kind if mode.uses_deepspeed else "whole", "num_ranks": mode.num_ranks}
    if saved["kind"] == now["kind"] and (saved["kind"] == "whole" or saved["num_ranks"] == now["num_ranks"]):
        return
    raise ValueError(
        f"the training state in {checkpoint} was saved by {spread(saved)}, and this start has {spread(now)}; start it "
        "as before, choose another output_dir, or set checkpoint.resume=never"
    )


def spread(parallel: dict[str, Any]) -> str:
    """parallel.json in words."""
    ranks = f"{parallel['num_ranks']} rank{'s' if parallel['num_ranks'] > 1 else ''}"
    if parallel["kind"] == "whole":
        return f"{ranks} without DeepSpeed"
    return f"{ranks} under ZeRO-{parallel['kind'][-1]}"


def saved_config(checkpoint: Path) -> dict[str, Any]:
    """The config a checkpoint was made with. Keys of an earlier version have their present name, and keys that it did
    not know have their default, which is what it did."""
    saved = with_new_names(read_yaml_chain(checkpoint / "rft_config.yaml"))
    return merge(to_dict(Config()), settle(saved, Config))


def may_differ(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in MAY_DIFFER)


def remove_leftovers(accelerator: Accelerator, output_dir: Path) -> None:
    """Removes half-written checkpoints. Collective: the main process does it while the others wait."""
    if accelerator.is_main_process:
        for leftover in output_dir.glob(".checkpoint-*.tmp"):
            shutil.rmtree(leftover)
    accelerator.wait_for_everyone()


def check_writable(key: str, folder: Path) -> None:
    """Refuses a folder that cannot be made or written to, and leaves nothing behind.

    Raises:
        ValueError: names the config `key`, and says what the system says.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(folder.absolute())):
            pass
    except OSError as error:
        raise ValueError(f"{key} = {folder} cannot be written: {error.strerror}; choose another folder") from None


def nearest_existing(path: Path) -> Path:
    """The path, or the first of its parents that is there."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return nearest_existing(path.parent)
    return path


def read_state(checkpoint: Path) -> TrainerState:
    return TrainerState(**json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8")))
