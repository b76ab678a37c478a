"""From `reward.function` and `reward.weights` to functions that can be called, all checked before anything loads."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rft.config import RewardConfig
from rft.plugins import load_dotted

OWN = "task"
"""Stands for the task's own scorer, in `reward.function` and in `Score.parts`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardFunction:
    """One entry of `reward.function`.

    Example:
        RewardFunction(name="brevity", weight=0.2, call=my_rewards.brevity)
    """

    name: str
    """Unique among the functions of a run; `task` is the task's own scorer."""
    weight: float
    call: Callable[..., Any] | None
    """None for the task's own scorer."""


def load_functions(config: RewardConfig) -> list[RewardFunction]:
    """The functions of a config, in order; the task's own scorer alone where it names none.

    Raises:
        ValueError: a function that cannot be found or called, a reward model, weights that do not fit.
    """
    paths = [OWN] if config.function is None else config.function
    paths = [paths] if isinstance(paths, str) else paths
    weights = checked_weights(config, paths)
    if paths.count(OWN) > 1:
        raise ValueError(
            f"reward.function names '{OWN}' {paths.count(OWN)} times; once is enough, with a larger weight"
        )
    calls = [None if path == OWN else load_function(path) for path in paths]
    return [
        RewardFunction(name=name, weight=weight, call=call)
        for name, weight, call in zip(unique_names(calls), weights, calls, strict=True)
    ]


def checked_weights(config: RewardConfig, paths: Sequence[str]) -> list[float]:
    weights = config.weights
    if config.function is None and weights is not None:
        raise ValueError("reward.weights needs reward.function; leave it out to use the task's own scorer")
    if not paths:
        raise ValueError("reward.function is an empty list; name functions as package.module:name, or leave it out")
    if weights is None:
        return [1.0] * len(paths)
    if len(weights) != len(paths):
        raise ValueError(f"reward.weights has {len(weights)} numbers for {len(paths)} functions; give one for each")
    return weights


def load_function(path: str) -> Callable[..., Any]:
    """The function behind `package.module:name`.

    Raises:
        ValueError: none is there, or something that is no reward function.
    """
    if ":" not in path:
        raise ValueError(
            f"reward.function: '{path}' is neither '{OWN}' nor of the form package.module:name; reward models are not "
            "supported"
        )
    found = load_dotted("reward.function", path)
    if isinstance(found, torch.nn.Module):
        raise ValueError(f"reward.function: {path} is a model; reward models are not supported, name a function")
    if isinstance(found, type) or not callable(found):
        kind = "class" if isinstance(found, type) else type(found).__name__
        raise ValueError(f"reward.function: {path} is a {kind}; name a function, or an object that can be called")
    if not takes_any_keyword(found):
        raise ValueError(
            f"reward.function: {path} does not take **kwargs, as trl's reward functions do; add it, or, if it makes a "
            "reward function, call it in a module of your own and name the result"
        )
    return found


def takes_any_keyword(function: Callable[..., Any]) -> bool:
    signature = signature_of(function)
    return signature is None or any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())


def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """None for functions that do not tell, such as some that are written in C."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def unique_names(calls: Sequence[Callable[..., Any] | None]) -> list[str]:
    """A name for each function; a second one of a name gets `_2`, and so on. Only the task's own scorer is `task`."""
    names: list[str] = []
    for call in calls:
        base = OWN if call is None else name_of(call)
        name, number = base, 1
        while name in names or (name == OWN and call is not None):
            number += 1
            name = f"{base}_{number}"
        names.append(name)
    return names


def name_of(function: Callable[..., Any]) -> str:
    """As trl names it: by the function, or by the class of an object that can be called."""
    inner = without_partial(function)
    return str(getattr(inner, "__name__", type(inner).__name__))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether it is declared with `async def`, or is an object whose `__call__` is."""
    inner = without_partial(function)
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(type(inner).__call__)


def without_partial(function: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(function, functools.partial):
        function = function.func
    return function
