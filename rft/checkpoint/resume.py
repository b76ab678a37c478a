"""Which checkpoint a start continues from: the newest whole one, made by the same run, spread as this start would."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from rft.checkpoint.folder import checkpoint_folder, complete_steps
from rft.checkpoint.manifest import MANIFEST, find_changed, find_missing, read_manifest, share_of
from rft.checkpoint.pickles import check_pickles
from rft.checkpoint.state import TRAINER_STATE, read_state
from rft.config import Config, to_dict
from rft.config_parser import differing_keys, settle, with_new_names
from rft.config_yaml import merge, read_yaml_chain
from rft.distributed import gather_lists
from rft.parallel import ParallelMode

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
    "rollout.servers",
    "rollout.weight_folder",
    "rollout.server_timeout_s",
    "rollout.request_timeout_s",
    "train.deepspeed",
    "train.ddp_timeout",
    "train.stop_grace_s",
    "train.stall_timeout_s",
    # Where files may be; what they say is compared by itself (`check_same_data`).
    "data.follow_links",
    "data.cache_dir",
)
"""Sections and keys that a resumed run may change without changing the steps already taken. What DeepSpeed spreads
over the ranks is compared by itself (`check_parallel`)."""

NEEDED = ("rft_config.yaml", TRAINER_STATE, "state")
"""What a run continues from."""

READ_FIRST = ("rft_config.yaml", TRAINER_STATE, "parallel.json")
"""Small files that decide whether a checkpoint is of the same run; their contents are compared before they are read."""

SCHEDULE_OF_BEFORE = "custom_checkpoint_0.pkl"
"""The learning-rate schedule as earlier versions saved it: a pickle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A checkpoint that a run may continue from, as far as names and sizes tell.

    Example:
        Candidate(checkpoint=Path("checkpoints/run/checkpoint-6"),
                  passed_over=("checkpoint-8: state/optimizer.bin has 100 of 3,162,940 bytes",))
    """

    checkpoint: Path
    passed_over: tuple[str, ...] = ()
    """Newer ones, and what is wrong with them."""


def find_resumable(config: Config, mode: ParallelMode, damaged: Collection[str] = ()) -> Candidate | None:
    """The checkpoint a run continues from, None for a fresh start. It only reads, so that every process may ask.

    Args:
        mode: how this start spreads the work.
        damaged: checkpoints found to be damaged, as "checkpoint-8: what is wrong".

    Raises:
        ValueError: the checkpoint was made with a config whose steps would differ (the keys are named), its training
            state is spread otherwise than this start would spread it, or there are checkpoints and none is whole.
    """
    output_dir = Path(config.output_dir)
    if config.checkpoint.resume == "never":
        return None
    known = {note.partition(":")[0] for note in damaged}
    notes = list(damaged)
    for step in reversed(complete_steps(output_dir)):
        checkpoint = checkpoint_folder(output_dir, step)
        if checkpoint.name in known:
            continue
        if (wrong := find_absent(checkpoint)) is not None:
            notes.append(f"{checkpoint.name}: {wrong}")
            continue
        check_config(checkpoint, config)
        check_parallel(checkpoint, mode)
        return Candidate(checkpoint=checkpoint, passed_over=tuple(notes))
    if notes:
        raise ValueError(
            f"no checkpoint in {output_dir} is whole ({'; '.join(notes)}); set checkpoint.resume=never, which moves "
            "them aside and starts anew, or choose another output_dir"
        )
    return None


def find_absent(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint by names, sizes and its small files; None where nothing is."""
    for name in NEEDED:
        if not (checkpoint / name).exists():
            return f"{name} is missing"
    if not (checkpoint / MANIFEST).exists() and (checkpoint / "state" / SCHEDULE_OF_BEFORE).exists():
        return "saved by an earlier version, whose learning-rate schedule is a pickle and is not loaded"
    try:
        records = read_manifest(checkpoint)
        if (wrong := find_missing(checkpoint, records)) is not None:
            return wrong
        if (wrong := find_changed(checkpoint, (record for record in records if record.name in READ_FIRST))) is not None:
            return wrong
        read_state(checkpoint)
    except ValueError as error:
        return str(error)
    return None


def check_config(checkpoint: Path, config: Config) -> None:
    changed = [key for key in differing_keys(saved_config(checkpoint), to_dict(config)) if not may_differ(key)]
    if changed:
        raise ValueError(
            f"{checkpoint} was made with other values of {', '.join(changed)}; restore them, choose another "
            "output_dir, or set checkpoint.resume=never"
        )


def check_parallel(checkpoint: Path, mode: ParallelMode) -> None:
    """Refuses a training state that DeepSpeed has spread otherwise than this start would: it reads no other."""
    saved = json.loads((checkpoint / "parallel.json").read_text(encoding="utf-8"))
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


def choose_whole(config: Config, mode: ParallelMode, accelerator: Accelerator) -> Candidate | None:
    """`find_resumable`, once every file was read and is what was saved. Collective: ranks share the reading.

    Raises:
        ValueError: as `find_resumable`; a training state that would execute something when it is loaded.
    """
    damaged: list[str] = []
    while (candidate := find_resumable(config, mode, damaged)) is not None:
        checkpoint = candidate.checkpoint
        records = share_of(read_manifest(checkpoint), accelerator.process_index, accelerator.num_processes)
        wrong = [found for found in gather_lists(accelerator, [find_changed(checkpoint, records)]) if found]
        if not wrong:
            check_pickles(checkpoint)
            return candidate
        damaged = [*candidate.passed_over, f"{checkpoint.name}: {wrong[0]}"]
    return None


def check_same_data(checkpoint: Path, fingerprint: str | None) -> None:
    """Refuses to continue on other data: batches already taken would not be those that the run remembers.

    Raises:
        ValueError: names the checkpoint.
    """
    saved = read_state(checkpoint).data
    if saved is not None and saved != fingerprint:
        raise ValueError(
            f"{checkpoint} was trained on other data than data.source has now: rows or contexts entered, left, changed "
            "or moved; restore them, choose another output_dir, or set checkpoint.resume=never"
        )
