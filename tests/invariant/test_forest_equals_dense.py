"""The shared-prefix path equals the plain one: log-probs, entropies and every gradient, in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.logprobs import TokenLogprobs, dense_logprobs, forest_logprobs
from rft.records import Sample
from tests.tiny import VOCAB_SIZE, gradient_difference, random_paths, samples_of_paths, tiny_qwen3

TOLERANCE = 1e-5


def compare(make: Callable[[str], nn.Module], samples: list[Sample], temperature: float = 0.9) -> TokenLogprobs:
    """Both paths on models with the same weights; the loss weighs every token differently."""
    forest_model, dense_model = make(FOREST_ATTENTION), make("sdpa")
    forest = forest_logprobs(forest_model, samples, temperature, entropy=True)
    dense = dense_logprobs(dense_model, samples, temperature, entropy=True)
    torch.testing.assert_close(forest.logps, dense.logps, rtol=0, atol=TOLERANCE)
    assert forest.entropies is not None and dense.entropies is not None
    torch.testing.assert_close(forest.entropies, dense.entropies, rtol=0, atol=TOLERANCE)
    weights = torch.randn(len(dense.logps), generator=torch.Generator().manual_seed(0))
    (forest.logps * weights).sum().backward()
    (dense.logps * weights).sum().backward()
    assert gradient_difference(trained(forest_model), trained(dense_model)) <= TOLERANCE
    return forest


def trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


def qwen3(tied: bool, attn_implementation: str) -> nn.Module:
    return tiny_qwen3(tied, attn_implementation=attn_implementation)


@pytest.mark.parametrize("seed", range(200))
def test_random_forests(seed: int) -> None:
    samples = samples_of_paths([(2, 3), *random_paths(seed)], seed)
    forest = compare(lambda attention: qwen3(seed % 2 == 0, attention), samples)
    unique = {
        (s.prompt_ids + s.completion_ids)[: n + 1] for s in samples for n in range(len(s.prompt_ids + s.completion_ids))
    }
    assert forest.num_computed == len(unique)


SAMPLES = samples_of_paths(
    [(5, 6, 7, 8, n, *range(9, 9 + n)) for n in range(2, 9)] + [(9, 4, 3), (9, 4, 3), (9, 4, 3, 2)]
)


def test_lora_with_gradient_checkpointing() -> None:
    def make(attention: str) -> nn.Module:
        torch.manual_seed(3)
        lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        model = get_peft_model(tiny_qwen3(tied=True, attn_implementation=attention), lora)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        return model.train()

    compare(make, SAMPLES)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_gradient_checkpointing(tied: bool) -> None:
    def make(attention: str) -> nn.Module:
        model = tiny_qwen3(tied, attn_implementation=attention)
        model.gradient_checkpointing_enable({"use_reentrant": False})
        return model.train()

    compare(make, SAMPLES)


def test_another_architecture() -> None:
    def make(attention: str) -> nn.Module:
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB_SIZE, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=1, initializer_range=0.15, attn_implementation=attention,
            )
        )  # fmt: skip

    compare(make, SAMPLES)


def test_under_bfloat16_autocast() -> None:
    """Both paths round the same way; they stay within bfloat16's rounding of each other."""
    results = []
    for path, attention in ((forest_logprobs, FOREST_ATTENTION), (dense_logprobs, "sdpa")):
        with torch.autocast("cpu", torch.bfloat16):
            results.append(path(tiny_qwen3(True, attn_implementation=attention), SAMPLES, 1.0, entropy=False).logps)
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0.1)


def test_without_a_plan_it_is_plain_attention() -> None:
    """One model serves both paths, and generation."""
    model = tiny_qwen3(True, attn_implementation=FOREST_ATTENTION)
    ours = dense_logprobs(model, SAMPLES, 1.0, entropy=False).logps
    plain = dense_logprobs(tiny_qwen3(True), SAMPLES, 1.0, entropy=False).logps
    assert torch.equal(ours, plain)
