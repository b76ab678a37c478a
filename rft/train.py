"""GRPO on questions about long contexts, from one yaml file.

    accelerate launch rft/train.py configs/qwen3_4b.yaml
    accelerate launch rft/train.py configs/qwen3_4b.yaml train.learning_rate=1e-6 data.window=128k
    python rft/train.py configs/qwen3_4b.yaml --dry-run

Exit status 2 and one line on a user's mistake, before any model loads. SIGTERM, SIGUSR1 and SIGINT end a run at a
checkpoint; the status is then 75 or 130 (process_exit.py). docs/faults.md says what can happen, and what to do.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from rft.config import Config, load_config, to_dict
from rft.parallel import ParallelMode, launch_notes, parallel_mode
from rft.planning.checks import check, without_effect
from rft.planning.size import RunSize, describe, size_of_replay, size_of_run
from rft.process_exit import FINISHED, before_leaving, leave, put_off, refused, status_after
from rft.run_lock import RunLock
from rft.stop import StopRequest
from rft.watching.watch import Watch

# torch and transformers are imported once the config is found sound: a wrong key is answered at once.
if TYPE_CHECKING:
    from signal import Signals

    from accelerate import Accelerator

    from rft.grpo.data import Data
    from rft.planning.start import Fitted


def main(argv: list[str] | None = None) -> int:
    """Parses, checks, prepares the data, trains; returns the exit status."""
    arguments = parse_arguments(argv)
    keep_memory_in_one_piece(os.environ)
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        config = load_config(arguments.config, arguments.overrides)
        check(config, world_size)
        mode = parallel_mode(config, world_size)
        fitted = fitted_to_machine(config, mode)
        if arguments.dry_run:
            dry_run(fitted, mode)
            return FINISHED
        stop = StopRequest(config.train.stop_grace_s)
        ready = prepare(fitted, mode, asked=config)
    except ValueError as error:
        return refused(error)
    from rft.rollout.engine import EngineLost

    try:
        return status_after(build_and_train(fitted.config, ready, stop))
    except EngineLost as error:
        return put_off(error)
    except Exception as error:  # whatever it is, it is said once, with what to do
        return ready.watch.fault(error)


def keep_memory_in_one_piece(environment: MutableMapping[str, str]) -> None:
    """What the scripts in launch/ export, for a run that another launcher started; a user's own setting stays.

    Micro-batches differ in size, which would leave a GPU's memory in pieces. PyTorch reads it when it is imported.
    """
    if not environment.get("PYTORCH_ALLOC_CONF"):  # the newer name, which PyTorch prefers
        environment.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def build_and_train(config: Config, ready: Prepared, stop: StopRequest) -> Signals | None:
    """The run itself; the signal that ended it, None where it came to its end."""
    from rft.grpo.run import build_run
    from rft.grpo.train import train

    return train(build_run(config, ready.accelerator, ready.data, ready.resume_from, stop=stop, watch=ready.watch))


def fitted_to_machine(config: Config, mode: ParallelMode) -> Fitted:
    """The run without `auto` values; one that cannot fit on this machine's GPUs is refused."""
    from rft.planning.start import fitted

    return fitted(config, mode)


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GRPO on questions about long contexts.")
    parser.add_argument("config", help="a yaml file, such as configs/qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and the plan, then exit")
    return parser.parse_intermixed_args(argv)


