"""The cards that a run can be planned for.

Compute is that of dense bfloat16 matrix products on the tensor cores, without structured sparsity. Memory is what CUDA
reports as the card's total (`torch.cuda.get_device_properties(0).total_memory`), some percent under the number in its
name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One GPU.

    Example:
        Card(name="h100", bf16_flops=989.4e12, bytes_per_second=3.35e12, link_bytes_per_second=450e9, memory_gib=79.1)
    """

    name: str
    bf16_flops: float
    """Peak FLOP/s of dense bfloat16 matrix products."""
    bytes_per_second: float
    """Peak bandwidth of its memory."""
    link_bytes_per_second: float
    """To the other cards of a machine (NVLink), in one direction."""
    memory_gib: float
    """Its total memory as CUDA reports it, in GiB."""

    @property
    def memory(self) -> int:
        """In bytes."""
        return int(self.memory_gib * GIB)


CARDS = {
    card.name: card
    for card in (
        # NVIDIA A100 data sheet, SXM4 80 GB: 312 TFLOP/s, 2,039 GB/s, NVLink 600 GB/s in both directions together.
        Card(
            name="a100-80",
            bf16_flops=312e12,
            bytes_per_second=2.039e12,
            link_bytes_per_second=300e9,
            memory_gib=79.1,
        ),
        # NVIDIA H100 data sheet, SXM5: 1,979 TFLOP/s with sparsity, half of it without; 3.35 TB/s; NVLink 900 GB/s.
        Card(
            name="h100",
            bf16_flops=989.4e12,
            bytes_per_second=3.35e12,
            link_bytes_per_second=450e9,
            memory_gib=79.1,
        ),
        # NVIDIA H200 data sheet, SXM: the H100's chip with 141 GB at 4.8 TB/s.
        Card(
            name="h200",
            bf16_flops=989.4e12,
            bytes_per_second=4.8e12,
            link_bytes_per_second=450e9,
            memory_gib=139.8,
        ),
        # NVIDIA HGX B200 data sheet: 2.25 PFLOP/s without sparsity, NVLink 1.8 TB/s. The driver reports a bus of 7,680
        # bits at 3,996 MHz, which is 7.67 TB/s, and 178.35 GiB (github.com/pytorch/ao/pull/4002).
        Card(
            name="b200",
            bf16_flops=2250e12,
            bytes_per_second=7.67e12,
            link_bytes_per_second=900e9,
            memory_gib=178.3,
        ),
    )
}

DEFAULT_CARD = "h100"
"""Planned for where nothing is named and this machine has no GPU."""

NAMES_OF_DEVICES = {"A100": "a100-80", "H100": "h100", "H200": "h200", "B200": "b200"}
"""What CUDA's names of the cards contain."""


def card_named(name: str, memory_gib: float | None = None) -> Card:
    """The card of that name, with another memory if one is given.

    Raises:
        ValueError: there is no such card, or the memory is no size.
    """
    if name not in CARDS:
        raise ValueError(
            f"no card '{name}'; choose one of {', '.join(CARDS)}, and --memory-gib for one of another size"
        )
    return CARDS[name] if memory_gib is None else with_memory(CARDS[name], memory_gib)


def with_memory(card: Card, memory_gib: float) -> Card:
    """The card with another memory.

    Raises:
        ValueError: the memory is no size.
    """
    if not 0 < memory_gib < math.inf:
        raise ValueError(f"--memory-gib = {memory_gib} is no size of a GPU's memory; give it in GiB, such as 79.1")
    return replace(card, memory_gib=memory_gib)


def planned_card(name: str | None, memory_gib: float | None = None) -> Card:
    """The card of that name; where none is named, that of this machine, and else the default one.

    Raises:
        ValueError: see `card_named`.
    """
    here = card_of_this_machine(0) if name is None else None
    if here is None:
        return card_named(name or DEFAULT_CARD, memory_gib)
    return here if memory_gib is None else with_memory(here, memory_gib)


def card_of_this_machine(index: int) -> Card | None:
    """GPU number `index` with the memory that it really has; None without a GPU.

    A card that is not in the table counts as the default one with its own memory: what fits is then right, and times
    are those of the default card.
    """
    if not torch.cuda.is_available():
        return None
    device = torch.cuda.get_device_properties(index)
    known = [name for part, name in NAMES_OF_DEVICES.items() if part in device.name]
    return with_memory(CARDS[known[0] if known else DEFAULT_CARD], device.total_memory / GIB)
