"""A cold start on a data set of a few personas."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.cold_start.config import SftConfig
from rft.cold_start.sequences import McqSequences
from rft.cold_start.tokenizer import load_or_build_tokenizer
from rft.config import parse_config
from rft.data.dataset import Dataset
from rft.data.formats import open_dataset
from rft.sft import load_sequences
from rft.synthetic.generator import write_dataset

CONFIG = """
output_dir: {out}
model:
  model_name_or_path: null
  config: {{hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, num_attention_heads: 2,
           num_key_value_heads: 1, head_dim: 16, max_position_embeddings: 1024, tie_word_embeddings: true}}
data: {{source: {data}, train_split: paper, max_prompt_length: 1000, cache_dir: {cache}}}
target: {{reply: trace, right_share_hard: 0.5, questions_per_sequence: 3}}
train: {{learning_rate: 0.01, max_steps: 3, per_device_train_batch_size: 2, save_strategy: "no", logging_steps: 1}}
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sft")
    write_dataset(root / "data", num_personas=12, questions_per_persona=5, history_tokens=350, style="brief", seed=1)
    file = root / "sft.yaml"
    file.write_text(CONFIG.format(out=root / "out", data=root / "data", cache=root / "cache"), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def dataset(config_file: Path) -> Dataset:
    return open_dataset(parse_config(SftConfig, config_file, []).data)


@pytest.fixture(scope="module")
def sequences(config_file: Path, dataset: Dataset) -> McqSequences:
    config = parse_config(SftConfig, config_file, [])
    found = load_sequences(config, dataset, load_or_build_tokenizer(config, dataset))
    assert isinstance(found, McqSequences)
    return found
