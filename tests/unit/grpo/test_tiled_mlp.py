"""MLPs over tiles: forward and gradients equal the plain ones, and the wide values exist for one tile at a time."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import MixtralConfig, MixtralForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from rft.grpo import tiled_mlp
from rft.grpo.activation_offloading import offload_layer_inputs
from rft.grpo.forest_attention import FOREST_ATTENTION
from rft.grpo.logprobs import forest_logprobs
from rft.grpo.tiled_mlp import tile_mlps, tiles
from tests.tiny import gradient_difference, random_paths, samples_of_paths, tiny_qwen3

SAMPLES = samples_of_paths([path for seed in range(3, 8) for path in random_paths(seed)])
TOLERANCE = 1e-5
HIDDEN = 32
"""Hidden size of the tiny model."""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_mlp, "TILE_TOKENS", 10)


def make(
    *,
    tiled: bool = False,
    checkpointing: bool = False,
    lora: bool = False,
    dropout: float = 0.0,
    offload: bool = False,
    intermediate_size: int = 48,
) -> nn.Module:
    model = tiny_qwen3(True, attn_implementation=FOREST_ATTENTION, intermediate_size=intermediate_size)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if lora:
        torch.manual_seed(3)
        adapters = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, lora_dropout=dropout)
        model = get_peft_model(model, adapters)
    if tiled:
        tile_mlps(model)
    if offload:
        offload_layer_inputs(model)
    return model.train()


def logps_and_gradients(model: nn.Module) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(0)
    logps = forest_logprobs(model, SAMPLES, 0.9, entropy=False).logps
    (logps * torch.randn(len(logps), generator=torch.Generator().manual_seed(0))).sum().backward()
    return logps.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lora", [False, True], ids=["all weights", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("offload", [False, True], ids=["", "offloaded"])
def test_equals_the_plain_model(lora: bool, checkpointing: bool, offload: bool) -> None:
    plain, expected = logps_and_gradients(make(lora=lora))
    ours, found = logps_and_gradients(make(lora=lora, checkpointing=checkpointing, tiled=True, offload=offload))
    torch.testing.assert_close(ours, plain, rtol=0, atol=TOLERANCE)
    assert gradient_difference(found, expected) <= TOLERANCE


def test_without_gradient_and_with_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = logps_and_gradients(make())
    for size in (10, 10_000):
        monkeypatch.setattr(tiled_mlp, "TILE_TOKENS", size)
        with torch.no_grad():
            ours = forest_logprobs(make(tiled=True).eval(), SAMPLES, 0.9, entropy=False).logps
        torch.testing.assert_close(ours, plain, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_under_bfloat16_autocast(checkpointing: bool) -> None:
    """Float32 weights, as on one GPU: every weight's gradient is there, and as good as the plain one."""
    results = []
    for tiled in (False, True):
        with torch.autocast("cpu", torch.bfloat16):  # the backward pass is inside it too: nothing wrong is cached
            results.append(logps_and_gradients(make(tiled=tiled, checkpointing=checkpointing)))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=0.02)
    assert gradient_difference(results[1][1], results[0][1]) <= 0.02


def test_gradients_of_bfloat16_weights_are_summed_in_float32() -> None:
    """Of 64 tiles, whose sum in bfloat16 would lose two digits."""
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Linear(32, 8))
    hidden, weights = torch.randn(640, 8), torch.randn(640, 8)

    def weight_gradient(forward: Callable[[Tensor], Tensor], module: nn.Module, dtype: torch.dtype) -> Tensor:
        module.zero_grad()
        out = forward(hidden.to(dtype).requires_grad_())
        (out * weights.to(dtype)).sum().backward()
        return torch.cat([parameter.grad.double().flatten() for parameter in module.parameters()])

    exact = weight_gradient(mlp, mlp, torch.float32)
    mlp = mlp.bfloat16()
    plain = weight_gradient(mlp, mlp, torch.bfloat16)
    tiled = weight_gradient(lambda x: tiled_mlp.tiled_forward(mlp, mlp.forward, x), mlp, torch.bfloat16)
    assert (tiled - exact).norm() <= 1.1 * (plain - exact).norm()


