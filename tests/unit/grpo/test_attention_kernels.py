"""The choice of an attention kernel: what agrees with plain attention is used, what is wrong or missing is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import LlamaConfig, Qwen3Config

from rft.grpo import attention_kernels, kernel_agreement
from rft.grpo.attention_kernels import (
    ATEN,
    CPU,
    FLASH_ATTN_4,
    IN_USE,
    KERNELS,
    AttentionKernel,
    KernelLaunch,
    cpu_backward,
    cpu_forward,
    kernel_in_use,
)
from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import plan_attention
from rft.grpo.kernel_agreement import (
    AttentionShape,
    attention_shape,
    failure_of,
    plain_attention,
    relative_errors,
    small_forest,
    use_agreeing_kernel,
    visible_tokens,
)
from tests.forest_reference import along_paths, tensors

DEVICE = torch.device("cpu")
SHAPE = AttentionShape(num_heads=4, num_kv_heads=2, head_size=32)
FOREST = build_forest(
    [(*range(90), *range(100 * n, 100 * n + 9 * n), *end) for n in (1, 2, 3) for end in ((7,), (8, 9))]
)
"""About 150 tokens, three levels."""


def rounded_forward(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """As a GPU's kernel: float32 inside, a 16-bit output."""
    out, lse = cpu_forward(launch, q.float(), k.float(), v.float(), scale)
    return out.bfloat16(), lse


def rounded_backward(launch: KernelLaunch, *tensors_and_scale: Any) -> tuple[Tensor, Tensor, Tensor]:
    *arguments, scale = tensors_and_scale
    grads = cpu_backward(launch, *(x.float() for x in arguments), scale)
    return grads[0].bfloat16(), grads[1].bfloat16(), grads[2].bfloat16()


GOOD = AttentionKernel(name="good", forward=rounded_forward, backward=rounded_backward, many_sequences=False)


def is_right(kernel: AttentionKernel, shape: AttentionShape = SHAPE) -> bool:
    return all(error.is_rounding() for error in relative_errors(kernel, shape, DEVICE, FOREST))


@pytest.mark.parametrize("shape", [SHAPE, AttentionShape(num_heads=4, num_kv_heads=1, head_size=128)], ids=str)
@pytest.mark.parametrize("kernel", [CPU, GOOD], ids=lambda kernel: kernel.name)
def test_a_right_kernel_agrees(kernel: AttentionKernel, shape: AttentionShape) -> None:
    errors = relative_errors(kernel, shape, DEVICE, FOREST)
    assert [error.name for error in errors] == ["output", "log_sum_exp", "grad_q", "grad_k", "grad_v"]
    # A kernel computes in float32 what plain attention rounds: a good one is better than plain attention.
    assert all(0 < error.mean < (0.8 if kernel is GOOD else 1.5) for error in errors), errors
    assert is_right(kernel, shape)


