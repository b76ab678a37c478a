"""Real models and samples, small enough for a test."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.records import Sample

VOCAB_SIZE = 61


def tiny_qwen3(tied: bool, seed: int = 0, attn_implementation: str = "sdpa", **shape: int) -> Qwen3ForCausalLM:
    """A 2-layer Qwen3 in float32 whose log-probs spread over several nats; `shape` overrides its sizes."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8} | shape
    config = Qwen3Config(
        vocab_size=VOCAB_SIZE,
        num_attention_heads=4,
        num_key_value_heads=2,
        **sizes,
        tie_word_embeddings=tied,
        initializer_range=0.15,
        pad_token_id=0,
        eos_token_id=1,
        attn_implementation=attn_implementation,
    )
    return Qwen3ForCausalLM(config)


def random_samples(lengths: Sequence[tuple[int, int]], seed: int = 0) -> list[Sample]:
    """Samples with the given (prompt, completion) lengths, two neighbours to a group; advantages of both signs."""
    rng = random.Random(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(2, VOCAB_SIZE) for _ in range(count))

    return [
        Sample(
            prompt_ids=tokens(num_prompt),
            completion_ids=tokens(num_completion),
            sampling_logprobs=tuple(rng.uniform(-8.0, 0.0) for _ in range(num_completion)),
            advantage=(-1) ** index * (0.2 + rng.random()),
            group=f"train/{index // 2}",
        )
        for index, (num_prompt, num_completion) in enumerate(lengths)
    ]


def samples_of_paths(paths: Sequence[tuple[int, ...]], seed: int = 0) -> list[Sample]:
    """A sample per path of two tokens or more, cut into prompt and completion at random."""
    rng = random.Random(seed)
    samples = []
    for index, path in enumerate(path for path in paths if len(path) > 1):
        cut = rng.randint(1, len(path) - 1)
        samples.append(
            Sample(
                prompt_ids=path[:cut],
                completion_ids=path[cut:],
                sampling_logprobs=tuple(rng.uniform(-8.0, 0.0) for _ in path[cut:]),
                advantage=(-1) ** index * (0.2 + rng.random()),
                group=f"train/{index // 2}",
            )
        )
    return samples


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter's gradient, by name; a parameter without one fails."""
    found = {}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        found[name] = parameter.grad.clone()
    return found


def gradient_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference of any entry, over the largest entry of that parameter's gradient; worst parameter."""
    assert ours.keys() == theirs.keys()
    worst = 0.0
    for name, expected in theirs.items():
        largest = expected.abs().max().item()
        assert largest > 0, f"{name} has no gradient to compare"
        worst = max(worst, (ours[name] - expected).abs().max().item() / largest)
    return worst


def random_paths(seed: int) -> list[tuple[int, ...]]:
    """Paths of a random forest: several roots, several depths, repeats, a path that another one continues."""
    rng = random.Random(seed)
    paths: list[tuple[int, ...]] = []
    for _ in range(rng.randint(1, 12)):
        stem = rng.choice(paths)[: rng.randint(0, 9)] if paths and rng.random() < 0.8 else ()
        paths.append((*stem, *(rng.randrange(2, VOCAB_SIZE) for _ in range(rng.randint(0 if stem else 1, 9)))))
    return paths
