"""Before a run starts: `auto` gets a number, what cannot fit is refused with the way out."""

from __future__ import annotations

import pytest
from transformers import Qwen3Config

from rft.config import Config, load_config
from rft.parallel import ParallelMode, parallel_mode
from rft.planning import remedies, start
from rft.planning.auto import USUAL_TOKENS, USUAL_UTILIZATION
from rft.planning.cards import CARDS, GIB, with_memory
from rft.planning.planner import Machine, plan_run
from rft.planning.shape import QWEN3_4B
from rft.planning.start import fitted, fitted_to

RECIPE = "configs/qwen3_4b.yaml"
AUTO = ["train.max_tokens_per_microbatch=auto", "rollout.vllm_gpu_memory_utilization=auto"]
SHAPE = Qwen3Config(**QWEN3_4B | {"num_hidden_layers": 2})


@pytest.fixture(autouse=True)
def two_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe's model with 2 of its 36 layers: planning it takes seconds."""
    monkeypatch.setattr(start, "shape_of", lambda model: SHAPE)
    monkeypatch.setattr(remedies, "ENOUGH", 1)


def of_recipe(*overrides: str) -> tuple[Config, ParallelMode]:
    short = ["data.max_prompt_length=4000", "rollout.max_completion_length=200"]
    plain = ["train.max_tokens_per_microbatch=8192", "rollout.vllm_gpu_memory_utilization=0.5"]
    config = load_config(RECIPE, [*short, *plain, *overrides])
    return config, parallel_mode(config, 8, {})


def update_gib(config: Config, mode: ParallelMode) -> float:
    machine = Machine(card=CARDS["h100"], num_gpus=8)
    instants = plan_run(config, machine, SHAPE, mode).memory.instants
    return next(instant.total.expected for instant in instants if instant.name == "update") / GIB


def test_what_deepspeed_would_make_fit_is_refused_without_it():
    low_cache = "rollout.vllm_gpu_memory_utilization=0.25"
    alone, sharded = of_recipe("train.deepspeed=null", low_cache), of_recipe(low_cache)
    assert update_gib(*sharded) < update_gib(*alone)
    card = with_memory(CARDS["h100"], (update_gib(*sharded) + update_gib(*alone)) / 2)
    with pytest.raises(ValueError, match=r"^the run does not fit .*what would fit: train\.deepspeed=") as caught:
        fitted_to(*alone, card, {})
    assert "\n" not in str(caught.value)
    alone[0].plan.force = True
    assert fitted_to(*alone, card, {}).config == alone[0]
    assert fitted_to(*sharded, card, {}).config == sharded[0]


def test_the_recipe_s_auto_values_hold_whole_groups():
    config, mode = of_recipe(*AUTO)
    found = fitted_to(config, mode, CARDS["h100"], {}).config
    tokens = found.train.max_tokens_per_microbatch
    one_group = config.data.max_prompt_length + 16 * config.rollout.max_completion_length
    assert isinstance(tokens, int) and tokens >= one_group, "a group of the longest replies is not cut"
    share = found.rollout.vllm_gpu_memory_utilization
    assert isinstance(share, float) and 0.5 < share <= 0.9


def test_without_a_gpu_auto_is_the_usual_value():
    config = load_config("configs/demo.yaml", AUTO)
    found = fitted(config, parallel_mode(config, 1, {}), {}).config
    assert found.train.max_tokens_per_microbatch == USUAL_TOKENS
    assert found.rollout.vllm_gpu_memory_utilization == USUAL_UTILIZATION


def test_without_auto_nothing_changes():
    config = load_config("configs/demo.yaml", [])
    assert fitted(config, parallel_mode(config, 1, {}), {}).config is config
