"""The parameter stream equals transformers' own state dict: plain and LoRA, tied and untied.

tests/invariant/test_ranks.py has weights that ZeRO-3 spreads over ranks.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from rft import config
from rft.rollout.adapter_files import write_adapter
from rft.weights import named_adapter_weights, named_full_weights
from tests.tiny import tiny_qwen3

LORA = LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def checkpoint_names(model: PreTrainedModel) -> set[str]:
    """What `save_pretrained` writes: a tied head is not among it."""
    return set(model.state_dict()) - ({"lm_head.weight"} if model.config.tie_word_embeddings else set())


def with_lora(tied: bool, config: LoraConfig = LORA) -> PeftModel:
    """A policy whose adapters already moved: both factors are random."""
    policy = get_peft_model(tiny_qwen3(tied), config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in policy.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.1, generator=generator)
    return policy


@TIED
def test_an_adapter_streams_what_peft_saves(tied: bool, tmp_path: Path) -> None:
    policy = with_lora(tied)
    policy.save_pretrained(tmp_path / "peft")
    saved = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    stream = dict(named_adapter_weights(policy))
    assert stream.keys() == saved.keys() and len(stream) == 2 * 7 * 2
    assert all(torch.equal(tensor, saved[name]) for name, tensor in stream.items())


def test_written_as_files_peft_reads_it_again(tmp_path: Path) -> None:
    policy = with_lora(True)
    write_adapter(tmp_path, named_adapter_weights(policy), config.LoraConfig(r=LORA.r, lora_alpha=LORA.lora_alpha))
    again = PeftModel.from_pretrained(tiny_qwen3(True), tmp_path)
    ids = torch.arange(2, 12)[None]
    assert torch.equal(again(ids).logits, policy(ids).logits)
    assert not torch.equal(again(ids).logits, tiny_qwen3(True)(ids).logits)


def test_an_adapter_on_the_head_is_refused() -> None:
    on_head = LoraConfig(r=4, target_modules=["lm_head", "q_proj"], task_type="CAUSAL_LM")
    with pytest.raises(ValueError, match=r"'lm_head' is no adapter that vLLM serves; set rollout.lora=merged"):
        list(named_adapter_weights(with_lora(False, on_head)))


@TIED
def test_plain_model_streams_its_checkpoint(tied: bool) -> None:
    model = tiny_qwen3(tied)
    stream = list(named_full_weights(model))
    assert len(stream) == len({name for name, _ in stream})
    assert {name for name, _ in stream} == checkpoint_names(model)
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name]) and not tensor.requires_grad for name, tensor in stream)


@TIED
def test_lora_is_merged_under_the_base_models_names(tied: bool) -> None:
    policy = with_lora(tied)
    base = {name: parameter.clone() for name, parameter in policy.named_parameters()}
    streams = [dict(named_full_weights(policy)) for _ in range(3)]
    assert all(torch.equal(parameter, base[name]) for name, parameter in policy.named_parameters())
    assert all(torch.equal(tensor, streams[0][name]) for stream in streams for name, tensor in stream.items())

    plain = tiny_qwen3(tied).state_dict()
    merged = policy.merge_and_unload()
    assert set(streams[0]) == checkpoint_names(merged)
    for name, tensor in merged.state_dict().items():
        if name in streams[0]:
            torch.testing.assert_close(streams[0][name], tensor, rtol=0, atol=1e-6)
    moved = [name for name in streams[0] if not torch.equal(streams[0][name], plain[name])]
    assert len(moved) == 2 * 7, "two layers of seven linear maps each"


def test_merged_weight_gives_the_adapters_own_logits() -> None:
    policy = with_lora(tied=True).eval()
    plain = tiny_qwen3(tied=True).eval()
    plain.load_state_dict(dict(named_full_weights(policy)), strict=False)
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, policy(ids).logits, rtol=0, atol=1e-5)


def test_lora_in_bfloat16_is_summed_in_float32() -> None:
    policy = with_lora(tied=True).to(torch.bfloat16)
    layer = policy.get_base_model().model.layers[0].mlp.up_proj
    low_rank = layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    exact = layer.base_layer.weight.double() + layer.scaling["default"] * low_rank
    merged = dict(named_full_weights(policy))["model.layers.0.mlp.up_proj.weight"]
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, exact.to(torch.bfloat16))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LoraConfig(r=4, target_modules=["embed_tokens"]), "embed_tokens"),
        (LoraConfig(r=4, target_modules=["lm_head"]), "tied"),
        (LoraConfig(r=4, target_modules=["q_proj"], use_dora=True), "q_proj"),
        (LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["norm"]), "modules_to_save"),
    ],
    ids=["embedding", "tied head", "dora", "modules_to_save"],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_adapters_without_one_plain_weight_are_refused(config: LoraConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(named_full_weights(get_peft_model(tiny_qwen3(tied=True), config)))