def test_dropout_is_the_same_when_a_tile_is_computed_again() -> None:
    """With checkpointing it is drawn by another piece of code, from the same state."""
    kept = logps_and_gradients(make(tiled=True, lora=True, dropout=0.4))
    checkpointed = logps_and_gradients(make(tiled=True, lora=True, dropout=0.4, checkpointing=True))
    assert torch.equal(kept[0], checkpointed[0])
    assert gradient_difference(checkpointed[1], kept[1]) <= TOLERANCE
    torch.manual_seed(0)
    model = make(tiled=True, lora=True, dropout=0.4)
    hidden = torch.randn(1, 40, 32)

    def forward(x: Tensor) -> Tensor:
        torch.manual_seed(7)  # the same mask each time: a gradient that saw another one would not be its slope
        return model.base_model.model.model.layers[0].mlp(x)

    direction = torch.randn(1, 40, 32)
    (slope,) = torch.autograd.grad(forward(hidden.requires_grad_()).sum(), hidden)
    with torch.no_grad():
        numeric = (forward(hidden + 1e-2 * direction) - forward(hidden - 1e-2 * direction)).sum() / 2e-2
    assert (slope * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-2, abs=1e-2)


class WideValues(TorchDispatchMode):
    """The most rows, in all, of tensors [rows, width] alive at one time; weights, which have HIDDEN rows, left out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width, self.most = width, 0
        self.alive: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and tensor.dim() > 1 and tensor.shape[-1] == self.width:
                storage = tensor.untyped_storage()
                rows = storage.nbytes() // tensor.element_size() // self.width
                if rows == HIDDEN:
                    continue
                self.alive[storage._cdata] = (weakref.ref(storage), rows)
                self.alive = {key: found for key, found in self.alive.items() if found[0]() is not None}
                self.most = max(self.most, sum(rows for _, rows in self.alive.values()))
        return out


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
def test_wide_values_exist_for_one_tile_at_a_time(checkpointing: bool) -> None:
    most = {}
    for tiled in (False, True):
        model = make(tiled=tiled, checkpointing=checkpointing, intermediate_size=79)
        with WideValues(79) as wide:  # a width that nothing else has
            logps_and_gradients(model)
        most[tiled] = wide.most
    num_tokens = forest_logprobs(make(), SAMPLES, 0.9, entropy=False).num_computed
    layers = 1 if checkpointing else 2
    assert num_tokens > 100
    assert most[False] >= 4 * layers * num_tokens
    assert most[True] <= 7 * 10, "a few values per token of one tile, forward and backward"


def test_the_mlp_is_computed_no_more_often_than_by_checkpointing_alone() -> None:
    counted = {}
    for tiled in (False, True):
        model, tokens = make(tiled=tiled, checkpointing=True), []
        for layer in model.model.layers:
            layer.mlp.gate_proj.register_forward_hook(
                lambda _, inputs, __, seen=tokens: seen.append(inputs[0].shape[-2])
            )
        logps_and_gradients(model)
        counted[tiled] = sum(tokens)
    assert counted[True] == counted[False]


def test_a_weights_gradient_arrives_once() -> None:
    """DistributedDataParallel counts arrivals, and DeepSpeed reduces at each."""
    model, arrivals = make(tiled=True, checkpointing=True), []
    weight = model.model.layers[0].mlp.gate_proj.weight
    weight.register_post_accumulate_grad_hook(arrivals.append)
    logps_and_gradients(model)
    assert len(arrivals) == 1


@pytest.mark.parametrize("count", [1, 9, 10, 11, 19, 20, 21, 25, 100, 101])
def test_tiles_cover_all_tokens_in_few_equal_parts(count: int) -> None:
    found = list(tiles(count))
    assert len(found) == math.ceil(count / 10)
    covered = [token for tile in found for token in range(count)[tile]]
    assert covered == list(range(count))
    lengths = [len(range(count)[tile]) for tile in found]
    assert max(lengths) <= 10 and len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0]


def test_models_without_plain_mlps_are_refused() -> None:
    size = {"hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = {"num_key_value_heads": 1, "vocab_size": 64}
    with torch.device("meta"):
        models = [
            MixtralForCausalLM(MixtralConfig(**size, **experts, num_local_experts=2)),
            Qwen3MoeForCausalLM(Qwen3MoeConfig(**size, **experts, num_experts=2, moe_intermediate_size=8)),
        ]
    for model in models:
        with pytest.raises(
            ValueError, match=f"^train.tiled_mlp does not work with {model.config.model_type}: .*=false"
        ):
            tile_mlps(model)
