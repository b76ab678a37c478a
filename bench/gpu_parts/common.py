"""What the parts share: sizes, models, a clock that waits for the GPU, and the file of results."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.planning.cards import card_of_this_machine
from rft.planning.shape import QWEN3_4B

T = TypeVar("T")
LAST_WORDS_S = 10.0
"""Imports at the beginning of a part and what it says at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large everything is: Qwen3-4B at 32k on a GPU, or a toy that a CPU computes in seconds."""

    shape: dict[str, Any]
    """Of the model, as in its config.json."""
    dtype: torch.dtype
    prompt: int
    """Tokens of a history."""
    long_prompt: int
    """Of the longest one."""
    question: int
    completion: int
    decode: int
    """Tokens of a completion whose generation is timed."""
    short_prompt: int
    """Tokens of a prompt where only agreement is looked at."""
    memory_utilization: float
    """Of the GPU, by the engine; what is left holds the trainer's model, too."""
    kv_cache_gb: float
    """Of an engine on a CPU."""


FULL = Sizes(
    shape=QWEN3_4B,
    dtype=torch.bfloat16,
    prompt=32_768,
    long_prompt=131_072,
    question=64,
    completion=1024,
    decode=128,
    short_prompt=2048,
    memory_utilization=0.6,
    kv_cache_gb=1.0,
)

TOY = Sizes(
    shape=QWEN3_4B
    | {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 16,
        "head_dim": 32,
        "max_position_embeddings": 2048,
    },
    dtype=torch.float32,
    prompt=512,
    long_prompt=1024,
    question=8,
    completion=16,
    decode=8,
    short_prompt=64,
    memory_utilization=0.6,
    kv_cache_gb=0.1,
)


class Report:
    """Results of one part. Each is a line of the file as soon as it is there: nothing that was measured is lost.

    Args:
        path: a JSON lines file, which other parts write to as well.
        seconds: after which the part is stopped.
    """

    def __init__(self, path: Path, part: str, *, toy: bool, seconds: float = math.inf) -> None:
        self.path, self.part, self.toy = path, part, toy
        self.deadline = time.monotonic() + seconds - LAST_WORDS_S

    def seconds_left(self) -> float:
        """Of the part's time, without what its last words take."""
        return self.deadline - time.monotonic()

    def write(self, **found: Any) -> None:
        line = {"part": self.part, "card": device_name(), "toy": self.toy, "at": datetime.now(UTC).isoformat()} | found
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps({"part": self.part} | found), flush=True)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def bf16_peak() -> float | None:
    """Dense bfloat16 FLOP/s of this card by its data sheet; None without a GPU."""
    card = card_of_this_machine(0)
    return None if card is None else card.bf16_flops


def make_model(sizes: Sizes, attention: str) -> Qwen3ForCausalLM:
    """With random weights, the same each time."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(sizes.dtype)  # so that no float32 copy is ever in memory
    try:
        with torch.device(device()):
            return Qwen3ForCausalLM(Qwen3Config(**sizes.shape, attn_implementation=attention))
    finally:
        torch.set_default_dtype(before)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds until the device has done the work, and its result."""
    synchronize()
    begin = time.perf_counter()
    result = work()
    synchronize()
    return time.perf_counter() - begin, result


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
