"""The optimizer step on two ranks (plain, ZeRO-2, ZeRO-3) is that of one rank, densely.

The cases, and what is done so that ZeRO really spreads so small a model, are in rank_cases.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import Tensor

from rft.grpo import logprobs
from rft.grpo.frozen_logprobs import score_shares
from rft.grpo.optimizer_step import micro_batch_loss, step_totals
from rft.grpo.packing import packs_of_rank
from rft.weights import named_full_weights
from tests.invariant.rank_cases import (
    CHUNK_TOKENS,
    LEARNING_RATE,
    ONE_STEP,
    Case,
    build,
    digests,
    one_step,
    samples,
    whole_batch,
)
from tests.tiny import VOCAB_SIZE, gradient_difference, tiny_qwen3

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-5
"""Seen: 3.4e-6 at most for one step (LoRA), 1.6e-6 without LoRA; 7.8e-6 for the four steps of a batch."""

FLOAT32 = [name for cases in ONE_STEP.values() for name, case in cases.items() if case.dtype == "float32"]
ZERO3 = [name for name, case in ONE_STEP["deepspeed"].items() if case.stage == 3]
KINDS = ["plain", "zero2", "zero3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models; what two ranks found in every case comes beside them."""
    folder = tmp_path_factory.mktemp("ranks")
    for tied in (True, False):
        for seed, suffix in enumerate(("", "-reference")):
            model = tiny_qwen3(tied=tied, seed=seed)
            model.save_pretrained(folder / "models" / f"{'tied' if tied else 'untied'}{suffix}")
    return folder


@cache
def launch(folder: Path, launcher: str) -> subprocess.CompletedProcess[str]:
    """Two ranks that go through all cases of a launcher, once."""
    return subprocess.run(
        (
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
            "-m", "tests.invariant.rank_cases", str(folder), launcher,
        ),
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def found_by_ranks(folder: Path, name: str) -> list[Path]:
    """The files of a case: what each rank wrote, and the weights, if it has some."""
    finished = launch(folder, "plain" if name.startswith("plain") else "deepspeed")
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-6000:]
    return [*(folder / f"{name}-{rank}.json" for rank in range(2)), folder / f"{name}.safetensors"]


def facts(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in found_by_ranks(folder, name)[:2]]


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    return load_file(found_by_ranks(folder, name)[2])


