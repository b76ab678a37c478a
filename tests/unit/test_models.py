"""What a model cannot do is told from its config.json alone, before any weight is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3Config
from transformers.utils import is_flash_attn_2_available

from rft.config import LoraConfig, ModelConfig
from rft.models import check_layers, check_positions, restore_rotary_frequencies


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model without weights."""
    Qwen3Config(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=2048, tie_word_embeddings=True,
    ).save_pretrained(tmp_path)  # fmt: skip
    return tmp_path


def with_lora(folder: Path, targets: str | list[str]) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(folder), lora=LoraConfig(r=4, target_modules=targets))


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["self_attn.q_proj"], r".*\.mlp\..*_proj"])
def test_lora_targets_that_the_model_has(folder: Path, targets: str | list[str]):
    check_layers(with_lora(folder, targets), "sdpa")


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["query"], "no layer of .* ends in query"),
        (["q_proj", "o_porj"], "no layer of .* ends in o_porj"),
        ("query", "not found in the base model"),
        ("[", "unterminated character set"),
        (["norm"], "Qwen3RMSNorm"),
        (["embed_tokens"], "cannot be merged into one weight"),
        (["lm_head"], "whose weight is tied"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_lora_targets_that_cannot_work(folder: Path, targets: str | list[str], message: str):
    with pytest.raises(ValueError, match=f"^model.lora.target_modules.*{message}") as caught:
        check_layers(with_lora(folder, targets), "sdpa")
    assert "\n" not in str(caught.value)


def test_attention_that_does_not_exist(folder: Path):
    with pytest.raises(ValueError, match="^model.attn_implementation = spda: .*is not supported") as caught:
        check_layers(ModelConfig(model_name_or_path=str(folder)), "spda")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(is_flash_attn_2_available(), reason="flash-attn is installed")
def test_attention_that_is_not_installed(folder: Path):
    with pytest.raises(ValueError, match="^model.attn_implementation = flash_attention_2: .*installed"):
        check_layers(ModelConfig(model_name_or_path=str(folder)), "flash_attention_2")


def test_a_model_has_so_many_positions(folder: Path):
    config = ModelConfig(model_name_or_path=str(folder))
    assert check_positions(config, 2048).max_position_embeddings == 2048
    with pytest.raises(ValueError, match="window of 2049 tokens is longer than the 2048 positions"):
        check_positions(config, 2049)


@pytest.mark.parametrize("text", ["", "{}", '{"model_type": "no_such_model"}', "{"])
def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path, text: str):
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match="^model.model_name_or_path: cannot read ") as caught:
        check_positions(ModelConfig(model_name_or_path=str(tmp_path)), 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scaling", [{"rope_type": "default"}, {"rope_type": "yarn", "factor": 4.0}])
def test_rotary_frequencies_rounded_to_bfloat16_become_those_of_float32(scaling: dict[str, object]):
    """As DeepSpeed leaves them when it loads a model under ZeRO-3."""
    settings = Qwen3Config(
        vocab_size=16, hidden_size=64, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, head_dim=64, rope_parameters={"rope_theta": 5e6, **scaling},
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(settings)
    exact = model.model.rotary_emb.inv_freq.clone()
    for buffer in model.buffers():
        buffer.data = buffer.data.bfloat16()
    assert (model.model.rotary_emb.inv_freq - exact).abs().max() > 1e-4
    restore_rotary_frequencies(model)
    for frequencies in (model.model.rotary_emb.inv_freq, model.model.rotary_emb.original_inv_freq):
        assert frequencies.dtype == torch.float32 and torch.equal(frequencies, exact)
    assert not model.state_dict().keys() & {"model.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq"}
