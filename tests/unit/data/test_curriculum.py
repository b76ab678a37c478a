"""Windows that grow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rft.config import Config, DataConfig, StageConfig, load_config
from rft.data.curriculum import first_batches, stage_at, stage_configs


def config_of(*stages: tuple[int, int], **data: Any) -> Config:
    curriculum = [StageConfig(max_prompt_length=window, until_step=step) for window, step in stages]
    return Config(data=DataConfig(curriculum=curriculum, max_prompt_length=3000, **data))


def test_without_a_curriculum_there_is_one_stage_with_the_config_itself():
    config = config_of()
    assert stage_configs(config) == [config] and stage_configs(config)[0] is config
    assert first_batches(config, 2) == [0]
    assert [stage_at(batch, [0]) for batch in (0, 1, 99)] == [0, 0, 0]


@pytest.mark.parametrize(("policy", "in_stage"), [("error", "drop"), ("drop", "drop"), ("truncate_oldest",) * 2])
def test_a_stage_has_its_window_and_asks_nothing_without_evidence(policy: str, in_stage: str):
    config = config_of((1000, 4), (2000, 10), length_policy=policy)
    first, second, rest = stage_configs(config)
    assert rest is config
    for stage, window in ((first, 1000), (second, 2000)):
        assert stage.data == replace(
            config.data, max_prompt_length=window, length_policy=in_stage, lost_evidence="drop", curriculum=[]
        )
        assert replace(stage, data=config.data) == config


def test_stages_change_with_their_step():
    first = first_batches(config_of((1000, 4), (2000, 10)), updates_per_batch=2)
    assert first == [0, 2, 5]
    assert [stage_at(batch, first) for batch in range(7)] == [0, 0, 1, 1, 1, 2, 2]


def test_a_yaml_file_and_an_override_can_name_stages(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("data:\n  curriculum:\n    - {max_prompt_length: 8000, until_step: 100}\n")
    assert load_config(file).data.curriculum == [StageConfig(max_prompt_length=8000, until_step=100)]
    other = load_config(file, ["data.curriculum=[{max_prompt_length: 9, until_step: 1}]"])
    assert other.data.curriculum == [StageConfig(max_prompt_length=9, until_step=1)]
    with pytest.raises(ValueError, match=r"data\.curriculum"):
        load_config(file, ["data.curriculum=[{max_prompt_length: 9}]"])
    with pytest.raises(ValueError, match=r"data\.curriculum"):
        load_config(file, ["data.curriculum=[{max_prompt_length: 9, until_step: 1, window: 3}]"])
