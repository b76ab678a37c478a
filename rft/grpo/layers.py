"""What a model's layers compute with, and what they keep: settings that change a result by no more than rounding."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.integrations.liger import apply_liger_kernel

from rft.config import ModelConfig, TrainConfig
from rft.extras import need
from rft.grpo.activation_offloading import offload_layer_inputs
from rft.grpo.tiled_mlp import tile_mlps
from rft.models import read_settings

LIGER_KERNELS = {"cross_entropy": False, "fused_linear_cross_entropy": False}
"""What liger-kernel does not replace, of all that it could: the loss and the LM head are our own (logprobs.py).
RMSNorm, SwiGLU and rotary positions it does replace; the angles still come from the position ids."""


def prepare_layers(model: nn.Module, train: TrainConfig) -> None:
    """Applies train.use_liger_kernel, train.tiled_mlp, and train.activation_offloading where layers are checkpointed.

    A frozen reference model, whose layers are not, keeps nothing that could be offloaded.

    Args:
        model: not yet wrapped by accelerate; LoRA adapters may be in it.
    """
    if train.use_liger_kernel:
        use_liger_kernels(model)
    if train.tiled_mlp:  # after the fused SwiGLU, which is a forward of the MLP
        tile_mlps(model)
    if train.activation_offloading:
        offload_layer_inputs(model)


def use_liger_kernels(model: nn.Module) -> None:
    from liger_kernel.backends import set_impl

    # Where CUTLASS is installed, as vLLM does, liger-kernel would rotate large inputs with a second kernel of its own,
    # which by its account is as fast. One kernel for every size is what the tests see.
    set_impl("nvidia-triton")
    apply_liger_kernel(model, LIGER_KERNELS)


def check_layer_settings(model: ModelConfig, train: TrainConfig, device: torch.device) -> None:
    """Refuses what the model or the machine cannot have, before any weight is read.

    Raises:
        ValueError: names the setting and what to do.
    """
    if train.use_liger_kernel:
        check_liger(model, device)
    if train.tiled_mlp:
        with torch.device("meta"):  # layers with shapes and without memory
            tile_mlps(AutoModelForCausalLM.from_config(read_settings(model)))


def check_liger(model: ModelConfig, device: torch.device) -> None:
    if device.type != "cuda":
        raise ValueError("train.use_liger_kernel needs a GPU; set it to false")
    need("liger_kernel", "train.use_liger_kernel")
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    kind = read_settings(model).model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ValueError(f"train.use_liger_kernel: liger-kernel has nothing for {kind}; set it to false")