def not_causal(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return rounded_forward(replace(launch, causal=False), q, k, v, scale)


def other_logarithm(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    out, lse = rounded_forward(launch, q, k, v, scale)
    return out, lse / torch.log(torch.tensor(2.0))


def other_scale(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return rounded_forward(launch, q, k, v, scale * 1.02)


def one_wrong_token(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    out, lse = rounded_forward(launch, q, k, v, scale)
    out[-1, 0] = 0
    return out, lse


def not_a_number(launch: KernelLaunch, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    out, lse = rounded_forward(launch, q, k, v, scale)
    return out * float("nan"), lse


def ignores_the_merged_results(launch: KernelLaunch, *tensors_and_scale: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of the partial softmax, as autograd through the kernel would have it."""
    grad, q, k, v, _, _, scale = tensors_and_scale
    return rounded_backward(launch, grad, q, k, v, *rounded_forward(launch, q, k, v, scale), scale)


def forgets_the_last_key(launch: KernelLaunch, *tensors_and_scale: Any) -> tuple[Tensor, Tensor, Tensor]:
    grad_q, grad_k, grad_v = rounded_backward(launch, *tensors_and_scale)
    grad_v[-1] = 0
    return grad_q, grad_k, grad_v


@pytest.mark.parametrize(
    "wrong",
    [
        replace(GOOD, forward=not_causal),
        replace(GOOD, forward=other_logarithm),
        replace(GOOD, forward=other_scale, backward=lambda *a: rounded_backward(*a[:-1], a[-1] * 1.02)),
        replace(GOOD, forward=one_wrong_token),
        replace(GOOD, forward=not_a_number),
        replace(GOOD, backward=ignores_the_merged_results),
        replace(GOOD, backward=forgets_the_last_key),
    ],
    ids=["mask", "logarithm", "scale", "one token", "nan", "merged", "one key"],
)
def test_a_wrong_kernel_is_noticed(wrong: AttentionKernel) -> None:
    assert not is_right(wrong)


def test_plain_attention_is_that_along_each_path() -> None:
    q, k, v = tensors(FOREST, 4, 2, torch.float64, seed=0)
    out, _ = plain_attention(q, k, v, visible_tokens(FOREST, DEVICE), 0.3)
    torch.testing.assert_close(out, along_paths(FOREST, 6, q, k, v, 0.3), rtol=0, atol=1e-12)


def test_the_small_forest_has_every_kind_of_launch() -> None:
    plan = plan_attention(small_forest().segments, torch.device("meta"), ATEN)
    assert len(plan.own) == 1 and plan.own[0].query_bounds.numel() - 1 == len(small_forest().segments)
    long, *together = plan.ancestors
    assert isinstance(long.queries, slice) and long.longest_keys == 1224
    assert any(isinstance(launch.queries, slice) for launch in together)
    assert any(isinstance(launch.queries, Tensor) and isinstance(launch.keys, Tensor) for launch in together)


def test_the_shape_is_the_models() -> None:
    qwen3_4b = Qwen3Config(num_attention_heads=32, num_key_value_heads=8, head_dim=128, hidden_size=2560)
    assert attention_shape(qwen3_4b) == AttentionShape(num_heads=32, num_kv_heads=8, head_size=128)
    llama = LlamaConfig(num_attention_heads=4, hidden_size=64)
    assert attention_shape(llama) == AttentionShape(num_heads=4, num_kv_heads=4, head_size=16)


# ------------------------------------------------------------------------------------- which one a run takes


SETTINGS = Qwen3Config(num_attention_heads=4, num_key_value_heads=2, head_dim=32)


class OnGpu:
    """What the choice asks of an accelerator, for a device with several kernels; the kernels compute on the CPU."""

    num_processes = 1

    def __init__(self) -> None:
        self.device = torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[OnGpu]:
    """Nothing here has a GPU: its check computes on the CPU, on the smaller forest."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    real = kernel_agreement.relative_errors
    monkeypatch.setattr(
        kernel_agreement, "relative_errors", lambda kernel, shape, _: real(kernel, shape, DEVICE, FOREST)
    )
    before = dict(IN_USE)
    yield OnGpu()
    IN_USE.update(before)


def take(monkeypatch: pytest.MonkeyPatch, gpu: Any, wanted: str, *kernels: AttentionKernel) -> list[str]:
    monkeypatch.setitem(KERNELS, "cuda", kernels)
    return use_agreeing_kernel(wanted, SETTINGS, gpu)


def test_the_first_that_agrees_is_used(monkeypatch: pytest.MonkeyPatch, gpu: OnGpu) -> None:
    fast = replace(GOOD, name="fast")
    assert take(monkeypatch, gpu, "auto", fast, GOOD) == ["attention        fast"]
    assert kernel_in_use(gpu.device) is fast


def raises(*_: Any) -> Any:
    raise RuntimeError("no kernel image is available\nfor execution on the device")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (replace(GOOD, name="fast", forward=not_causal), "its output differs from plain attention by .* times"),
        (replace(GOOD, name="fast", backward=raises), "RuntimeError: no kernel image is available for execution"),
    ],
    ids=["wrong", "raises"],
)
def test_one_that_fails_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, gpu: OnGpu, broken: AttentionKernel, reason: str
) -> None:
    note, used = take(monkeypatch, gpu, "auto", broken, GOOD)
    assert used == "attention        good" and kernel_in_use(gpu.device) is GOOD
    assert note.startswith("note: the attention kernel fast is not used: ") and "\n" not in note
    with pytest.raises(ValueError, match=f"^train.attention_kernel = fast: {reason}.*; set it to auto"):
        take(monkeypatch, gpu, "fast", broken, GOOD)
    with pytest.raises(ValueError, match=f"^train.attention_kernel = auto: {reason}.*; set it to aten"):
        take(monkeypatch, gpu, "auto", broken)


def test_after_an_error_that_stays_no_other_is_tried(monkeypatch: pytest.MonkeyPatch, gpu: OnGpu) -> None:
    """CUDA answers every call of the process with it: the next kernel would seem broken, and then the engine."""

    def refuses() -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nFor debugging ...")

    monkeypatch.setattr(torch.cuda, "synchronize", refuses)
    expected = "^the attention kernel fast leaves this process without its GPU .*; set train.attention_kernel=aten$"
    for forward in (raises, GOOD.forward):
        with pytest.raises(ValueError, match=expected):
            take(monkeypatch, gpu, "auto", replace(GOOD, name="fast", forward=forward), GOOD)


def test_a_failure_of_one_rank_counts_for_all(monkeypatch: pytest.MonkeyPatch, gpu: OnGpu) -> None:
    answers = iter([[None, "its output differs"], [None, None]])
    monkeypatch.setattr(kernel_agreement, "gather_lists", lambda _, found: next(answers))
    note, used = take(monkeypatch, gpu, "auto", replace(GOOD, name="fast"), GOOD)
    assert "fast is not used: its output differs" in note and used == "attention        good"


def test_a_gpu_without_the_kernel_does_not_try_it(monkeypatch: pytest.MonkeyPatch, gpu: OnGpu) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert [kernel.name for kernel in attention_kernels.candidates("auto", gpu.device)] == ["aten"]
    with pytest.raises(ValueError, match="^train.attention_kernel = flash_attn_4 is not there on this cuda; .* auto$"):
        take(monkeypatch, gpu, "flash_attn_4", FLASH_ATTN_4, ATEN)


def test_on_a_cpu_there_is_one() -> None:
    accelerator = Accelerator(cpu=True)
    for wanted in ("auto", "aten"):
        assert use_agreeing_kernel(wanted, SETTINGS, accelerator) == ["attention        aten"]
    assert kernel_in_use(DEVICE) is CPU
    with pytest.raises(ValueError, match="flash_attn_4 is not there on this cpu; set it to auto"):
        use_agreeing_kernel("flash_attn_4", SETTINGS, accelerator)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU may have it")
def test_a_wheel_without_the_kernel_says_so() -> None:
    """The real import: vLLM for CPUs has no flash attention with a backward pass."""
    failure = failure_of(FLASH_ATTN_4, SHAPE, DEVICE)
    assert failure is not None and "Error: " in failure and "\n" not in failure
