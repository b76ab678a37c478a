"""Log-probs of the trained tokens under the current weights.

Shapes: B sequences, T tokens, H hidden size, V vocabulary, N trained tokens, C tokens of one chunk. A trained token is
a token of a completion; its log-prob is read from the logits of the token before it.

The logits [N, V] are never whole in memory. The model's own forward runs, through whatever wraps it (DDP,
DeepSpeed, peft), and only the forward of its LM head (the last layer, hidden states -> logits) is replaced for this
pass: it returns log-probs of the trained tokens in place of logits of all tokens. So every hook that a wrapper puts on
the model or on the head fires exactly as in a plain forward: ZeRO-3 gathers the head's weight once forward and once
backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import plan_attention
from rft.grpo.samples import pad_samples, token_paths
from rft.records import Sample

CHUNK_ELEMENTS = 2**26
"""Most logits computed at a time, C * V: 256 MiB in float32, which is 441 tokens of Qwen3's vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLogprobs:
    """Log-probs and entropies of a micro-batch's trained tokens, sample after sample.

    Example, two samples with 2 and 1 completion tokens:
        TokenLogprobs(logps=tensor([-0.1, -1.2, -0.3]), entropies=tensor([0.4, 1.1, 0.7]), num_computed=9)
    """

    logps: Tensor
    """float32 [N], with gradient: natural log of each token's probability, temperature applied."""
    entropies: Tensor | None
    """float32 [N], without gradient: entropy in nats of the distribution a token was drawn from; None if not asked."""
    num_computed: int
    """Tokens that went through the model, padding included."""


def trained_token_logprobs(
    model: nn.Module, samples: Sequence[Sample], temperature: float, *, shared_prefix: bool, entropy: bool
) -> TokenLogprobs:
    """Log-probs of all completion tokens of `samples`, one sample after the other.

    `model` is a causal language model of transformers, wrapped or not. With `shared_prefix` its attention is that of
    forest_attention.py, and each token that samples share is computed once; without, every sample is. With gradients
    enabled the result carries them; under `torch.no_grad()` nothing is kept for a backward pass.
    """
    logprobs = forest_logprobs if shared_prefix else dense_logprobs
    return logprobs(model, samples, temperature, entropy=entropy)


def dense_logprobs(model: nn.Module, samples: Sequence[Sample], temperature: float, *, entropy: bool) -> TokenLogprobs:
    """The plain pass: all samples side by side, each with its own copy of the prompt."""
    batch = pad_samples(samples, next(model.parameters()).device)
    return score_tokens(model, batch.positions, batch.targets, temperature, entropy=entropy, input_ids=batch.input_ids)


def forest_logprobs(model: nn.Module, samples: Sequence[Sample], temperature: float, *, entropy: bool) -> TokenLogprobs:
    """The samples as one forest: one row of T unique tokens, each scored once, gathered back to its samples."""
    device = next(model.parameters()).device
    forest = build_forest(token_paths(samples))
    # For each sample the flat indices of its trained tokens, int64 [its completion tokens]. Two samples may share some:
    # completions that begin alike are one token in the forest.
    trained = [forest.path_indices(i)[len(sample.prompt_ids) :] for i, sample in enumerate(samples)]
    # unique [U]: these indices, each once. where [N]: for each trained token of each sample its place in `unique`.
    unique_indices = np.unique(np.concatenate(trained), return_inverse=True)
    arrays = (*unique_indices, forest.token_ids, forest.position_ids, forest.predecessors)
    unique, where, input_ids, positions, predecessors = (torch.from_numpy(array).to(device) for array in arrays)
    # A token is predicted at the token before it on its path, which is not always its left neighbour in the row.
    scored = score_tokens(
        model, predecessors[unique], input_ids[unique], temperature, entropy=entropy,
        input_ids=input_ids.unsqueeze(0), position_ids=positions.unsqueeze(0),
        forest=plan_attention(forest.segments, device),
    )  # fmt: skip
    # [U] -> [N]. In the backward pass the gradients of all samples that share a token are added up.
    return replace(
        scored, logps=scored.logps[where], entropies=None if scored.entropies is None else scored.entropies[where]
    )


