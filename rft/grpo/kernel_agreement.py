"""Which attention kernel a run uses: the fastest one that agrees with plain attention on a small forest.

Both are computed in bfloat16 from the same numbers and compared with plain attention in float64: the output, the
log-sum-exps and three gradients. Rounding to 16 bits costs plain attention an error, too, and a kernel is measured in
that error: its root mean square may be twice as large, the bound of flash attention's own tests, and its largest entry
eight times, because a kernel that adds up partial sums in 16 bits is unlucky somewhere. A wrong mask, a scale that is
off by a hundredth or a log-sum-exp in another unit is beyond the first bound, a single wrong token beyond the second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PretrainedConfig

from rft.distributed import gather_lists
from rft.grpo.attention_kernels import IN_USE, AttentionKernel, candidates
from rft.grpo.forest import Forest, build_forest
from rft.grpo.forest_attention import LONG_SEGMENT, ForestAttention, attend, plan_attention

MEAN_BOUND = 2.0
"""The root mean square that a kernel's error may have, over that of plain attention in the same 16-bit type."""
WORST_BOUND = 8.0
"""The same of the largest entry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """Example, Qwen3-4B: AttentionShape(num_heads=32, num_kv_heads=8, head_size=128)"""

    num_heads: int
    num_kv_heads: int
    head_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionResult:
    """Attention of T tokens and the gradients of one weighted sum of its outputs."""

    output: Tensor
    """[T, H, D]."""
    log_sum_exp: Tensor
    """[T, H]."""
    grad_q: Tensor
    grad_k: Tensor
    grad_v: Tensor

    def errors(self, exact: AttentionResult) -> dict[str, tuple[float, float]]:
        """Root mean square and largest entry of the difference to `exact`, by field; infinite or NaN where one is."""
        differences = {name: getattr(self, name).double() - getattr(exact, name) for name in NAMES}
        return {name: (rms(x), x.abs().max().item()) for name, x in differences.items()}


NAMES = tuple(field.name for field in fields(AttentionResult))


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeError:
    """A kernel's error over that of plain attention in the same 16-bit type.

    Example: RelativeError(name="grad_v", mean=0.54, worst=1.0)
    """

    name: str
    """Of what: a field of AttentionResult."""
    mean: float
    """Of root mean squares."""
    worst: float
    """Of largest entries."""

    def is_rounding(self) -> bool:
        return self.mean <= MEAN_BOUND and self.worst <= WORST_BOUND  # False where one is not a number


def rms(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


def attention_shape(settings: PretrainedConfig) -> AttentionShape:
    """From a model's config.json."""
    text = settings.get_text_config()
    heads = text.num_attention_heads
    return AttentionShape(
        num_heads=heads,
        num_kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
    )


def use_agreeing_kernel(wanted: str, settings: PretrainedConfig, accelerator: Accelerator) -> list[str]:
    """Puts the first candidate in use that agrees on every rank; returns lines that say which, and which not and why.

    On a CPU there is one kernel, which the tests compare with plain attention in float32; it is taken as it is.

    Args:
        wanted: train.attention_kernel.

    Raises:
        ValueError: there is no such kernel here, or none agrees.
    """
    device = accelerator.device
    lines: list[str] = []
    failures: list[str] = []
    for kernel in candidates(wanted, device):
        found = None if device.type == "cpu" else failure_of(kernel, attention_shape(settings), device)
        # One rank's failure counts for all: they compute one step together.
        failures = [failure for failure in gather_lists(accelerator, [found]) if failure is not None]
        if not failures:
            IN_USE[device.type] = kernel
            return [*lines, f"attention        {kernel.name}"]
        lines.append(f"note: the attention kernel {kernel.name} is not used: {failures[0]}")
    if not failures:
        raise ValueError(f"train.attention_kernel = {wanted} is not there on this {device.type}; set it to auto")
    other = "aten" if wanted == "auto" else "auto"
    raise ValueError(
        f"train.attention_kernel = {wanted}: {failures[0]}; set it to {other}, or train.shared_prefix=false"
    )


def failure_of(kernel: AttentionKernel, shape: AttentionShape, device: torch.device) -> str | None:
    """Why the kernel cannot be used, in one line; None if it can.

    Raises:
        ValueError: no other kernel can be tried in this process, either.
    """
    failure: str | None = None
    wrong: list[RelativeError] = []
    try:
        wrong = [error for error in relative_errors(kernel, shape, device) if not error.is_rounding()]
    except Exception as error:  # whatever a kernel, its compiler or its import raises: another one will do
        failure = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if device.type == "cuda":
        give_memory_back(kernel, failure)
    if not wrong:
        return failure
    return (
        f"its {wrong[0].name} differs from plain attention by {wrong[0].mean:.3g} times the rounding of bfloat16 "
        f"({wrong[0].worst:.3g} times in one entry)"
    )


