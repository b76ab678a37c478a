"""The plan of a run."""

from __future__ import annotations

import pytest
from transformers import PretrainedConfig

from rft.planning import planner
from rft.planning.planner import CannotPlan, may_fit, plan_run
from tests.unit.planning.small import machine, mode_of, recipe, two_layers_of_4b

SHAPE = two_layers_of_4b()


def test_ranks_are_the_gpus_of_all_machines():
    assert machine(num_gpus=8, num_nodes=2).num_ranks == 16
    assert str(machine(num_gpus=8, num_nodes=2)) == "2 x 8 x h100 of 79.1 GiB"
    assert str(machine(num_gpus=1)) == "1 x h100 of 79.1 GiB"


def test_a_plan_has_no_auto_left_and_knows_its_time():
    config = recipe("train.max_tokens_per_microbatch=auto", "rollout.vllm_gpu_memory_utilization=auto")
    plan = plan_run(config, machine(), SHAPE, mode_of(config, 8))
    assert isinstance(plan.config.train.max_tokens_per_microbatch, int)
    assert isinstance(plan.config.rollout.vllm_gpu_memory_utilization, float)
    assert plan.memory.fits and plan.time is not None and plan.time.batch_seconds > 0
    assert config.train.max_tokens_per_microbatch == "auto", "what was asked stays"


def test_a_replay_is_planned_without_a_time():
    config = recipe("train.replay=somewhere")
    assert plan_run(config, machine(), SHAPE, mode_of(config, 8)).time is None


def test_what_may_not_fit_is_known_without_a_pass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rft.planning.memory.pass_cost", None)
    config = recipe()
    assert may_fit(config, machine(), SHAPE, mode_of(config, 8))
    full = recipe("rollout.vllm_gpu_memory_utilization=1.0")
    assert not may_fit(full, machine(), SHAPE, mode_of(full, 8)), "nothing is left for the trainer"
    none = recipe("rollout.vllm_gpu_memory_utilization=0.01")
    assert not may_fit(none, machine(), SHAPE, mode_of(none, 8)), "the engine has no room for a sequence"


@pytest.mark.parametrize("error", [RuntimeError("a\n  b"), NotImplementedError("a b"), TypeError("a b")])
def test_a_model_that_cannot_be_described_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch):
    def refuses(*_: object) -> None:
        raise error

    monkeypatch.setattr(planner, "for_card", refuses)
    config = recipe()
    with pytest.raises(CannotPlan, match="^qwen3 cannot be planned without its weights: a b$"):
        plan_run(config, machine(), SHAPE, mode_of(config, 8))


def test_a_model_without_the_usual_sizes_is_one_line():
    class Odd(PretrainedConfig):
        model_type = "odd"

    config = recipe()
    with pytest.raises(ValueError):
        plan_run(config, machine(), Odd(), mode_of(config, 8))
