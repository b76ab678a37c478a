"""Computes the MLPs of a model over tiles of tokens, forward and backward.

Shapes: N tokens, hidden size, and the MLP's own, wider size (9,728 in Qwen3-4B, 3.8 times the hidden size).

An MLP works on each token alone, and its backward pass holds about five tensors [N, wider size]: at 172,768 tokens
15.7 GiB for a single layer. Over tiles these exist for one tile at a time. Forward only the input is kept, and the
backward pass computes each tile anew.

DeepSpeed's TiledMLP and liger-kernel's copy of it do the same, but call `autograd.backward` in their backward pass, so
that a weight's gradient arrives once per tile: DistributedDataParallel counts arrivals and fails, and in bfloat16 each
tile's sum is rounded. Here gradients of weights are summed over tiles in float32 and returned like those of any other
operation. Under gradient checkpointing they compute an MLP three times, as would `checkpoint` around each tile; here it
is twice, as without tiles, but for the MLP's last product, which checkpointing alone leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.modeling_layers import GradientCheckpointingLayer

TILE_TOKENS = 8192
"""Of one tile. Its matrix products are large enough to be as fast as those of all tokens; Qwen3-4B's take 0.75 GiB."""

TokenFunction = Callable[[Tensor], Tensor]
"""[N, hidden] -> [N, hidden], each token for itself."""


def tile_mlps(model: Any) -> None:
    """Replaces the forward of every layer's MLP by one over tiles; hooks on it, and adapters in it, stay.

    Raises:
        ValueError: a layer has no MLP that is made of linear layers alone, such as one of experts.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    mlps = [getattr(layer, "mlp", None) for layer in layers]
    for mlp in mlps or [None]:
        if not isinstance(mlp, nn.Module) or not is_made_of_linear_layers(mlp):
            raise ValueError(
                f"train.tiled_mlp does not work with {model.config.model_type}: it has layers without a plain MLP; set "
                "train.tiled_mlp=false"
            )
    for mlp in mlps:
        assert mlp is not None
        mlp.forward = partial(tiled_forward, mlp, mlp.forward)
        if is_deepspeed_zero3_enabled():
            from deepspeed.utils import set_z3_leaf_module

            # DeepSpeed then gathers the MLP's weights once for all tiles. It would gather those of each linear layer at
            # each call, and ranks with different numbers of tiles would wait for each other forever.
            set_z3_leaf_module(mlp, True)


def is_made_of_linear_layers(mlp: nn.Module) -> bool:
    """Every weight belongs to a linear layer or to an adapter of one."""
    adapted = {id(p) for module in mlp.modules() if isinstance(module, LoraLayer) for p in module.parameters()}
    linear = {id(p) for module in mlp.modules() if isinstance(module, nn.Linear) for p in module.parameters()}
    return {id(parameter) for parameter in mlp.parameters()} <= adapted | linear


def tiled_forward(mlp: nn.Module, forward: TokenFunction, hidden: Tensor) -> Tensor:
    """`forward(hidden)`, hidden [..., hidden size], over tiles where there are more tokens than one tile has."""
    tokens = hidden.flatten(0, -2)
    if len(tokens) <= TILE_TOKENS:
        return forward(hidden)
    trained = [parameter for parameter in mlp.parameters() if parameter.requires_grad]
    # Under gradient checkpointing a layer is computed anew up to the last tensor that it keeps. The input is kept
    # before the tiles are computed, so that is where it ends: the tiles wait for their own backward pass.
    kept = KeepInput.apply(tokens.new_empty(0).requires_grad_(), tokens)
    return TiledMlp.apply(forward, kept.grad_fn, tokens, *trained).view_as(hidden)


class KeepInput(torch.autograd.Function):
    """Saves `tokens` for whoever holds the `grad_fn` of what it returns, an empty tensor that is in no graph."""

    @staticmethod
    def forward(ctx: Any, needs_graph: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        return needs_graph.new_empty(0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise AssertionError("nothing is computed from what KeepInput returns")


class TiledMlp(torch.autograd.Function):
    """forward, where tokens [N, hidden] are kept, tokens, trained weights -> [N, hidden]."""

    @staticmethod
    def forward(ctx: Any, forward: TokenFunction, kept: Any, tokens: Tensor, *trained: Tensor) -> Tensor:
        ctx.forward, ctx.kept, ctx.trained = forward, kept, trained
        ctx.same_state = same_state(tokens.device)
        result: Tensor | None = None
        with autocast_as_now(tokens.device)():
            for tile in tiles(len(tokens)):
                part = forward(tokens[tile])
                result = part.new_empty(len(tokens), part.shape[-1]) if result is None else result
                result[tile] = part
        assert result is not None
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (tokens,) = ctx.kept.saved_tensors
        grad_tokens = torch.empty_like(tokens) if ctx.needs_input_grad[2] else None
        sums = [torch.zeros_like(weight, dtype=wider(weight.dtype)) for weight in ctx.trained]
        with ctx.same_state(), torch.enable_grad():
            for tile in tiles(len(tokens)):
                leaf = tokens[tile].detach().requires_grad_(grad_tokens is not None)
                inputs = [leaf, *ctx.trained] if grad_tokens is not None else list(ctx.trained)
                found = list(torch.autograd.grad(ctx.forward(leaf), inputs, grad[tile], materialize_grads=True))
                if grad_tokens is not None:
                    grad_tokens[tile] = found.pop(0)
                for total, part in zip(sums, found, strict=True):
                    total += part
        return None, None, grad_tokens, *(s.to(w.dtype) for s, w in zip(sums, ctx.trained, strict=True))


def tiles(num_tokens: int) -> Iterator[slice]:
    """As few tiles as TILE_TOKENS allows, of equal size but for the last.

    Example, 10 tokens with TILE_TOKENS = 4: 0..4, 4..8, 8..10.
    """
    size = math.ceil(num_tokens / math.ceil(num_tokens / TILE_TOKENS))
    return (slice(start, start + size) for start in range(0, num_tokens, size))


def wider(dtype: torch.dtype) -> torch.dtype:
    """What many numbers of this type are summed in."""
    return torch.promote_types(dtype, torch.float32)


def autocast_as_now(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """Makes contexts with autocast as it is when this is called.

    Nothing is cached in them: a weight that was cast without a gradient would be found where one is needed.
    """
    name = device.type
    dtype, enabled = torch.get_autocast_dtype(name), torch.is_autocast_enabled(name)
    return partial(torch.autocast, name, dtype=dtype, enabled=enabled, cache_enabled=False)


def same_state(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """Makes contexts with autocast and the random generators (dropout) as they are when this is called."""
    autocast, on_cuda = autocast_as_now(device), device.type == "cuda"
    cpu_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if on_cuda else None

    @contextmanager
    def again() -> Iterator[None]:
        with torch.random.fork_rng(devices=[device] if on_cuda else []), autocast():
            torch.set_rng_state(cpu_state)
            if cuda_state is not None:
                torch.cuda.set_rng_state(cuda_state, device)
            yield

    return again