def give_memory_back(kernel: AttentionKernel, failure: str | None) -> None:
    """The engine, which starts next, takes a share of what is free.

    Raises:
        ValueError: the kernel made an error that stays, such as an illegal access; CUDA then answers every later call
            of the process with it.
    """
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except torch.AcceleratorError as error:
        reason = failure or " ".join(str(error).split())[:200]
        raise ValueError(
            f"the attention kernel {kernel.name} leaves this process without its GPU ({reason}); set "
            "train.attention_kernel=aten"
        ) from None


def relative_errors(
    kernel: AttentionKernel, shape: AttentionShape, device: torch.device, forest: Forest | None = None
) -> list[RelativeError]:
    """The kernel's errors on `forest`, by default the small one below."""
    forest = forest or small_forest()
    visible = visible_tokens(forest, device)
    plan = plan_attention(forest.segments, device, kernel)
    scale = shape.head_size**-0.5
    drawn, weights = random_inputs(forest.num_tokens, shape, device)

    def plain(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return plain_attention(q, k, v, visible, scale)

    def ours(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            lse = attend(q, k, v, plan, scale)[1]
        return ForestAttention.apply(q, k, v, plan, scale), lse

    exact = run_attention(plain, [x.double() for x in drawn], weights)
    rounding, found = (run_attention(attention, drawn, weights).errors(exact) for attention in (plain, ours))
    return [
        RelativeError(name=name, mean=found[name][0] / rounding[name][0], worst=found[name][1] / rounding[name][1])
        for name in NAMES
    ]


def run_attention(
    attention: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]], inputs: list[Tensor], weights: Tensor
) -> AttentionResult:
    """Forward and backward of `attention(q, k, v)`, which gives output and log-sum-exps."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    output, lse = attention(leaves[0], leaves[1], leaves[2])
    grads = torch.autograd.grad(output, leaves, weights.to(output.dtype))
    return AttentionResult(
        output=output.detach(), log_sum_exp=lse.detach(), grad_q=grads[0], grad_k=grads[1], grad_v=grads[2]
    )


def plain_attention(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Softmax attention with its whole matrix, in the type of the inputs: q [T, H, D], k and v [T, K, D].

    Args:
        visible: bool [T, T], which keys (columns) a query (row) sees.

    Returns:
        output [T, H, D]; log-sum-exps [T, H].
    """
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * scale
    wide = scores.to(torch.promote_types(q.dtype, torch.float32)).masked_fill(~visible, float("-inf"))
    output = torch.einsum("hqk,khd->qhd", wide.softmax(-1).to(q.dtype), v)
    return output, wide.logsumexp(-1).transpose(0, 1)


def visible_tokens(forest: Forest, device: torch.device) -> Tensor:
    """bool [T, T]: each token sees itself and its ancestors."""
    visible = torch.zeros(forest.num_tokens, forest.num_tokens, dtype=torch.bool, device=device)
    for segment in forest.segments:
        tokens = slice(segment.start, segment.end)
        visible[tokens, tokens] = torch.ones_like(visible[tokens, tokens]).tril()
        visible[segment.end : segment.subtree_end, tokens] = True
    return visible


def small_forest() -> Forest:
    """About 2,000 tokens with every kind of launch.

    A long segment alone, short ones together, queries and keys that stand side by side and that do not; a segment of
    one token, and lengths that are no multiple of any tile.
    """

    def branch(number: int, length: int) -> tuple[int, ...]:
        return tuple(range(10_000 * number, 10_000 * number + length))

    history, second_history = branch(1, LONG_SEGMENT + 200), branch(2, 150)
    questions = [(*history, *branch(3, 1)), (*history, *branch(4, 70)), (*history, *branch(5, 300))]
    return build_forest(
        [
            questions[0],
            *((*questions[1], *branch(number, length)) for number, length in ((6, 5), (7, 9))),
            *((*questions[2], *branch(number, length)) for number, length in ((8, 40), (9, 129))),
            *((*second_history, *branch(number, length)) for number, length in ((10, 20), (11, 33))),
        ]
    )


def random_inputs(num_tokens: int, shape: AttentionShape, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """q [T, H, D], k and v [T, K, D], and the weights [T, H, D] of the summed outputs: bfloat16, each time the same."""
    generator = torch.Generator().manual_seed(0)

    def normal(heads: int) -> Tensor:
        drawn = torch.randn(num_tokens, heads, shape.head_size, generator=generator)
        return drawn.to(device, torch.bfloat16)

    inputs = [normal(heads) for heads in (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)]
    return inputs, normal(shape.num_heads)
