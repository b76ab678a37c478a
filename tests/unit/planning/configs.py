"""A sound config for tests of the planner."""

from __future__ import annotations

from rft.config import Config


def config(**changes: object) -> Config:
    """A sound config with changes such as `train__seed=1`; two underscores stand for a dot."""
    result = Config()
    result.rollout.questions_per_batch = 8
    result.rollout.num_generations = 4
    for dotted, value in changes.items():
        section, key = dotted.split("__") if "__" in dotted else ("", dotted)
        owner = getattr(result, section) if section else result
        assert hasattr(owner, key)
        setattr(owner, key, value)
    return result
