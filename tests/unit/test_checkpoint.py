"""Checkpoints: whole or absent, loadable as they are, pruned, and refused where a resume would not be exact."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft import checkpoint
from rft.checkpoint import TrainerState, complete_steps, differing_keys, latest, prune
from rft.config import Config, to_dict


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "b": 1, "</s>": 2}, unk_token="a")), eos_token="</s>"
    )


@pytest.fixture
def model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, tie_word_embeddings=True, bos_token_id=None, eos_token_id=2,
        )
    )  # fmt: skip


def a_config(output_dir: Path) -> Config:
    config = Config(output_dir=str(output_dir))
    config.checkpoint.save_total_limit = 2
    return config


@pytest.fixture
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def test_a_checkpoint_loads_with_from_pretrained(tmp_path: Path, accelerator, model, tokenizer):
    prepared = accelerator.prepare(model)
    saved = checkpoint.save(
        a_config(tmp_path), accelerator, prepared, tokenizer, TrainerState(step=3), {"eval.json": "{}"}
    )
    assert saved == tmp_path / "checkpoint-3"
    loaded = AutoModelForCausalLM.from_pretrained(saved, dtype="float32")
    assert loaded.config.tie_word_embeddings
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    assert AutoTokenizer.from_pretrained(saved).eos_token == "</s>"
    assert (saved / "eval.json").read_text() == "{}"
    assert checkpoint.read_state(saved) == TrainerState(step=3)


def test_the_training_state_comes_back(tmp_path: Path, accelerator, model, tokenizer):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    prepared, optimizer = accelerator.prepare(model, optimizer)

    def step() -> None:
        prepared(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    saved = checkpoint.save(a_config(tmp_path), accelerator, prepared, tokenizer, TrainerState(step=1), {})
    step()
    expected = {name: weight.clone() for name, weight in model.state_dict().items()}
    accelerator.load_state(str(saved / "state"))
    step()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_best_is_linked_and_kept_beside_the_latest(tmp_path: Path, accelerator, model, tokenizer):
    config = a_config(tmp_path)
    for step in (1, 2, 3, 4):
        checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=step, best_step=1), {})
    assert complete_steps(tmp_path) == [1, 3, 4]
    assert (tmp_path / "best").resolve() == (tmp_path / "checkpoint-1").resolve()


def test_a_half_written_checkpoint_is_never_loaded(tmp_path: Path, accelerator, model, tokenizer, monkeypatch):
    config = a_config(tmp_path)
    checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=1), {})

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(accelerator, "save_state", full_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=2), {})
    assert (tmp_path / ".checkpoint-2.tmp").exists()
    assert latest(config) == tmp_path / "checkpoint-1"
    assert not (tmp_path / ".checkpoint-2.tmp").exists()


def test_a_changed_recipe_is_refused_by_name(tmp_path: Path, accelerator, model, tokenizer):
    config = a_config(tmp_path)
    checkpoint.save(config, accelerator, model, tokenizer, TrainerState(step=1), {})
    config.train.max_steps = 500
    config.log.run_name = "longer"
    assert latest(config) == tmp_path / "checkpoint-1"
    config.train.learning_rate = 1.0
    with pytest.raises(ValueError, match="train.learning_rate"):
        latest(config)
    config.checkpoint.resume = "never"
    assert latest(config) is None


def test_an_empty_folder_is_a_fresh_start(tmp_path: Path):
    assert latest(a_config(tmp_path / "nothing")) is None


def test_prune_never_removes_what_it_keeps(tmp_path: Path):
    for step in (10, 9, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    prune(tmp_path, keep=1, best_step=9)
    assert complete_steps(tmp_path) == [9, 100]


def test_differing_keys_are_dotted():
    left, right = to_dict(Config()), to_dict(Config())
    right["model"]["lora"]["r"] = 8
    right["train"]["max_steps"] = 7
    assert differing_keys(left, right) == ["model.lora.r"]
