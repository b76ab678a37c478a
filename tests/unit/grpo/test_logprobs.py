"""Log-probs of the trained tokens against a plain forward pass of each sample alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Gemma2Config, Gemma2ForCausalLM

from rft.grpo import logprobs
from rft.grpo.logprobs import dense_logprobs
from rft.records import Sample
from tests.tiny import VOCAB_SIZE, gradient_difference, gradients, random_samples, tiny_qwen3

SAMPLES = random_samples([(5, 7), (5, 3), (9, 12), (1, 1), (2, 6)])
NUM_TOKENS = sum(len(sample.completion_ids) for sample in SAMPLES)

models = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


def plain(model: nn.Module, samples: list[Sample], temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies from the whole logits of one sample at a time: float32 [N] each."""
    logps, entropies = [], []
    for sample in samples:
        logits = model(input_ids=torch.tensor([sample.prompt_ids + sample.completion_ids])).logits[0]
        log_softmax = torch.log_softmax(logits[len(sample.prompt_ids) - 1 : -1] / temperature, dim=-1)
        logps.append(log_softmax.gather(-1, torch.tensor(sample.completion_ids).unsqueeze(-1)).squeeze(-1))
        entropies.append(-(log_softmax.exp() * log_softmax).sum(-1))
    return torch.cat(logps), torch.cat(entropies)


@models
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_equals_one_sample_at_a_time(tied: bool, temperature: float) -> None:
    model, reference = tiny_qwen3(tied), tiny_qwen3(tied)
    scored = dense_logprobs(model, SAMPLES, temperature, entropy=True)
    logps, entropies = plain(reference, SAMPLES, temperature)
    assert scored.entropies is not None and not scored.entropies.requires_grad
    assert scored.logps.shape == scored.entropies.shape == (NUM_TOKENS,)
    torch.testing.assert_close(scored.logps, logps, rtol=0, atol=1e-5)
    torch.testing.assert_close(scored.entropies, entropies, rtol=0, atol=1e-5)
    scored.logps.sum().backward()
    logps.sum().backward()
    assert gradient_difference(gradients(model), gradients(reference)) <= 1e-5


def test_without_entropy_or_gradient() -> None:
    model = tiny_qwen3(tied=True)
    with torch.no_grad():
        scored = dense_logprobs(model, SAMPLES, 1.0, entropy=False)
    assert scored.entropies is None
    assert not scored.logps.requires_grad
    torch.testing.assert_close(scored.logps, plain(model, SAMPLES, 1.0)[0].detach(), rtol=0, atol=1e-5)


def test_what_stands_beside_a_sample_does_not_matter() -> None:
    """Padding is to the right of every token that counts, so it needs no mask."""
    model = tiny_qwen3(tied=True)
    together = dense_logprobs(model, SAMPLES, 1.0, entropy=False).logps
    alone = [dense_logprobs(model, [sample], 1.0, entropy=False).logps for sample in SAMPLES]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=2e-6)


def test_lora_and_gradient_checkpointing() -> None:
    """The adapters' gradients through peft's wrapper, with the layers recomputed, are the plain ones."""
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(3)
    model = get_peft_model(tiny_qwen3(tied=True), config)
    reference = copy.deepcopy(model)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    dense_logprobs(model, SAMPLES, 1.0, entropy=True).logps.sum().backward()
    plain(reference, SAMPLES, 1.0)[0].sum().backward()
    trained = [
        {name: p.grad for name, p in m.named_parameters() if p.requires_grad and p.grad is not None}
        for m in (model, reference)
    ]
    assert len(trained[0]) == 2 * 7 * 2, "two adapters on each of seven linear layers of two blocks"
    assert gradient_difference(*trained) <= 1e-5


def test_a_bfloat16_model_is_scored_in_float32() -> None:
    model = tiny_qwen3(tied=True).to(torch.bfloat16)
    scored = dense_logprobs(model, SAMPLES, 1.0, entropy=True)
    assert scored.logps.dtype == torch.float32
    torch.testing.assert_close(scored.logps, plain(model.float(), SAMPLES, 1.0)[0], rtol=0, atol=0.2)


def test_the_head_is_itself_again_afterwards() -> None:
    model = tiny_qwen3(tied=True)
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    dense_logprobs(model, SAMPLES, 1.0, entropy=False)
    assert torch.equal(model(ids).logits, before)
    with pytest.raises(IndexError):
        dense_logprobs(model, [*SAMPLES, bad_token()], 1.0, entropy=False)
    assert torch.equal(model(ids).logits, before)


def bad_token() -> Sample:
    return Sample(prompt_ids=(VOCAB_SIZE,), completion_ids=(2,), sampling_logprobs=(0.0,), advantage=0.0, group="g")


def test_not_a_number_comes_through() -> None:
    """The loop stops on it; it must not be taken for another failure here."""
    model = tiny_qwen3(tied=True)
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    assert dense_logprobs(model, SAMPLES, 1.0, entropy=False).logps.isnan().all()


def test_a_model_that_changes_its_logits_is_refused() -> None:
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=VOCAB_SIZE,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            final_logit_softcapping=2.0,
        )
    )
    with pytest.raises(ValueError, match="rescales its logits"):
        dense_logprobs(model, SAMPLES, 1.0, entropy=False)


class LargestTensor(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes, forward and backward."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))])
        return made


@pytest.mark.parametrize("entropy", [True, False])
def test_logits_are_never_whole(entropy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation, forward or backward, makes a tensor larger than a chunk of logits or the head's weight."""
    samples = random_samples([(3, 200), (5, 300)])
    model = tiny_qwen3(tied=False)
    limit = 50 * VOCAB_SIZE
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", limit)
    hidden = torch.randn(500, 32, requires_grad=True)
    targets = torch.tensor([token for sample in samples for token in sample.completion_ids])
    with LargestTensor() as largest:
        scores = logprobs.chunked_logprobs(hidden, model.lm_head, targets, 1.0, vocab_size=VOCAB_SIZE, entropy=entropy)
        scores[0].sum().backward()
    assert largest.numel <= max(limit, hidden.numel(), model.lm_head.weight.numel())
    assert largest.numel < 500 * VOCAB_SIZE
    expected = torch.log_softmax(model.lm_head(hidden), -1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(scores[0], expected, rtol=0, atol=1e-5)