def dry_run(fitted: Fitted, mode: ParallelMode) -> None:
    """Prints the resolved config and the plan; reads the data where they are on this machine."""
    config = fitted.config
    print(yaml.safe_dump(to_dict(config), sort_keys=False))
    places = {config.data.source: os.path.expanduser(config.data.source)}
    places[config.model.model_name_or_path] = config.model.model_name_or_path
    remote = [name for name, place in places.items() if not Path(place).exists()]
    if remote:
        say_plan(fitted, mode)
        print(f"not counted      {' and '.join(remote)}: not on this machine, and a dry run downloads nothing")
        return
    _, size = load(config, mode.num_ranks)
    say_plan(fitted, mode, size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a run needs before any model loads."""

    accelerator: Accelerator
    data: Data | None
    """None with train.replay, which asks no questions."""
    resume_from: Path | None
    """The checkpoint that the run continues from."""
    watch: Watch


def prepare(fitted: Fitted, mode: ParallelMode, asked: Config) -> Prepared:
    """The data and the process group, once everything is checked that needs no weights.

    The data come first: while one process of a machine prepares them the others wait for its file lock, which has no
    time limit, as a collective has. Machines with caches of their own each prepare them.

    Args:
        asked: the config before its `auto` values were chosen.
    """
    import torch

    from rft.checkpoint.folder import check_writable
    from rft.checkpoint.resume import find_resumable
    from rft.distributed import on_cpu, start
    from rft.grpo.forest_attention import check_dtype
    from rft.grpo.kernel_agreement import use_agreeing_kernel
    from rft.grpo.layers import check_layer_settings
    from rft.grpo.run import attention
    from rft.models import check_layers, read_settings, resolve_dtype
    from rft.planning.start import check_same_choice
    from rft.rollout.vllm_options import check_kv_cache
    from rft.serving.engine import greet_servers
    from rft.tasks.registry import engine_window

    config = fitted.config
    check_writable("output_dir", Path(config.output_dir))
    find_resumable(config, mode)
    if config.model.lora.r > 0 or not config.train.shared_prefix:
        check_layers(config.model, attention(config))
    device = torch.device("cpu" if on_cpu() else "cuda")
    check_layer_settings(config.model, config.train, device)
    if config.train.shared_prefix:
        check_dtype(resolve_dtype(config.model), device)
    if on_cpu() and config.train.replay is None and config.rollout.engine == "local":
        check_kv_cache(config.model, config.rollout, engine_window(config))
    data, size = load(config, mode.num_ranks)
    if os.environ.get("RANK", "0") == "0":
        before_leaving(RunLock(Path(config.output_dir)).release)
    accelerator = start(config, mode)
    check_same_choice(config, asked, accelerator)
    if config.rollout.engine == "server" and data is not None:
        greet_servers(config, accelerator, data.tokenizer)
    watch = watch_ranks(config, accelerator)
    resume_from = choose_start(config, mode, accelerator, data)
    if accelerator.is_main_process:
        say_plan(fitted, mode, size)
        if resume_from is not None:
            print(describe_resume(resume_from, size))
    if config.train.shared_prefix:
        for line in use_agreeing_kernel(config.train.attention_kernel, read_settings(config.model), accelerator):
            accelerator.print(line)
    return Prepared(accelerator=accelerator, data=data, resume_from=resume_from, watch=watch)


def watch_ranks(config: Config, accelerator: Accelerator) -> Watch:
    """Begins to look after the ranks. Collective.

    Raises:
        ValueError: a rank sees another output_dir than the first one.
    """
    from rft.distributed import gather_lists

    watch = Watch(
        Path(config.output_dir),
        run=gather_lists(accelerator, [uuid.uuid4().hex])[0],
        rank=accelerator.process_index,
        num_ranks=accelerator.num_processes,
        stall_timeout_s=config.train.stall_timeout_s,
    )
    watch.start()
    accelerator.wait_for_everyone()
    strangers = [rank for rank in gather_lists(accelerator, [watch.rank]) if not watch.sees(rank)]
    if strangers:
        raise ValueError(
            f"output_dir = {config.output_dir} is not one folder for all ranks: rank {watch.rank} does not see what "
            f"rank {strangers[0]} wrote; name a folder on a file system that all machines share"
        )
    return watch


def choose_start(config: Config, mode: ParallelMode, accelerator: Accelerator, data: Data | None) -> Path | None:
    """The checkpoint to continue from, once all of it is read; None for a fresh start. Collective.

    Raises:
        ValueError: no checkpoint is whole, it was trained on other data, or its log files are not those of a run.
    """
    from rft.checkpoint.folder import move_earlier_run
    from rft.checkpoint.resume import check_same_data, choose_whole
    from rft.telemetry.run_log import LOGS, read_rows

    output_dir = Path(config.output_dir)
    if config.checkpoint.resume == "never" and accelerator.is_main_process:
        aside = move_earlier_run(output_dir)
        if aside is not None:
            print(f"checkpoint.resume=never: what an earlier run left in {output_dir} is now in {aside}")
    candidate = choose_whole(config, mode, accelerator)
    if candidate is None:
        return None
    if accelerator.is_main_process:
        check_same_data(candidate.checkpoint, data.fingerprint() if data is not None else None)
        for name in LOGS:
            read_rows(output_dir / name)
        for note in candidate.passed_over:
            print(f"{note}: {candidate.checkpoint.name} is used")
    return candidate.checkpoint


def describe_resume(checkpoint: Path, size: RunSize) -> str:
    from rft.checkpoint.state import read_state

    step = read_state(checkpoint).step
    if step >= size.num_steps:
        return f"continues        from {checkpoint}, which has all of the {size.num_steps:,} steps asked for already"
    return f"continues        from {checkpoint}, {size.num_steps - step:,} of {size.num_steps:,} steps to go"


def load(config: Config, world_size: int) -> tuple[Data | None, RunSize]:
    """The data and the size of the run; no data with train.replay.

    Raises:
        ValueError: data or a model that cannot be used.
    """
    from rft.grpo.data import check_model, load_data
    from rft.grpo.replay import num_saved

    if config.train.replay is not None:
        check_model(config)
        return None, size_of_replay(config, num_saved(Path(config.train.replay)))
    data = load_data(config)
    return data, size_of_run(config, world_size, len(data.train))


def say_plan(fitted: Fitted, mode: ParallelMode, size: RunSize | None = None) -> None:
    """Prints the plan, and what of the config does nothing."""
    import torch

    config = fitted.config
    print(describe(config, mode.num_ranks, size))
    print(f"parallel         {mode.describe()}")
    for line in fitted.lines:
        print(line)
    for line in [*without_effect(config, on_cuda=torch.cuda.is_available()), *launch_notes(os.environ)]:
        print(f"note: {line}")


if __name__ == "__main__":
    leave(main())
