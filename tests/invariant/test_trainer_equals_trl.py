"""SharedPrefixGRPOTrainer takes the steps that trl's GRPOTrainer takes: loss, entropy, clip ratios, gradient norm.

Both train for three steps from one seed, with trl's own generation, on prompts of different lengths.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.integrations.trl import SharedPrefixGRPOTrainer, group_order, padded, samples_of
from tests.tiny import VOCAB_SIZE, tiny_qwen3

ROOT = Path(__file__).parents[2]
NUM_STEPS = 3
GROUP = 4
TOLERANCE = 1e-5
COMPARED = ("loss", "grad_norm", "entropy", "kl", "clip_ratio/region_mean", "clip_ratio/high_mean", "reward")


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<eos>": 1} | {f"w{number}": number for number in range(2, VOCAB_SIZE)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w2"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


def prompts(count: int = 8) -> Dataset:
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(2, VOCAB_SIZE)}" for _ in range(rng.randint(3, 20))) for _ in range(count)]
    return Dataset.from_dict({"prompt": texts})


def parity(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that siblings differ in."""
    return [sum(token % 2 for token in ids) / max(1, len(ids)) for ids in completion_ids]


def make(kind: type[GRPOTrainer], folder: Path, lora: bool = False, **settings: Any) -> GRPOTrainer:
    defaults: dict[str, Any] = {
        "per_device_train_batch_size": 2 * GROUP, "num_generations": GROUP, "max_completion_length": 8,
        "max_steps": NUM_STEPS, "learning_rate": 1e-3, "logging_steps": 1, "report_to": "none", "use_cpu": True,
        "bf16": False, "gradient_checkpointing": False, "save_strategy": "no", "disable_tqdm": True, "seed": 3,
        "temperature": 0.9,
    }  # fmt: skip
    model = folder / "model"
    if not model.exists():  # trl loads the reference from where the model came from
        tiny_qwen3(tied=True).save_pretrained(model)
    arguments = GRPOConfig(output_dir=str(folder), **defaults | settings)  # before the model: it joins the ranks
    return kind(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        reward_funcs=parity,
        args=arguments,
        train_dataset=prompts(),
        processing_class=make_tokenizer(),
        peft_config=LoraConfig(r=4, target_modules="all-linear") if lora else None,
    )


def logged(kind: type[GRPOTrainer], folder: Path, **settings: Any) -> list[dict[str, float]]:
    trainer = make(kind, folder, **settings)
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


def check_equal(folder: Path, compared: tuple[str, ...] = COMPARED, **settings: Any) -> list[dict[str, float]]:
    ours, theirs = (logged(kind, folder, **settings) for kind in (SharedPrefixGRPOTrainer, GRPOTrainer))
    assert len(ours) == len(theirs) == NUM_STEPS
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True), start=1):
        names = [name for name in compared if name in b]
        assert {"loss", "grad_norm"} <= set(names)
        for name in names:
            assert a[name] == pytest.approx(b[name], rel=TOLERANCE, abs=TOLERANCE), f"{name} of step {step}"
    assert any(row["grad_norm"] > 0.01 for row in ours)
    return ours


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("grpo", "bnpo", "cispo", "sapo")]


@pytest.mark.parametrize("loss_type", ["dapo", "dr_grpo", *SLOW])
@pytest.mark.parametrize("beta", [0.0, 0.04])
def test_losses(tmp_path: Path, loss_type: str, beta: float):
    rows = check_equal(tmp_path, loss_type=loss_type, beta=beta)
    assert ("kl" in rows[0]) == (beta > 0)


def test_sequence_level_ratios(tmp_path: Path):
    check_equal(tmp_path, importance_sampling_level="sequence", loss_type="grpo")


def test_several_iterations_and_old_logps(tmp_path: Path):
    check_equal(tmp_path, num_iterations=2, gradient_accumulation_steps=1, epsilon=0.01)


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(tmp_path: Path, reentrant: bool):
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": reentrant}}
    check_equal(tmp_path, **checkpointing)


def test_bfloat16_autocast_differs_by_its_rounding(tmp_path: Path):
    """The first step, before rounding makes them sample different tokens."""
    ours, theirs = (logged(kind, tmp_path, bf16=True)[0] for kind in (SharedPrefixGRPOTrainer, GRPOTrainer))
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
    assert ours["entropy"] == pytest.approx(theirs["entropy"], rel=1e-3)
    assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-2)


def test_lora_with_a_reference(tmp_path: Path):
    check_equal(tmp_path, lora=True, beta=0.04, learning_rate=1e-2)


def test_truncated_completions_that_are_masked(tmp_path: Path):
    check_equal(tmp_path, mask_truncated_completions=True)


def test_one_group_per_accumulation_step(tmp_path: Path):
    """trl shuffles single sequences over its micro-batches: the sum over a step is the same, means per micro-batch are
    not."""
    check_equal(
        tmp_path,
        ("loss", "grad_norm", "reward"),
        per_device_train_batch_size=GROUP,
        gradient_accumulation_steps=2,
        loss_type="dapo",
    )


