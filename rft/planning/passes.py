"""What one micro-batch costs: the run's own forward and backward pass on fake tensors, which have shapes and no memory.

The model is built from its config.json, without weights. On the way of a GPU the attention kernels of a GPU are taken,
whose outputs PyTorch can describe without one.

A model of many layers is computed with two layers. What every further layer adds is the difference between three and
two: all layers are alike, and the most memory is in use when all of them have been through the forward pass. For this
difference the LM head has little to do, since most of the time goes into its many chunks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from rft.config import Config
from rft.grpo import activation_offloading, attention_kernels
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.layers import prepare_layers
from rft.grpo.logprobs import trained_token_logprobs
from rft.models import add_lora
from rft.planning.kernel_memory import ATEN_ON_A_GPU
from rft.planning.meter import Meter
from rft.records import Sample

FEW_LAYERS = 4
"""A model of so many layers is computed as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassCost:
    """One micro-batch through the model.

    Example, forward and backward of Qwen3-4B with checkpointing, 69,768 tokens of which 32,768 are trained on:
        PassCost(tokens=69_768, activations=28_626_000_000, logits=0, host=0, pinned=0, matmul_flops=2.0e15,
                 moved_bytes=8.2e12)
    """

    tokens: int
    """Tokens that went through the model."""
    activations: int
    """Bytes alive at the peak, besides weights, the gradients that are kept of them, and logits."""
    logits: int
    """Bytes of logits and their gradients at the peak."""
    host: int
    """Bytes of offloaded activations in host memory; 0 on a CPU, where these are among `activations`."""
    pinned: int
    """Bytes that PyTorch takes of the host for them."""
    matmul_flops: float
    """Of matrix products: forward, backward, and what is computed again."""
    moved_bytes: float
    """Read and written by everything that is no matrix product and no attention kernel, operator by operator."""

    @property
    def peak(self) -> int:
        return self.activations + self.logits


def pass_cost(
    config: Config,
    shape: PretrainedConfig,
    samples: Sequence[Sample],
    *,
    backward: bool,
    dtype: torch.dtype,
    autocast: torch.dtype | None,
    on_cuda: bool,
) -> PassCost:
    """The cost of one micro-batch.

    Args:
        backward: a pass of the update; else one without gradient.
        dtype: of the weights.
        autocast: in which products are computed, where it is not `dtype`.
    """

    def run(num_layers: int, samples: Sequence[Sample]) -> PassCost:
        with fake_policy(config, shape, num_layers, dtype, on_cuda=on_cuda) as policy:
            return metered_pass(config, policy, samples, backward=backward, autocast=autocast, on_cuda=on_cuda)

    num_layers = shape.get_text_config().num_hidden_layers
    if num_layers <= FEW_LAYERS:
        return run(num_layers, samples)
    little = [with_one_trained_token(sample) for sample in samples]
    return with_more_layers(run(2, samples), run(2, little), run(3, little), num_layers - 2)


def with_one_trained_token(sample: Sample) -> Sample:
    """The same path; all but its last token counts as prompt."""
    return replace(
        sample,
        prompt_ids=sample.prompt_ids + sample.completion_ids[:-1],
        completion_ids=sample.completion_ids[-1:],
        sampling_logprobs=sample.sampling_logprobs[-1:],
    )


def with_more_layers(cost: PassCost, two: PassCost, three: PassCost, more: int) -> PassCost:
    """`cost` and `more` times what the third layer adds to two."""
    return PassCost(
        tokens=cost.tokens,
        activations=cost.activations + more * (three.peak - two.peak),
        logits=cost.logits,
        host=cost.host + more * (three.host - two.host),
        pinned=cost.pinned + more * (three.pinned - two.pinned),
        matmul_flops=cost.matmul_flops + more * (three.matmul_flops - two.matmul_flops),
        moved_bytes=cost.moved_bytes + more * (three.moved_bytes - two.moved_bytes),
    )


