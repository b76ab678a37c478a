"""The shape of the model, without its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rft.config import ModelConfig, load_config
from rft.planning.passes import meta_policy
from rft.planning.shape import BUILT_IN, model_shape
from tests.unit.planning.small import recipe, shape_4b, tiny_shape


def test_a_folder_with_a_config_json_is_read(tmp_path: Path):
    tiny_shape().save_pretrained(tmp_path)
    shape, source = model_shape(ModelConfig(model_name_or_path=str(tmp_path)))
    assert (shape.num_hidden_layers, shape.hidden_size) == (2, 64)
    assert source == f"config.json of {tmp_path}"


def test_the_models_of_the_recipes_are_built_in():
    for name in ("qwen3_4b", "qwen3_4b_128k", "qwen3_4b_lora", "qwen3_4b_memory"):
        assert load_config(f"configs/{name}.yaml", []).model.model_name_or_path in BUILT_IN


def test_the_built_in_shape_is_a_model_of_4_billion():
    """Embedding 151,936 x 2,560, and 36 layers: 2 x 2560 x 4096, 2 x 2560 x 1024, 3 x 2560 x 9728, norms."""
    policy = meta_policy(recipe(), shape_4b(), torch.bfloat16)
    layer = 2 * 2560 * 4096 + 2 * 2560 * 1024 + 3 * 2560 * 9728 + 2 * 2560 + 2 * 128
    expected = 151_936 * 2560 + 36 * layer + 2560
    assert sum(parameter.numel() for parameter in policy.parameters()) == expected == 4_022_468_096


@pytest.mark.parametrize("name", ["no/such-model", "/no/such/folder"])
def test_an_unknown_model_is_one_line_and_no_download(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        ValueError, match="is not on this machine, and a plan downloads nothing; name a folder"
    ) as caught:
        model_shape(ModelConfig(model_name_or_path=name))
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_config_json_is_one_line(tmp_path: Path):
    with pytest.raises(ValueError, match="is not on this machine"):
        model_shape(ModelConfig(model_name_or_path=str(tmp_path)))