@cache
def densely(folder: Path, tied: bool, lora: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One step on one rank, in float32, each sample with its own copy of the prompt, the head in one piece."""
    dense = Case(tied=tied, lora=lora, shared_prefix=False)
    return one_step(folder, build(folder, dense, Accelerator(cpu=True), learning_rate=LEARNING_RATE))


@pytest.mark.parametrize("name", FLOAT32)
def test_a_step_on_two_ranks_is_that_of_one_rank_densely(folder: Path, name: str) -> None:
    case = next(cases[name] for cases in ONE_STEP.values() if name in cases)
    dense, gradients = densely(folder, case.tied, case.lora)
    assert gradient_difference(weights(folder, name), gradients) <= TOLERANCE
    for found in facts(folder, name):
        for key in dense["metrics"].keys() - {"update/num_tokens", "update/unique_token_ratio"}:
            assert found["metrics"][key] == pytest.approx(dense["metrics"][key], rel=1e-4, abs=1e-6), key
        assert found["metrics"]["update/num_tokens"] < dense["metrics"]["update/num_tokens"]
        assert found["metrics"]["kl"] > 0.1, "there is a KL term with a gradient"


def test_ranks_with_unequal_work_make_equally_many_passes(folder: Path) -> None:
    config = build(folder, Case(shared_prefix=True), Accelerator(cpu=True)).config
    packs = [packs_of_rank(config.train, samples(), rank, 2) for rank in range(2)]
    assert [[weight for _, weight in mine] for mine in packs] == [[1, 1, 0], [1, 1, 1]]
    for name in ("zero2-untied", "zero3-untied", "plain-tied"):
        assert [found["passes"] for found in facts(folder, name)] == [3, 3]
        assert all(found["chunks"] >= 3 * found["passes"] for found in facts(folder, name)), "several chunks a pass"


@pytest.mark.parametrize("name", [name for name in FLOAT32 if "tiled" in name])
def test_ranks_with_unequal_numbers_of_tiles_do_not_wait_for_each_other(folder: Path, name: str) -> None:
    calls = [found["mlp_calls"] for found in facts(folder, name)]
    assert calls[0] != calls[1] and min(calls) > 20, calls


@pytest.mark.parametrize("name", ZERO3)
def test_zero3_spreads_the_weights_and_gathers_a_few_at_a_time(folder: Path, name: str) -> None:
    for found in facts(folder, name):
        sizes = found["sharding"]
        assert sizes["own_part"] == sizes["model"] / 2
        assert (sizes["available"], sizes["gathered_now"]) == (0, 0), "nothing is left on a rank after a step"
        # With checkpointing a layer is whole while its backward pass computes it again; else one module at a time.
        assert 0 < sizes["most_gathered"] <= 0.4 * sizes["model"]
    if name == "zero3-untied":
        assert sizes["most_gathered"] == VOCAB_SIZE * 32, "the embeddings, the largest weight"


@pytest.mark.parametrize("lora", [False, True])
def test_weights_spread_over_ranks_stream_to_the_engine_as_those_of_one_rank(folder: Path, lora: bool) -> None:
    """To the bit, in the same order, on every rank; adapters are merged."""
    whole = build(folder, Case(lora=lora), Accelerator(cpu=True)).policy
    expected = digests(dict(named_full_weights(whole)))
    for found in facts(folder, "zero3-stream-lora" if lora else "zero3-stream"):
        assert found["spread"] == [True, True], "before and after"
        assert list(found["streamed"].items()) == list(expected.items())


@pytest.mark.parametrize("name", [name for name in FLOAT32 if name.startswith("zero2")])
def test_zero2_spreads_the_optimizer_over_whole_weights(folder: Path, name: str) -> None:
    for found in facts(folder, name):
        sizes = found["sharding"]
        assert sizes["optimizer_part"] == sizes["trained"] / 2
        assert sizes["gathered_now"] == sizes["model"]


@cache
def summed_in_float32(folder: Path) -> dict[str, Tensor]:
    """The bfloat16 gradients of all micro-batches, added up in float32."""
    run = build(folder, Case(dtype="bfloat16"), Accelerator(cpu=True))
    share = score_shares(run.config, run.accelerator, run.policy, run.reference, [samples()])[0]
    totals = step_totals(share, max_completion_length=9)
    sums = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in run.policy.named_parameters()}
    for rank in range(2):
        for pack, weight in packs_of_rank(run.config.train, samples(), rank, 2):
            micro_batch_loss(run.config, run.policy, [share[i] for i in pack], totals)[0].loss.mul(weight).backward()
            for name, parameter in run.policy.named_parameters():
                assert parameter.grad is not None
                sums[name] += parameter.grad.float()
                parameter.grad = None
    return sums


@pytest.mark.parametrize("kind", ["zero2", "zero3"])
def test_gradients_are_reduced_and_added_up_in_float32(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: no difference at all with the settings in configs/deepspeed/, and 6e-3 without grad_accum_dtype and
    communication_data_type."""
    monkeypatch.setattr(logprobs, "CHUNK_ELEMENTS", CHUNK_TOKENS * VOCAB_SIZE)
    sums = summed_in_float32(folder)
    differences = [
        gradient_difference(weights(folder, f"{kind}-{name}"), sums) for name in ("bfloat16", "bfloat16-sums")
    ]
    assert differences[0] <= 1e-4
    assert differences[1] >= 1e-3, "else the settings make no difference"


@pytest.mark.parametrize("name", ["zero2-bfloat16", "zero3-bfloat16"])
def test_rotary_frequencies_are_those_of_float32(folder: Path, name: str) -> None:
    """DeepSpeed rounds them to bfloat16 while a model is loaded under ZeRO-3."""
    expected = [10_000 ** (-2 * index / 8) for index in range(4)]
    for found in facts(folder, name):
        assert found["rotary_frequencies"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_several_steps_on_two_ranks_is_that_of_one_rank(folder: Path, kind: str) -> None:
    """Two shares, two iterations: old log-probs come from a pass for one share, from its first step for the other."""
    dense, moved = whole_batch(
        folder, build(folder, Case(shared_prefix=False), Accelerator(cpu=True), learning_rate=0.5)
    )
    assert gradient_difference(weights(folder, f"{kind}-batch"), moved) <= 2 * TOLERANCE
    for found in facts(folder, f"{kind}-batch"):
        for key in ("loss", "grad_norm", "kl", "clip_ratio/region_mean"):
            assert found["metrics"][key] == pytest.approx(dense["metrics"][key], rel=1e-4), key
        assert found["metrics"]["clip_ratio/region_mean"] > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_steps_with_nothing_to_learn_move_nothing_on_any_rank(folder: Path, kind: str) -> None:
    """A real step, one without an advantage, one without a sample, a real one: the two between change not one bit."""
    ranks = facts(folder, f"{kind}-idle")
    for found in ranks:
        assert found["moved"] == [False, False, True]
        assert found["num_moments"] >= 2, "there is a momentum that could have moved the weights"
        assert found["skipped"] == [0.0, 1.0, 1.0, 0.0]
        assert found["learning_rates"] == pytest.approx([1e-2, 0.9e-2, 0.8e-2, 0.7e-2])
        assert found["losses"][1:3] == [0.0, 0.0] and found["gap"] > 0 and found["finite"] and found["names"] == 1
    assert ranks[0]["losses"] == ranks[1]["losses"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_is_not_finite_ends_the_run_and_moves_nothing(folder: Path, kind: str) -> None:
    """Also under DeepSpeed, which takes its steps before the norm can be read."""
    for found in facts(folder, f"{kind}-idle"):
        error = found["not_finite"]["error"]
        assert "gradient norm is" in error and "from the last checkpoint with a lower train.learning_rate" in error
        assert found["not_finite"]["unmoved"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_resumed_under_zero3_takes_the_same_step_to_the_bit(folder: Path, dtype: str) -> None:
    uninterrupted, resumed = (weights(folder, f"zero3-{dtype}-{name}") for name in ("uninterrupted", "resumed"))
    assert uninterrupted.keys() == resumed.keys()
    assert all(torch.equal(weight, resumed[name]) for name, weight in uninterrupted.items())
    metrics = [facts(folder, f"zero3-{dtype}-{name}")[0]["metrics"] for name in ("uninterrupted", "resumed")]
    assert metrics[0] == metrics[1]
