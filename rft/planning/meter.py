"""Counts what a piece of code allocates and computes, operator by operator.

    with FakeTensorMode(allow_non_fake_inputs=True), Meter(weights) as meter:
        model(...).logits.sum().backward()
    meter.peak     most bytes that were alive at one time, weights left out

It works on real tensors and on fake ones, which have shapes and no memory: a forward and backward pass of a model of
any size then takes seconds, and no weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

MATRIX_PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm)

NO_TRAFFIC = (aten._unsafe_view, aten.detach, aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty)
"""Operators that touch no memory, though they return what is no view of their input."""

ANSWERS: dict[Any, Any] = {aten.allclose.default: True, aten._local_scalar_dense.default: 1.0}
"""What operators answer whose result is a number of Python's, which fake tensors do not have."""


class Meter(TorchDispatchMode):
    """Counts while it is entered.

    Args:
        weights: tensors that were there before and are not counted.
        vocab_size: tensors whose last dimension has this size are logits, and counted apart.
    """

    def __init__(self, weights: Iterable[Tensor] = (), vocab_size: int = 0) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.live = 0
        """Bytes alive now."""
        self.peak = 0
        """Most bytes alive at one time."""
        self.logits_at_peak = 0
        """Those of them that were logits or their gradients."""
        self.host_peak = 0
        """Most bytes alive at one time of what is not counted here, but as the host's."""
        self.pinned_peak = 0
        """What PyTorch takes of the host for that: each tensor's bytes rounded up to a power of two."""
        self.matmul_flops = 0
        """Two per multiplication and addition of matrix products. Attention kernels are not counted."""
        self.moved_bytes = 0
        """Bytes that operators other than matrix products and attention read and write, each operator by itself."""
        self._live_logits = 0
        self._live_on_host = 0
        self._live_pinned = 0
        self._ignored = {tensor.untyped_storage()._cdata for tensor in weights}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def of_the_host(self, tensor: Tensor) -> Tensor:
        """From now on the tensor counts as the host's."""
        storage = tensor.untyped_storage()
        del self._references[storage._cdata]
        size = storage.nbytes()
        self.live -= size
        self._references[storage._cdata] = weakref.ref(storage, self._forget_on_host(storage._cdata, size))
        self._live_on_host += size
        self._live_pinned += pinned_bytes(size)
        self.host_peak = max(self.host_peak, self._live_on_host)
        self.pinned_peak = max(self.pinned_peak, self._live_pinned)
        return tensor

    def _forget_on_host(self, key: int, size: int) -> Callable[[Any], None]:
        def forget(_: Any) -> None:
            del self._references[key]
            self._live_on_host -= size
            self._live_pinned -= pinned_bytes(size)

        return forget

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in ANSWERS:
            return ANSWERS[func]
        out = func(*args, **(kwargs or {}))
        if func.namespace != "aten":  # what asks for a tensor's device or shape
            return out
        produced = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in produced:
            self._see(tensor)
        self._count(func, args, kwargs or {}, out, produced)
        return out

    def _count(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, produced: list[Tensor]
    ) -> None:
        packet = func._overloadpacket
        if packet in MATRIX_PRODUCTS:
            self.matmul_flops += flop_registry[packet](*args, **kwargs, out_val=out)
        elif not func.is_view and packet not in NO_TRAFFIC and "attention" not in packet.__name__:
            read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.moved_bytes += sum(tensor.numel() * tensor.element_size() for tensor in [*read, *produced])

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._references or key in self._ignored:
            return
        size = storage.nbytes()
        logits = size if tensor.dim() > 0 and tensor.shape[-1] == self.vocab_size else 0
        self._references[key] = weakref.ref(storage, self._forget(key, size, logits))
        self.live += size
        self._live_logits += logits
        if self.live > self.peak:
            self.peak, self.logits_at_peak = self.live, self._live_logits

    def _forget(self, key: int, size: int, logits: int) -> Callable[[Any], None]:
        def forget(_: Any) -> None:
            del self._references[key]
            self.live -= size
            self._live_logits -= logits

        return forget


def pinned_bytes(size: int) -> int:
    """What PyTorch takes for `size` bytes of pinned memory (CachingHostAllocator.h, with its usual settings).

    Example: 3 * 2**28 bytes take 2**30.
    """
    return 1 << (size - 1).bit_length() if size else 0
