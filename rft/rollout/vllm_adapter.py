"""The one LoRA adapter of an engine in this process (rollout.lora=adapter): each version replaces the one before."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from rft.config import LoraConfig
from rft.rollout.adapter_files import write_adapter

if TYPE_CHECKING:
    from vllm import LLM
    from vllm.lora.request import LoRARequest


class Adapter:
    """The one LoRA adapter of an engine: each version replaces the one before."""

    def __init__(self, llm: LLM, lora: LoraConfig) -> None:
        self.llm = llm
        self.lora = lora
        self.present: LoRARequest | None = None
        """For the requests; None before the first version."""

    def replace(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Raises RuntimeError where vLLM does not take the adapter."""
        from vllm.lora.request import LoRARequest

        before = self.present
        version = 1 if before is None else before.lora_int_id + 1
        with tempfile.TemporaryDirectory(prefix="rft-adapter-") as folder:
            write_adapter(Path(folder), weights, self.lora)
            # A name of its own per version, which vLLM makes part of every cached prefix.
            request = LoRARequest(f"version-{version}", version, folder)
            if before is not None:
                self.llm.llm_engine.remove_lora(before.lora_int_id)
            if not self.llm.llm_engine.add_lora(request):
                raise RuntimeError("vLLM did not take the LoRA adapter; set rollout.lora=merged")
        self.present = request
