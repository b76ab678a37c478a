"""Settings of the layers: applied where a policy is made, refused where they cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import MixtralConfig, Qwen3Config

from rft.config import ModelConfig, TrainConfig
from rft.grpo import layers
from rft.grpo.layers import check_layer_settings, prepare_layers
from tests.tiny import tiny_qwen3

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
QWEN3 = Qwen3Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=64)
EXPERTS = MixtralConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=64, num_local_experts=2)


def saved(folder: Path, settings: Qwen3Config | MixtralConfig) -> ModelConfig:
    """A model without weights."""
    settings.save_pretrained(folder)
    return ModelConfig(model_name_or_path=str(folder))


def test_what_cannot_work_is_told_before_any_weight_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qwen3, experts = saved(tmp_path / "qwen3", QWEN3), saved(tmp_path / "experts", EXPERTS)
    check_layer_settings(experts, TrainConfig(), CPU)
    check_layer_settings(qwen3, TrainConfig(tiled_mlp=True, activation_offloading=True), CPU)
    with pytest.raises(ValueError, match="^train.tiled_mlp does not work with mixtral: .*; set train.tiled_mlp=false$"):
        check_layer_settings(experts, TrainConfig(tiled_mlp=True), CPU)
    with pytest.raises(ValueError, match="^train.use_liger_kernel needs a GPU; set it to false$"):
        check_layer_settings(qwen3, TrainConfig(use_liger_kernel=True), CPU)
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(
        ValueError, match="needs liger_kernel, which is not installed; run pip install 'rft\\[liger\\]'"
    ):
        check_layer_settings(qwen3, TrainConfig(use_liger_kernel=True), CUDA)


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "lora"])
def test_each_setting_reaches_every_layer(lora: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    fused = []
    monkeypatch.setattr(layers, "use_liger_kernels", fused.append)

    def prepared(**settings: bool) -> list[tuple[bool, bool]]:
        model = tiny_qwen3(True)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        plain = model.model.layers[0]._gradient_checkpointing_func
        policy = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear")) if lora else model
        prepare_layers(policy, TrainConfig(gradient_checkpointing=True, **settings))
        return [
            ("forward" in vars(layer.mlp), layer._gradient_checkpointing_func is not plain)
            for layer in model.model.layers
        ]

    assert prepared() == [(False, False)] * 2
    assert prepared(tiled_mlp=True) == [(True, False)] * 2
    assert prepared(activation_offloading=True) == [(False, True)] * 2
    assert not fused
    prepared(use_liger_kernel=True)
    assert len(fused) == 1


def test_a_model_whose_layers_are_not_checkpointed_offloads_nothing() -> None:
    reference = tiny_qwen3(True)
    prepare_layers(reference, TrainConfig(activation_offloading=True, tiled_mlp=True))
    assert not any("_gradient_checkpointing_func" in vars(layer) for layer in reference.model.layers)
    assert all("forward" in vars(layer.mlp) for layer in reference.model.layers)
