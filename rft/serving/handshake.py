"""Before a run begins: is this server one for it? Each mistake is one line."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from rft.serving.client import Server, ServerFault
from rft.serving.command import EXTENSION
from rft.serving.worker import shape_of
from rft.telemetry.provenance import installed_version

LOOK_S = 2.0

PROBE_TEXT = "Does Zoë still prefer jazz over 7 other styles?\n\tNo -- \U0001f3b7 only."
"""Two tokenizers that agree on it are the same, in all likelihood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says of itself.

    Example:
        ServerFacts(version="0.31.0", window=36_000, dtype="bfloat16", logprobs_mode="processed_logprobs",
                    extension="rft.serving.worker.WorkerExtension", kv_cache_tokens=412_000,
                    shape={"hidden_size": 2560, ...},
                    probe_ids=(5, 17, 2))
    """

    version: str
    window: int
    dtype: str
    logprobs_mode: str
    extension: str | None
    """The class whose methods its workers have."""
    kv_cache_tokens: int
    shape: dict[str, Any]
    """Of its model (rft/serving/worker.py)."""
    probe_ids: tuple[int, ...] | None
    """Its tokens of PROBE_TEXT; None where it has no tokenizer."""
    weight_transfer: str | None = None
    """vLLM's own way for weights that it was started with; files need none."""
    lora_rank: int | None = None
    """The largest rank of a LoRA adapter that it has room for; None where it takes none."""


def meet(server: Server, timeout_s: float) -> ServerFacts:
    """Waits for a server that is still starting, then asks it.

    Raises:
        ValueError: it does not answer for `timeout_s`, or has not what a run needs.
    """
    until = time.monotonic() + timeout_s
    while True:
        try:
            server.get("/health")
            break
        except ServerFault as fault:
            if time.monotonic() > until:
                raise ValueError(
                    f"rollout.servers: {fault}, for {timeout_s:g} s; start it with rft/serve.py, or mend the address"
                ) from None
            time.sleep(LOOK_S)
    try:
        return facts_of(server)
    except (ServerFault, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"rollout.servers: {server.url} has not what a run needs ({error}); start it with rft/serve.py"
        ) from None


def facts_of(server: Server) -> ServerFacts:
    settings = server.get("/server_info?config_format=json")["vllm_config"]
    model, extension = settings["model_config"], settings["parallel_config"].get("worker_extension_cls")
    try:
        probe = server.post("/tokenize", {"prompt": PROBE_TEXT, "add_special_tokens": False})["tokens"]
    except ServerFault:
        probe = None
    return ServerFacts(
        version=str(server.get("/version")["version"]),
        window=int(model["max_model_len"]),
        dtype=str(model["dtype"]).removeprefix("torch."),
        logprobs_mode=str(model["logprobs_mode"]),
        extension=extension or None,
        kv_cache_tokens=int(settings["cache_config"].get("kv_cache_size_tokens") or 0),
        # Without the extension the question itself would be the server's end.
        shape=dict(server.ask_workers("rft_model_shape")[0]) if extension == EXTENSION else {},
        probe_ids=None if probe is None else tuple(probe),
        weight_transfer=(settings.get("weight_transfer_config") or {}).get("backend"),
        lora_rank=int(lora["max_lora_rank"]) if isinstance(lora := settings.get("lora_config"), dict) else None,
    )


def check_server(
    url: str,
    facts: ServerFacts,
    settings: PretrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    window: int,
    dtype: torch.dtype,
    lora_rank: int | None = None,
    weight_transfer: str = "files",
) -> None:
    """
    Args:
        settings: of the trainer's model.
        window: tokens of the run's longest request.
        dtype: of the trainer's weights.
        lora_rank: of the adapters that the server is to take; None where it gets whole weights.
        weight_transfer: rollout.weight_transfer.

    Raises:
        ValueError: names what differs.
    """
    ours = installed_version("vllm") or facts.version  # a trainer needs none of its own
    name = str(dtype).removeprefix("torch.")
    shape = shape_of(settings)
    probe = tuple(tokenizer(PROBE_TEXT, add_special_tokens=False)["input_ids"])
    problems = [
        (facts.version.partition("+")[0] != ours.partition("+")[0], f"vllm {facts.version}, here it is {ours}"),
        (facts.probe_ids not in (None, probe), "another tokenizer"),
        (facts.window < window, f"a window of {facts.window} tokens, the run needs {window}"),
        (facts.dtype != name, f"weights in {facts.dtype}, the trainer's are {name}"),
        (facts.logprobs_mode != "processed_logprobs", f"log-probs of mode {facts.logprobs_mode}"),
        (facts.extension != EXTENSION, f"no way for weights (worker extension {facts.extension})"),
        (
            lora_rank is not None and (facts.lora_rank or 0) < lora_rank,
            f"no room for adapters of rank {lora_rank} (rollout.lora=adapter)",
        ),
        (lora_rank is None and facts.lora_rank is not None, "room for adapters, and rollout.lora is merged"),
        (
            weight_transfer == "nccl" and facts.weight_transfer != "nccl",
            "no way for weights over NCCL (rollout.weight_transfer=nccl)",
        ),
        (facts.shape != shape, f"another model: {facts.shape}, the run's has {shape}"),
    ]
    for differs, what in problems:
        if differs:
            raise ValueError(f"rollout.servers: {url} has {what}; start it with rft/serve.py and this run's config")