@contextmanager
def fake_policy(
    config: Config, shape: PretrainedConfig, num_layers: int, dtype: torch.dtype, *, on_cuda: bool
) -> Iterator[PreTrainedModel]:
    """The policy with its settings for training, as fake tensors; inside the block everything is fake."""
    policy = meta_policy(config, shape, dtype, num_layers)
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        if on_cuda:
            stack.enter_context(attention_of_a_gpu())
        put_on_cpu(policy)
        yield policy


def put_on_cpu(model: nn.Module) -> None:
    """Replaces what stands on the meta device by tensors of the CPU, in place; they are fake where everything is.

    Autocast, which knows no meta device, is the reason.
    """
    made: dict[int, torch.Tensor] = {}  # tied weights stay one
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, old in tensors.items():
                if old is not None and id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    made[id(old)] = nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
                cast(Any, tensors)[name] = None if old is None else made[id(old)]


@contextmanager
def attention_of_a_gpu() -> Iterator[None]:
    """Forest attention on the CPU device calls a GPU's kernel: fake tensors know what it returns, and
    kernel_memory.py what it needs meanwhile."""
    before = attention_kernels.IN_USE["cpu"]
    attention_kernels.IN_USE["cpu"] = ATEN_ON_A_GPU
    try:
        yield
    finally:
        attention_kernels.IN_USE["cpu"] = before


def meta_policy(
    config: Config, shape: PretrainedConfig, dtype: torch.dtype, num_layers: int | None = None
) -> PreTrainedModel:
    """What rft.models.load_policy gives, on PyTorch's meta device.

    Args:
        num_layers: of the model, in place of its own number.
    """
    shape = copy.deepcopy(shape)
    text = shape.get_text_config()
    if num_layers is not None:
        text.num_hidden_layers = num_layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:num_layers]
    with torch.device("meta"):
        return build_policy(config, shape, dtype)


def build_policy(config: Config, shape: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    attention = FOREST_ATTENTION if config.train.shared_prefix else config.model.attn_implementation
    policy: PreTrainedModel = AutoModelForCausalLM.from_config(shape, dtype=dtype, attn_implementation=attention)
    if config.train.gradient_checkpointing:
        policy.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.model.lora.r > 0:
        policy = add_lora(policy, config.model.lora)
    # The fused kernels of liger-kernel run on a GPU alone; without them a little more is counted.
    prepare_layers(policy, replace(config.train, use_liger_kernel=False))
    return policy


def metered_pass(
    config: Config,
    policy: nn.Module,
    samples: Sequence[Sample],
    *,
    backward: bool,
    autocast: torch.dtype | None,
    on_cuda: bool,
) -> PassCost:
    """One pass of the run's own code. The gradient of a weight goes as soon as it is complete: what holds gradients is
    counted elsewhere (sharding.py)."""
    policy.train(backward)
    for parameter in policy.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(drop_gradient)
    settings: Any = policy.config
    vocab_size = settings.get_text_config().vocab_size
    with (
        Meter(policy.parameters(), vocab_size) as meter,
        host_memory_apart(meter) if on_cuda else nullcontext(),
        torch.set_grad_enabled(backward),
    ):
        with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
            scored = trained_token_logprobs(
                policy,
                samples,
                config.rollout.temperature,
                shared_prefix=config.train.shared_prefix,
                entropy=backward,
            )
        if backward:
            # The loss itself is a few numbers per trained token.
            scored.logps.sum().backward()
    return PassCost(
        tokens=scored.num_computed,
        activations=meter.peak - meter.logits_at_peak,
        logits=meter.logits_at_peak,
        host=meter.host_peak,
        pinned=meter.pinned_peak,
        matmul_flops=meter.matmul_flops,
        moved_bytes=meter.moved_bytes,
    )


def drop_gradient(parameter: torch.Tensor) -> None:
    parameter.grad = None


@contextmanager
def host_memory_apart(meter: Meter) -> Iterator[None]:
    """What is offloaded to the host on a GPU is counted as the host's, though all tensors here are of one device."""
    before = activation_offloading.empty_on_host

    def empty_on_host(tensor: torch.Tensor) -> torch.Tensor:
        return meter.of_the_host(before(tensor))

    activation_offloading.empty_on_host = empty_on_host
    try:
        yield
    finally:
        activation_offloading.empty_on_host = before
