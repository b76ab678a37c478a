"""Our loss, every gradient and the metrics equal those of trl's GRPOTrainer on the same batch, in float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from rft.config import TrainConfig
from rft.grpo.logprobs import dense_logprobs
from rft.grpo.loss import LossTerms, StepTotals, metric_values, policy_loss
from rft.grpo.samples import trained_tokens
from tests.tiny import gradient_difference, gradients, random_samples, tiny_qwen3

TOLERANCE = 1e-5
TEMPERATURE = 0.7
MAX_COMPLETION_LENGTH = 12
SAMPLES = random_samples([(5, 7), (5, 3), (9, 12), (9, 1), (2, 6), (2, 10)])
LENGTHS = [len(sample.completion_ids) for sample in SAMPLES]
CPU = torch.device("cpu")

levels = pytest.mark.parametrize("importance_sampling_level", ["token", "sequence"])
loss_types = pytest.mark.parametrize("loss_type", ["dapo", "grpo", "dr_grpo"])
models = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def flat_to_rows(flat: Tensor) -> Tensor:
    """[N] -> [B, C], right-padded with zeros."""
    return torch.nn.utils.rnn.pad_sequence(flat.split(LENGTHS), batch_first=True)


def padded(rows: Sequence[Sequence[int]], side: str) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, both [B, longest row]."""
    tensors = [torch.tensor(row) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    ids = pad(tensors, batch_first=True, padding_side=side)
    return ids, pad([torch.ones_like(tensor) for tensor in tensors], batch_first=True, padding_side=side)


def trl_trainer(model: Qwen3ForCausalLM, config: TrainConfig, output_dir: Path) -> GRPOTrainer:
    """The real trainer, on one micro-batch of all samples."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1, "a": 2}, unk_token="<pad>")),
        pad_token="<pad>",
        eos_token="<eos>",
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=str(output_dir),
            per_device_train_batch_size=len(SAMPLES),
            num_generations=2,
            max_completion_length=MAX_COMPLETION_LENGTH,
            temperature=TEMPERATURE,
            loss_type=config.loss_type,
            importance_sampling_level=config.importance_sampling_level,
            epsilon=config.epsilon,
            epsilon_high=config.epsilon_high,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            report_to="none",
        ),
        train_dataset=Dataset.from_dict({"prompt": ["a"] * len(SAMPLES)}),
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = 1
    # Set here, not above, where it would start an engine and load a reference model from the hub: the batch
    # carries what these two would compute.
    trainer.beta = config.beta
    trainer.use_vllm = config.vllm_importance_sampling_correction
    trainer.vllm_importance_sampling_correction = config.vllm_importance_sampling_correction
    return trainer


def trl_loss(trainer: GRPOTrainer, config: TrainConfig, old_logps: Tensor | None, ref_logps: Tensor | None) -> Tensor:
    prompt_ids, prompt_mask = padded([sample.prompt_ids for sample in SAMPLES], "left")
    completion_ids, completion_mask = padded([sample.completion_ids for sample in SAMPLES], "right")
    inputs: dict[str, Any] = {
        "prompt_ids": prompt_ids,
        "prompt_mask": prompt_mask,
        "completion_ids": completion_ids,
        "completion_mask": completion_mask,
        "advantages": torch.tensor([sample.advantage for sample in SAMPLES]),
        "num_items_in_batch": completion_mask.sum(),
    }
    if old_logps is not None:
        inputs["old_per_token_logps"] = flat_to_rows(old_logps)
    if ref_logps is not None:
        inputs["ref_per_token_logps"] = flat_to_rows(ref_logps)
    if config.vllm_importance_sampling_correction:
        # As _generate_and_score_completions makes it in the mode `token_truncate`.
        assert old_logps is not None
        gap = flat_to_rows(old_logps - trained_tokens(SAMPLES, CPU).sampling_logps)
        inputs["importance_sampling_ratio"] = gap.exp().clamp(max=config.vllm_importance_sampling_clip_max)
    trainer.model.train()
    return trainer._compute_loss(trainer.model, inputs)


def our_loss(
    model: Qwen3ForCausalLM, config: TrainConfig, old_logps: Tensor | None, ref_logps: Tensor | None
) -> LossTerms:
    return policy_loss(
        dense_logprobs(model, SAMPLES, TEMPERATURE, entropy=True),
        trained_tokens(SAMPLES, CPU),
        old_logps=old_logps,
        ref_logps=ref_logps,
        config=config,
        totals=StepTotals(
            num_tokens=sum(LENGTHS), num_samples=len(SAMPLES), max_completion_length=MAX_COMPLETION_LENGTH
        ),
    )


SHIFTS = torch.tensor([-0.5, 0.5, 0.5, -0.5, 0.0, 0.0]).repeat_interleave(torch.tensor(LENGTHS))
"""[N]: what the old policy's log-probs differ by, per sample. Advantages alternate in sign, so this brings samples
that clipping cuts off above and below, samples whose ratio is out of range on the harmless side, and some in range."""


def noise(scale: float, seed: int) -> Tensor:
    return scale * torch.randn(sum(LENGTHS), generator=torch.Generator().manual_seed(seed))


def check_equal(
    config: TrainConfig, tied: bool, output_dir: Path, frozen: Callable[[Tensor], tuple[Tensor | None, Tensor | None]]
) -> dict[str, float]:
    """Compares loss, gradients and metrics; `frozen` makes old and reference log-probs from the current ones."""
    ours = tiny_qwen3(tied)
    trainer = trl_trainer(copy.deepcopy(ours), config, output_dir)
    with torch.no_grad():
        old_logps, ref_logps = frozen(dense_logprobs(ours, SAMPLES, TEMPERATURE, entropy=False).logps)

    terms = our_loss(ours, config, old_logps, ref_logps)
    terms.loss.backward()
    expected = trl_loss(trainer, config, old_logps, ref_logps)
    expected.backward()

    assert abs(terms.loss.item() - expected.item()) <= TOLERANCE
    assert gradient_difference(gradients(ours), gradients(trainer.model)) <= TOLERANCE
    metrics = metric_values(terms.metrics)
    theirs = trainer._metrics["train"]
    shared = {"entropy", "clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"}
    for name in shared | ({"kl"} if config.beta else set()):
        assert metrics[name] == pytest.approx(theirs[name][-1], rel=TOLERANCE, abs=TOLERANCE), name
    return metrics


@models
@levels
@loss_types
def test_everything_on(loss_type: Any, importance_sampling_level: Any, tied: bool, tmp_path: Path) -> None:
    """Clipping at both ends, different bounds, KL to a reference, truncated importance sampling."""
    config = TrainConfig(
        loss_type=loss_type,
        importance_sampling_level=importance_sampling_level,
        epsilon=0.1,
        epsilon_high=0.15,
        beta=0.2,
        vllm_importance_sampling_clip_max=1.5,
    )
    metrics = check_equal(
        config, tied, tmp_path, lambda logps: (logps + SHIFTS + noise(0.1, seed=1), logps + noise(0.5, seed=2))
    )
    assert 0 < metrics["clip_ratio/low_mean"] < 1
    assert 0 < metrics["clip_ratio/high_mean"] < 1
    assert metrics["kl"] > 0.01
    assert metrics["sampling/importance_sampling_ratio/max"] == pytest.approx(1.5), "some ratio was cut off"
    assert metrics["sampling/importance_sampling_ratio/min"] < 0.8


@models
@levels
@loss_types
def test_plain_on_policy(loss_type: Any, importance_sampling_level: Any, tied: bool, tmp_path: Path) -> None:
    """The first update on a batch: no old log-probs, no reference, no correction."""
    config = TrainConfig(
        loss_type=loss_type,
        importance_sampling_level=importance_sampling_level,
        vllm_importance_sampling_correction=False,
    )
    metrics = check_equal(config, tied, tmp_path, lambda logps: (None, None))
    assert metrics["clip_ratio/region_mean"] == 0


@loss_types
def test_on_policy_ratio_to_the_engine(loss_type: Any, tmp_path: Path) -> None:
    """Without old log-probs, those of the first update's own pass stand for them, as an explicit copy would."""
    config = TrainConfig(loss_type=loss_type)
    model = tiny_qwen3(tied=True)
    with torch.no_grad():
        logps = dense_logprobs(model, SAMPLES, TEMPERATURE, entropy=False).logps
    implicit = our_loss(model, config, None, None)
    check_equal(config, True, tmp_path, lambda logps: (logps, None))
    assert implicit.loss.item() == pytest.approx(our_loss(model, config, logps, None).loss.item(), abs=1e-7)
