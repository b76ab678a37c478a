"""Offloaded layer inputs: the same numbers come back, and what is kept where."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from rft.grpo import activation_offloading
from rft.grpo.activation_offloading import MAX_ON_DEVICE, OffloadedInputs, offload_layer_inputs
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.logprobs import forest_logprobs
from tests.tiny import random_paths, samples_of_paths, tiny_qwen3

SAMPLES = samples_of_paths([path for seed in range(3) for path in random_paths(seed)])
NUM_LAYERS = 6


def make(*, offload: bool, lora: bool = False) -> tuple[nn.Module, OffloadedInputs | None]:
    model = tiny_qwen3(True, attn_implementation=FOREST_ATTENTION, num_hidden_layers=NUM_LAYERS)
    if lora:
        torch.manual_seed(3)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train(), offload_layer_inputs(model) if offload else None


def loss(model: nn.Module) -> Tensor:
    logps = forest_logprobs(model, SAMPLES, 0.9, entropy=False).logps
    return (logps * torch.randn(len(logps), generator=torch.Generator().manual_seed(0))).sum()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "lora"])
def test_loss_and_gradients_are_the_same_to_the_bit(lora: bool) -> None:
    found = []
    for offload in (False, True):
        model, _ = make(offload=offload, lora=lora)
        for _ in range(2):  # a second micro-batch adds to the gradients of the first
            value = loss(model)
            value.backward()
        found.append((value, gradients(model)))
    (plain, expected), (ours, ours_gradients) = found
    assert torch.equal(plain, ours) and expected.keys() == ours_gradients.keys() and expected
    for name, gradient in expected.items():
        assert torch.equal(gradient, ours_gradients[name]), name


class LayerInputs:
    """Whether the tensors that entered the layers in a forward pass still exist; sees them without keeping them."""

    def __init__(self, model: nn.Module) -> None:
        self.storages: list[weakref.ref[torch.UntypedStorage]] = []
        layers = next(m for m in model.modules() if isinstance(m, nn.ModuleList))
        self.hooks = [layer.register_forward_pre_hook(self.see) for layer in layers]

    def see(self, module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        self.storages.append(weakref.ref(arguments[0].untyped_storage()))

    def alive(self) -> int:
        for hook in self.hooks:
            hook.remove()
        return sum(storage() is not None for storage in self.storages)


@contextmanager
def host_copies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Tensor]]]:
    """Every tensor of host memory that was made within the block."""
    made: list[weakref.ref[Tensor]] = []
    real = activation_offloading.empty_on_host

    def count(tensor: Tensor) -> Tensor:
        found = real(tensor)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(activation_offloading, "empty_on_host", count)
    yield made
    monkeypatch.undo()


def test_the_device_keeps_two_inputs_instead_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {}
    for offload in (False, True):
        model, offloaded = make(offload=offload)
        inputs = LayerInputs(model)
        with host_copies(monkeypatch) as copies:
            value = loss(model)
        kept[offload] = inputs.alive()
        if offloaded is not None:
            assert len(copies) == NUM_LAYERS and all(copy() is not None for copy in copies)
            size = copies[0]().nbytes
            assert offloaded.bytes_on_device() == MAX_ON_DEVICE * size
            value.backward()
            del value
            assert offloaded.bytes_on_device() == 0
            assert not any(copy() is not None for copy in copies), "the host's copies go with the graph"
    assert kept == {False: NUM_LAYERS, True: MAX_ON_DEVICE}


def test_the_backward_pass_holds_no_more_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input at work and the one that is fetched meanwhile."""
    model, _ = make(offload=True)
    value = loss(model)
    fetched: list[weakref.ref[Tensor]] = []
    most = 0
    real = OffloadedInputs._fetch

    def fetch(self: OffloadedInputs, kept: activation_offloading.KeptInput) -> Tensor:
        nonlocal most
        found = real(self, kept)
        if not any(found is reference() for reference in fetched):
            fetched.append(weakref.ref(found))
        most = max(most, sum(reference() is not None for reference in fetched))
        return found

    monkeypatch.setattr(OffloadedInputs, "_fetch", fetch)
    value.backward()
    assert len(fetched) == NUM_LAYERS and most <= MAX_ON_DEVICE + 1, (len(fetched), most)


def test_each_input_is_on_its_way_before_its_layer_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = make(offload=True)
    value = loss(model)
    waited = []
    real = OffloadedInputs.give_back

    def give_back(self: OffloadedInputs, kept: activation_offloading.KeptInput) -> Tensor:
        waited.append(kept.on_device is None)
        return real(self, kept)

    # The hooks are bound when a layer is called, so they are replaced where they are looked up.
    monkeypatch.setattr(OffloadedInputs, "give_back", give_back)
    value = loss(model)
    value.backward()
    assert waited == [False] * NUM_LAYERS


def test_two_graphs_at_a_time_and_a_graph_that_is_used_twice() -> None:
    expected, _ = make(offload=False)
    ours, _ = make(offload=True)
    for model in (expected, ours):
        first, second = loss(model), loss(model)
        first.backward(retain_graph=True)
        second.backward()
        first.backward()
    theirs = gradients(expected)
    for name, gradient in gradients(ours).items():
        assert torch.equal(gradient, theirs[name]), name


def test_without_a_gradient_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, offloaded = make(offload=True)
    with host_copies(monkeypatch) as copies, torch.no_grad():
        loss(model)
    assert offloaded is not None and not copies and offloaded.bytes_on_device() == 0


def test_layers_that_are_not_checkpointed_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_qwen3(True, attn_implementation=FOREST_ATTENTION).train()
    offload_layer_inputs(model)
    with host_copies(monkeypatch) as copies:
        loss(model).backward()
    assert not copies
