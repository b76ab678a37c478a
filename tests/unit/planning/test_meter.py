"""Counting what is allocated and computed, on real and on fake tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from rft.planning.meter import Meter

KIB = 1024


@contextmanager
def metered(fake: bool, vocab_size: int = 0) -> Iterator[Meter]:
    if fake:
        with FakeTensorMode(), Meter(vocab_size=vocab_size) as meter:
            yield meter
    else:
        with Meter(vocab_size=vocab_size) as meter:
            yield meter


both = pytest.mark.parametrize("fake", [False, True])


@both
def test_the_peak_is_what_was_alive_at_one_time(fake: bool):
    with metered(fake) as meter:
        first = torch.zeros(KIB)  # 4 KiB
        second = first + 1
        assert meter.live == 8 * KIB
        del first
        assert meter.live == 4 * KIB
        third = second * 2
        del second, third
    assert meter.live == 0
    assert meter.peak == 8 * KIB


@both
def test_a_view_is_no_memory_of_its_own(fake: bool):
    with metered(fake) as meter:
        whole = torch.zeros(64, 16)
        part = whole.t()[3:5].reshape(-1).view(2, 64)[0]
        size = whole.untyped_storage().nbytes()
        assert size == 4 * KIB
        assert meter.peak <= size + 2 * 64 * 4, "the copy that reshape makes, and nothing else"
        assert part.shape == (64,)


@both
def test_memory_that_a_view_holds_stays_counted(fake: bool):
    with metered(fake) as meter:
        part = torch.zeros(KIB)[:1]
        assert meter.live == 4 * KIB
        del part
        assert meter.live == 0


@both
def test_products_are_two_operations_per_multiplication(fake: bool):
    with metered(fake) as meter:
        torch.ones(3, 5) @ torch.ones(5, 7)
        assert meter.matmul_flops == 2 * 3 * 5 * 7
        torch.bmm(torch.ones(2, 3, 5), torch.ones(2, 5, 7))
        assert meter.matmul_flops == 3 * (2 * 3 * 5 * 7)


def test_elementwise_work_reads_its_inputs_and_writes_its_output():
    with Meter() as meter:
        tensor = torch.empty(256)
        moved = meter.moved_bytes
        tensor + tensor
        assert meter.moved_bytes - moved == 3 * KIB
        tensor.view(16, 16)
        assert meter.moved_bytes - moved == 3 * KIB


def test_products_are_no_traffic():
    left, right = torch.ones(3, 5), torch.ones(5, 7)
    with Meter() as meter:
        torch.mm(left, right)
    assert meter.moved_bytes == 0


def test_weights_that_were_there_are_left_out():
    weight = torch.ones(KIB)
    with Meter([weight]) as meter:
        weight.mul_(2)
        weight.view(2, -1).add_(1)
    assert meter.peak == 0


def test_logits_are_told_apart_by_their_last_dimension():
    with Meter(vocab_size=100) as meter:
        hidden = torch.ones(8, 16)
        logits = torch.ones(8, 100)
        assert meter.peak == hidden.nbytes + logits.nbytes
        assert meter.logits_at_peak == logits.nbytes


def test_the_host_s_memory_is_counted_apart():
    with Meter() as meter:
        kept = meter.of_the_host(torch.ones(KIB))
        assert (meter.live, meter.host_peak) == (0, 4 * KIB)
        del kept
        again = meter.of_the_host(torch.ones(KIB))
        assert meter.host_peak == 4 * KIB, "the first one is gone"
        odd = meter.of_the_host(torch.ones(KIB + 1))
        assert meter.host_peak == again.nbytes + odd.nbytes == 8 * KIB + 4
        assert meter.pinned_peak == 12 * KIB, "powers of two: 4 and 8 KiB"


def test_a_backward_pass_holds_what_the_forward_pass_kept():
    layer = torch.nn.Linear(64, 64, bias=False)
    with Meter(layer.parameters()) as meter:
        hidden = torch.ones(128, 64)
        for _ in range(4):
            hidden = torch.exp(layer(hidden))
        hidden.sum().backward()
    rows = 128 * 64 * 4
    # Each exp keeps its result, of which the next layer's product is made; its input goes.
    assert 5 * rows <= meter.peak <= 8 * rows
    assert meter.matmul_flops == 2 * 128 * 64 * 64 * (4 + 4 + 3)
