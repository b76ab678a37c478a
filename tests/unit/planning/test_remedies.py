"""Which settings would make a run fit."""

from __future__ import annotations

import pytest

from rft.planning import remedies
from rft.planning.cards import CARDS, GIB, with_memory
from rft.planning.planner import CannotPlan, Machine, plan_run
from rft.planning.remedies import ZERO3, candidates, changes, describe, setting, shown, ways_out, with_setting
from tests.unit.planning.small import machine, mode_of, recipe, two_layers_of_4b

SHAPE = two_layers_of_4b()


def keys(*overrides: str, gpus: int = 8) -> list[str]:
    return [change.key for change in changes(recipe(*overrides), machine(num_gpus=gpus))]


def test_only_what_is_not_yet_set_is_tried():
    assert "train.deepspeed" not in keys()
    assert keys("train.deepspeed=null")[0] == "train.deepspeed"
    assert "train.deepspeed" not in keys("train.deepspeed=null", gpus=1), "nobody to share with"
    assert "train.gradient_checkpointing" not in keys()
    assert "train.gradient_checkpointing" in keys("train.gradient_checkpointing=false")
    assert "model.lora.r" not in keys("model.lora.r=8")
    assert "rollout.num_generations" not in keys("rollout.num_generations=3")
    assert "train.max_tokens_per_microbatch" not in keys("train.shared_prefix=false")
    for auto in ("train.max_tokens_per_microbatch", "rollout.vllm_gpu_memory_utilization"):
        assert auto in keys() and auto not in keys(f"{auto}=auto")


def test_what_trains_something_else_comes_last():
    assert keys()[-2:] == ["model.lora.r", "rollout.num_generations"]


def test_single_changes_come_before_pairs():
    sizes = [len(together) for together in candidates(recipe(), machine())]
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2, 3}
    assert len(sizes) == len({frozenset(change.key for change in found) for found in candidates(recipe(), machine())})


def test_a_setting_is_read_and_changed_by_its_key():
    config = recipe()
    changed = with_setting(config, "model.lora.r", 32)
    assert setting(changed, "model.lora.r") == 32
    assert setting(config, "model.lora.r") == 0
    assert with_setting(changed, "model.lora.r", 0) == config


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (32, "32"), (ZERO3, ZERO3)])
def test_values_are_shown_as_yaml_has_them(value: object, text: str):
    assert shown(value) == text


def test_the_way_out_fits_and_is_a_single_setting_where_one_is_enough(monkeypatch: pytest.MonkeyPatch):
    """A card between what a step needs with checkpointing and without."""
    monkeypatch.setattr(remedies, "ENOUGH", 1)
    auto = "rollout.vllm_gpu_memory_utilization=auto"
    plain, checkpointed = recipe("train.gradient_checkpointing=false", auto), recipe(auto)
    mode = mode_of(plain, 8)
    needed = [
        max(moment.total.expected for moment in plan_run(config, machine(), SHAPE, mode).memory.instants[2:4])
        for config in (plain, checkpointed)
    ]
    tried = Machine(card=with_memory(CARDS["h100"], sum(needed) / 2 / GIB), num_gpus=8)
    before = plan_run(plain, tried, SHAPE, mode)
    assert not before.memory.fits
    (way,) = ways_out(plain, tried, SHAPE, {})
    assert way.settings() == "train.gradient_checkpointing=true"
    assert way.plan.memory.fits
    line = describe(way, before)
    assert "\n" not in line and "GiB at the" in line and "computed once more" in line


def test_where_nothing_helps_nothing_is_named(monkeypatch: pytest.MonkeyPatch):
    def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(remedies, "may_fit", never)
    assert ways_out(recipe(), machine(), SHAPE, {}) == []


def test_settings_that_cannot_be_planned_are_passed_over(monkeypatch: pytest.MonkeyPatch):
    def refuses(*_: object) -> None:
        raise CannotPlan("no")

    monkeypatch.setattr(remedies, "plan_run", refuses)
    assert ways_out(recipe(), machine(), SHAPE, {}) == []


def test_offloading_is_never_tried_without_checkpointing(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def note(config: object, *_: object) -> bool:
        seen.append(config)
        return False

    monkeypatch.setattr(remedies, "may_fit", note)
    ways_out(recipe("train.gradient_checkpointing=false"), machine(), SHAPE, {})
    assert seen
    assert all(c.train.gradient_checkpointing for c in seen if c.train.activation_offloading)
