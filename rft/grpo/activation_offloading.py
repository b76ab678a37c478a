"""Keeps the inputs of checkpointed layers in host memory between the forward and the backward pass.

With gradient checkpointing the hidden states [1, T, hidden] that enter a layer are all that is kept of it, and with
many tokens they are most of what is kept at all: at 172,768 tokens 0.8 GiB for each of Qwen3-4B's 36 layers.

transformers has `gradient_checkpointing_enable(offload=True)`, which moves the same tensors with both copies on the
stream that computes; trl's OffloadActivations moves whatever autograd saves, needs a GPU even to be made, and fetches a
tensor only when the backward pass waits for it. Here copies run on a stream of their own: out while the next layers are
computed, and back one layer ahead, while the layer after it is computed anew.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers.modeling_layers import GradientCheckpointingLayer

MAX_ON_DEVICE = 2
"""How many inputs may be on the device while nothing computes with them: those whose copy to the host may still be
under way, and those fetched ahead. The last ones of a forward pass, which the backward pass wants first, never have to
come back."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class KeptInput:
    """One layer's input between forward and backward.

    Example, as soon as its copy is under way: KeptInput(host=<[1, T, hidden] on the CPU>, on_device=<the same>, ...)
    """

    host: Tensor
    on_device: Tensor | None
    """The same numbers where the layer computes; None while they are in host memory only."""
    device: torch.device
    previous: weakref.ref[KeptInput] | None
    """What was kept before it, which the backward pass wants next."""
    copied_out: torch.Event | None = None
    """Passes when `host` is complete; None without a GPU, as below."""
    copied_in: torch.Event | None = None
    """Passes when `on_device` is complete once it was fetched."""
    used: bool = False
    """The backward pass has had it."""


class OffloadedInputs:
    """The inputs of one model's checkpointed layers.

    `keep` and `give_back` are the two hooks of `saved_tensors_hooks`. Without a GPU the copies are plain ones in host
    memory: nothing is won, and everything else happens as on a GPU.
    """

    def __init__(self) -> None:
        self._leaving: deque[KeptInput] = deque()
        self._newest: weakref.ref[KeptInput] | None = None
        self._streams: dict[torch.device, torch.cuda.Stream] = {}

    def checkpoint(self, checkpoint: Callable[..., Any]) -> Callable[..., Any]:
        """`checkpoint` as a layer calls it, non-reentrant, with its tensor arguments kept here.

        The hooks see these arguments and nothing else: within the layer the hooks of `checkpoint` itself apply.
        """

        def offloading(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            with saved_tensors_hooks(self.keep, self.give_back):
                return checkpoint(function, *args, **kwargs)

        return offloading

    def keep(self, tensor: Tensor) -> KeptInput:
        kept = KeptInput(empty_on_host(tensor), tensor.detach(), tensor.device, self._newest)
        self._newest = weakref.ref(kept)
        with self._beside(tensor.device) as stream:
            kept.host.copy_(tensor.detach(), non_blocking=True)
            kept.copied_out = stream.record_event() if stream is not None else None
        self._leaving.append(kept)
        while len(self._leaving) > MAX_ON_DEVICE:
            self._leave(self._leaving.popleft())
        return kept

    def give_back(self, kept: KeptInput) -> Tensor:
        """The input, where its layer computes. The one before it is fetched meanwhile."""
        if kept in self._leaving:
            self._leaving.remove(kept)
        tensor = self._fetch(kept)
        previous = kept.previous() if kept.previous is not None else None
        if previous is not None and not previous.used:
            self._fetch(previous)
        if kept.copied_in is not None:
            torch.cuda.current_stream(kept.device).wait_event(kept.copied_in)
        kept.on_device, kept.used = None, True
        return tensor

    def bytes_on_device(self) -> int:
        """Of the inputs whose copy may still be under way."""
        return sum(kept.on_device.nbytes for kept in self._leaving if kept.on_device is not None)

    def _leave(self, kept: KeptInput) -> None:
        """Gives up the device's copy, whose memory the computation may then use: it has to wait for the copy out."""
        if kept.copied_out is not None:
            torch.cuda.current_stream(kept.device).wait_event(kept.copied_out)
        kept.on_device = None

    def _fetch(self, kept: KeptInput) -> Tensor:
        """The input on its device, perhaps with the copy still under way."""
        if kept.on_device is None:
            # Memory of the stream that computes: it is returned there when the layer is done with it.
            kept.on_device = torch.empty_like(kept.host, device=kept.device, pin_memory=False)
            with self._beside(kept.device) as stream:
                kept.on_device.copy_(kept.host, non_blocking=True)
                kept.copied_in = stream.record_event() if stream is not None else None
        return kept.on_device

    @contextmanager
    def _beside(self, device: torch.device) -> Iterator[torch.cuda.Stream | None]:
        """A stream for copies, which starts where the computation stands now: what it reads is there by then, and what
        it writes to is no longer in use. None without a GPU."""
        if device.type != "cuda":
            with nullcontext():
                yield None
            return
        stream = self._streams.setdefault(device, torch.cuda.Stream(device))
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            yield stream


def empty_on_host(tensor: Tensor) -> Tensor:
    """Host memory for a copy, pinned where a GPU copies: only then does the copy run beside the computation."""
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.is_cuda)


def offload_layer_inputs(model: nn.Module) -> OffloadedInputs:
    """Has every checkpointed layer of `model` keep its input in host memory."""
    inputs = OffloadedInputs()
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer) and layer.gradient_checkpointing:
            layer._gradient_checkpointing_func = inputs.checkpoint(layer._gradient_checkpointing_func)
    return inputs
