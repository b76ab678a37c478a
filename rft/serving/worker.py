"""Inside a vLLM server: what a run asks of its workers (`--worker-extension-cls`), and how new weights come in.

Weights come as safetensors files in a folder that trainer and server both see: shared memory where both are on one
machine, a shared disk elsewhere. A server that was started again gets the weights of the last sync in the same way.

No method raises: an exception in a worker leaves a vLLM server that answers no further call (0.31). What went wrong is
what the method returns. A server whose weights are half loaded is none: it says so and ends, and whoever started it
starts it again (launch/vllm_server.sh).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

SHAPE = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
)
"""Of a model's config: models that differ in none take each other's weights."""


LAST_WORDS_S = 2.0
"""For the answer that says why."""


class WorkerExtension:
    """vLLM adds these methods to its worker, whose attributes they use."""

    vllm_config: Any
    model_runner: Any

    def rft_model_shape(self) -> dict[str, int]:
        """The numbers in SHAPE, as far as the model's config has them."""
        return shape_of(self.vllm_config.model_config.hf_text_config)

    def rft_sum_of_files(self, folder: str) -> dict[str, float | None]:
        """`sum` of all numbers in a folder's files, which shows that they reach the server; None without files."""
        try:
            tensors = list(tensors_in(Path(folder)))
        except Exception:
            tensors = []
        return {"sum": sum(float(tensor.double().sum()) for _, tensor in tensors) if tensors else None}

    def rft_load_files(self, folder: str) -> dict[str, str | None]:
        """Loads a whole model; `error` is what went wrong, or None. After a load that failed on the way it ends."""
        from vllm.config import set_current_vllm_config

        from rft.rollout.vllm_weights import load_weights

        if not list(Path(folder).glob("*.safetensors")):
            return {"error": f"the server sees no weights in {folder}"}
        try:
            with set_current_vllm_config(self.vllm_config), torch.no_grad():
                load_weights(self.model_runner.get_model(), tensors_in(Path(folder)), self.vllm_config.model_config)
        except Exception as error:
            # vLLM would go on with the layers that this load has begun.
            threading.Timer(LAST_WORDS_S, os._exit, (os.EX_SOFTWARE,)).start()
            return {"error": f"{type(error).__name__}: {error}"}
        return {"error": None}


def shape_of(settings: Any) -> dict[str, int]:
    """The numbers in SHAPE that a model's config has."""
    return {name: int(getattr(settings, name)) for name in SHAPE if getattr(settings, name, None) is not None}


def tensors_in(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Every (name, tensor) of the folder's files, one tensor in memory at a time."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  a safetensors handle is no mapping
                yield name, file.get_tensor(name)