def test_groups_stay_whole_over_steps_per_generation(tmp_path: Path):
    trainer = make(SharedPrefixGRPOTrainer, tmp_path, per_device_train_batch_size=GROUP, steps_per_generation=4)
    seen: list[int] = []
    compute = trainer._compute_loss

    def counted(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append(len(torch.unique(inputs["prompt_ids"] * inputs["prompt_mask"], dim=0)))
        return compute(model, inputs)

    trainer._compute_loss = counted
    trainer.train()
    assert seen and set(seen) == {1}, "each micro-batch holds one group"


def test_evaluation_and_the_models_own_attention(tmp_path: Path):
    trainer = make(SharedPrefixGRPOTrainer, tmp_path, per_device_eval_batch_size=GROUP)
    assert trainer.evaluate(prompts(2))["eval_reward"] > 0
    trainer.train()
    assert trainer.model.config._attn_implementation == "sdpa" != FOREST_ATTENTION


def test_a_batch_that_cuts_groups_is_warned_with_the_number_that_would_not(tmp_path: Path):
    with pytest.warns(UserWarning, match=r"per_device_train_batch_size=8 holds whole groups"):
        make(SharedPrefixGRPOTrainer, tmp_path, per_device_train_batch_size=6, gradient_accumulation_steps=2)


def test_a_model_that_a_forest_does_not_serve_is_refused(tmp_path: Path):
    model = tiny_qwen3(tied=True)
    model.config.use_sliding_window, model.config.sliding_window = True, 8
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"^SharedPrefixGRPOTrainer does not work with qwen3: .*; use GRPOTrainer$"):
        make(SharedPrefixGRPOTrainer, tmp_path)


def test_rows_become_paths_without_padding():
    ids = torch.tensor([[0, 5, 6, 7, 1], [4, 5, 6, 8, 0]])
    mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    first, second = samples_of(ids, mask, logits_to_keep=2)
    assert (first.prompt_ids, first.completion_ids) == ((5, 6), (7, 1))
    assert (second.prompt_ids, second.completion_ids) == ((4, 5, 6), (8,))
    values = padded(torch.tensor([1.0, 2.0, 3.0]), mask[:, -2:].bool())
    assert values.tolist() == [[1.0, 2.0], [3.0, 0.0]]


def test_order_of_groups_is_that_in_which_a_permutation_meets_them():
    rows = torch.tensor([[1, 2], [1, 2], [3, 4], [3, 4], [5, 6]])
    assert group_order(rows, torch.ones_like(rows), [4, 3, 0, 1, 2]) == [4, 2, 3, 0, 1]


RANK = """
import json, sys
from pathlib import Path
from trl import GRPOTrainer
from rft.integrations.trl import SharedPrefixGRPOTrainer
from tests.invariant.test_trainer_equals_trl import logged
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
rows = {kind.__name__: logged(kind, folder, **settings) for kind in (SharedPrefixGRPOTrainer, GRPOTrainer)}
(folder / "rows.json").write_text(json.dumps(rows))
"""


def accelerate_config(folder: Path, stage: int | None) -> Path:
    """Two ranks on a CPU: DDP, or DeepSpeed that spreads every weight."""
    config: dict[str, Any] = {"compute_environment": "LOCAL_MACHINE", "num_machines": 1, "num_processes": 2}
    config |= {"use_cpu": True, "mixed_precision": "no", "distributed_type": "MULTI_CPU"}
    if stage is not None:
        zero = {"stage": stage, "stage3_param_persistence_threshold": 0}
        auto = dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_clipping"), "auto")
        json_file = folder / "deepspeed.json"
        json_file.write_text(json.dumps({"zero_optimization": zero, "gradient_accumulation_steps": 1, **auto}))
        config |= {"distributed_type": "DEEPSPEED", "deepspeed_config": {"deepspeed_config_file": str(json_file)}}
        del config["mixed_precision"]
    path = folder / "accelerate.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("stage", [None, 2, 3])
def test_two_ranks(tmp_path: Path, stage: int | None):
    tiny_qwen3(tied=True).save_pretrained(tmp_path / "model")
    (tmp_path / "rank.py").write_text(RANK)
    done = subprocess.run(
        [
            sys.executable, "-m", "accelerate.commands.launch",
            "--config_file", str(accelerate_config(tmp_path, stage)), "--main_process_port", "0",
            str(tmp_path / "rank.py"), str(tmp_path), json.dumps({"beta": 0.04}),
        ],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    for ours, theirs in zip(rows["SharedPrefixGRPOTrainer"], rows["GRPOTrainer"], strict=True):
        for name in ("loss", "grad_norm", "entropy", "kl"):
            assert ours[name] == pytest.approx(theirs[name], rel=TOLERANCE, abs=TOLERANCE), name