def score_tokens(
    model: nn.Module, positions: Tensor, targets: Tensor, temperature: float, *, entropy: bool, **model_inputs: Any
) -> TokenLogprobs:
    """Log-probs of `targets` [N] at `positions` [N] of the flattened [B * T] tokens of `model(**model_inputs)`.

    A position may occur several times, with a different target each: where completions part, one token of a forest
    predicts the next token of each.

    Raises:
        ValueError: the model changes its logits after the LM head (soft-capping, a scale).
    """
    bare_model = extract_model_from_parallel(model)
    vocab_size = bare_model.config.get_text_config().vocab_size
    head = bare_model.get_output_embeddings()
    project = head.forward
    returned: list[Tensor] = []  # what the replaced head gave, to see whether the model passed it on unchanged

    def score(hidden: Tensor) -> Tensor:  # [B, T, H] -> [1 or 2, N]
        trained = hidden.flatten(0, 1)[positions]
        returned.append(
            chunked_logprobs(trained, project, targets, temperature, vocab_size=vocab_size, entropy=entropy)
        )
        return returned[0]

    # The model takes what its head returns for logits: `scores` is [1 or 2, N], log-probs and below them entropies.
    with replaced_forward(head, score):
        scores = model(**model_inputs, use_cache=False).logits
    if not torch.allclose(scores, returned[0], rtol=0, atol=0, equal_nan=True):
        raise ValueError("the model rescales its logits after the LM head; use an architecture that does not, as Qwen3")
    return TokenLogprobs(
        logps=scores[0],
        entropies=scores[1].detach() if entropy else None,
        num_computed=model_inputs["input_ids"].numel(),
    )


@contextmanager
def replaced_forward(module: nn.Module, forward: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block `module` computes `forward`; hooks on it stay."""
    # None where the module uses its class's `forward`; a wrapper may have put another one on the module itself.
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def chunked_logprobs(
    hidden: Tensor,
    project: Callable[[Tensor], Tensor],
    targets: Tensor,
    temperature: float,
    *,
    vocab_size: int,
    entropy: bool,
) -> Tensor:
    """Log-probs of `targets` [N], and below them entropies if asked: float32 [1 or 2, N].

    `project` maps hidden states [C, H] to logits [C, V]. Logits of one chunk live at a time: with more than one
    chunk, the backward pass computes each chunk's again.
    """

    def score_chunk(hidden: Tensor, targets: Tensor) -> Tensor:
        return logprobs_of_logits(project(hidden), targets, temperature, entropy=entropy)

    size = max(1, CHUNK_ELEMENTS // vocab_size)  # C
    if len(targets) <= size:
        return score_chunk(hidden, targets)
    chunks = zip(hidden.split(size), targets.split(size), strict=True)
    # `checkpoint` keeps a chunk's inputs, not its logits. Nothing in a chunk is random, so no random state is kept.
    return torch.cat(
        [checkpoint(score_chunk, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks], dim=1
    )


def logprobs_of_logits(logits: Tensor, targets: Tensor, temperature: float, *, entropy: bool) -> Tensor:
    """log softmax(logits / temperature) at `targets`, and below it the entropy if asked: [C, V] -> float32 [1 or 2, C].

    With z = logits / temperature and p = softmax(z), log p = z - log sum exp(z). So the entropy -sum p log p is
    log sum exp(z) - sum p z; it is computed without gradient.
    """
    assert temperature > 0, "greedy decoding has no log-probs to train on"
    scaled = logits.float() / temperature
    log_total = scaled.logsumexp(-1)
    logps = scaled.gather(-1, targets.unsqueeze(-1)).squeeze(-1) - log_total
    if not entropy:
        return logps.unsqueeze(0)
    with torch.no_grad():
        probabilities = (scaled - log_total.unsqueeze(-1)).exp_()
        entropies = log_total - torch.linalg.vecdot(probabilities, scaled)
    return torch.stack([logps, entropies])
