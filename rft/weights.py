"""The parameter stream: every full weight of a policy under its transformers name, one module at a time.

It feeds the engine after an optimizer step and the checkpoints. It reads plain models, models wrapped by
accelerate (DDP, DeepSpeed ZeRO-1, 2 and 3) and LoRA policies, whose adapters are merged aside: the base
weights are never touched, so no rounding of a merge and unmerge can build up in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from accelerate.utils import extract_model_from_parallel
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

FACTORS = ("lora_A", "lora_B")


def named_full_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields (transformers name, full detached tensor); a weight shared by several modules comes once.

    Tensors stay valid after the next one is drawn. Those of an unpartitioned model share memory with it, so a
    later optimizer step changes them. Under ZeRO-3 each module is gathered in turn, a collective: every rank
    must draw the whole stream.

    Raises:
        ValueError: an adapter that cannot be expressed as one plain weight.
    """
    root = extract_model_from_parallel(model)
    if isinstance(root, PeftModel):
        root = root.get_base_model()
    sent: set[int] = set()
    for path, module in weight_modules(root):
        weights = lora_weights(path, module, sent) if isinstance(module, LoraLayer) else plain_weights(module, sent)
        for name, tensor in weights:
            yield (f"{path}.{name}" if path else name), tensor


def named_adapter_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yields (peft's name, full detached tensor) of a policy's one LoRA adapter: A [r, in] and B [out, r] per layer.

    Under ZeRO-3 a collective, as `named_full_weights`.

    Raises:
        ValueError: an adapter that an engine cannot add to its base weights.
    """
    root = extract_model_from_parallel(model)
    assert isinstance(root, PeftModel), "a policy without adapters"
    base = root.get_base_model()
    head = base.get_output_embeddings() if hasattr(base, "get_output_embeddings") else None
    for path, module in weight_modules(base):
        if not isinstance(module, LoraLayer):
            continue
        if type(module) is not LoraLinear or module.lora_variant or module is head:
            raise ValueError(f"LoRA on '{path}' is no adapter that vLLM serves; set rollout.lora=merged")
        (adapter,) = module.active_adapters
        factors = [getattr(module, kind)[adapter].weight for kind in FACTORS]
        for kind, tensor in zip(FACTORS, full(factors), strict=True):
            yield f"base_model.model.{path}.{kind}.weight", tensor


class FullWeights:
    """The weights of a policy as they are whenever somebody iterates: `named_full_weights`, or its adapter."""

    def __init__(self, policy: nn.Module, *, adapter: bool = False) -> None:
        self.policy = policy
        self.stream = named_adapter_weights if adapter else named_full_weights

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return self.stream(self.policy)


def weight_modules(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Modules in registration order, parents first; a LoRA layer stands for the layer it wraps."""
    if isinstance(module, ModulesToSaveWrapper):
        raise ValueError(f"'{path}' is a full copy kept beside LoRA (modules_to_save); train it with lora.r=0 instead")
    yield path, module
    if not isinstance(module, LoraLayer):
        for name, child in module.named_children():
            yield from weight_modules(child, f"{path}.{name}" if path else name)


def plain_weights(module: nn.Module, sent: set[int]) -> list[tuple[str, Tensor]]:
    """The module's own parameters that are not in `sent` (ids of parameters) yet."""
    new = {name: parameter for name, parameter in module.named_parameters(recurse=False) if id(parameter) not in sent}
    sent.update(id(parameter) for parameter in new.values())
    return list(zip(new, full(list(new.values())), strict=True))


def lora_weights(path: str, layer: LoraLayer, sent: set[int]) -> list[tuple[str, Tensor]]:
    """The wrapped layer's parameters, the weight as W + sum of scaling * B A over the active adapters.

    W: [out, in], A: [r, in], B: [out, r]; summed in fp32, returned in W's type (arXiv 2106.09685, section 4.1).
    """
    if type(layer) is not LoraLinear or layer.lora_variant:
        raise ValueError(f"LoRA on '{path}' cannot be merged into one weight; leave it out of lora.target_modules")
    assert not layer.merged, f"the adapter of '{path}' is already merged"
    own = dict(layer.get_base_layer().named_parameters(recurse=False))
    if id(own["weight"]) in sent:
        raise ValueError(f"LoRA on '{path}', whose weight is tied; leave it out of lora.target_modules")
    sent.update(id(parameter) for parameter in own.values())
    adapters = layer.active_adapters
    factors = {f"{kind}/{adapter}": getattr(layer, kind)[adapter].weight for kind in FACTORS for adapter in adapters}
    tensors = dict(zip([*own, *factors], full([*own.values(), *factors.values()]), strict=True))
    merged = tensors["weight"].float()
    for adapter in adapters:
        a, b = (tensors[f"{kind}/{adapter}"].float() for kind in FACTORS)
        merged = merged + layer.scaling[adapter] * (b @ a)
    return [(name, merged.to(own[name].dtype) if name == "weight" else tensors[name]) for name in own]


def full(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The parameters' whole values, detached; copies where ZeRO-3 has them partitioned."""
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        return [parameter.detach() for parameter in parameters]
    from deepspeed.runtime.zero import GatheredParameters  # only ZeRO-3 runs need it

    with GatheredParameters(list(parameters)), torch.no_grad():
        return [parameter.detach().clone() for parameter in parameters]
