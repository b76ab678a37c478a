"""Calls reward functions and reads what they return. What goes wrong is named with the function and the question."""

from __future__ import annotations

import asyncio
import functools
import math
import numbers
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rft.records import Attempt
from rft.reward.function_loading import RewardFunction, is_async

IDS_SHOWN = 5
"""Questions named in an error of a whole batch."""

VALUE_CHARS = 200
"""How much of a wrong value, or of an error's message, is shown."""

Columns = Mapping[str, list[Any]]
"""Arguments that have one item per attempt."""


def call_functions(
    functions: Sequence[RewardFunction], attempts: Sequence[Attempt], columns: Columns, shared: Mapping[str, Any]
) -> dict[str, list[float | None]]:
    """One value per attempt from each function, by its name; None where it does not apply.

    Args:
        functions: the task's own scorer not among them.
        columns: arguments that have one item per attempt.
        shared: arguments that are the same for all attempts.

    Raises:
        RuntimeError: a function that raises, or returns what is no reward.
    """
    values = {}
    for function, output in zip(functions, outputs_of(functions, {**columns, **shared}), strict=True):
        if isinstance(output, BaseException):
            place = raising_place(function, attempts, columns, shared)
            raise RuntimeError(f"reward function {function.name} raised {described(output)} {place}") from output
        values[function.name] = read_values(function, attempts, output)
    return values


def outputs_of(functions: Sequence[RewardFunction], arguments: Mapping[str, Any]) -> list[Any]:
    """What each function returned, or the exception that it raised: first the plain ones, then the async ones."""
    calls = {function.name: function.call for function in functions if function.call is not None}
    waiting = {name: call for name, call in calls.items() if is_async(call)}
    outputs = {name: called_now(call, arguments) for name, call in calls.items() if name not in waiting}
    if waiting:
        outputs |= zip(waiting, run_together(waiting.values(), arguments), strict=True)
    return [outputs[function.name] for function in functions]


def called_now(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return function(**arguments)
    except Exception as error:
        return error


def run_together(functions: Iterable[Callable[..., Any]], arguments: Mapping[str, Any]) -> list[Any]:
    """`called_now` for async functions, all at the same time."""

    async def awaited(function: Callable[..., Any]) -> Any:
        try:
            return await function(**arguments)
        except BaseException as error:  # whatever ends the loop's thread would leave this one waiting for ever
            return error

    async def all_awaited() -> list[Any]:
        return await asyncio.gather(*map(awaited, functions))

    return asyncio.run_coroutine_threadsafe(all_awaited(), reward_loop()).result()


@functools.cache
def reward_loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread of its own, as in trl. It outlives a batch: a client that a function keeps belongs to
    the loop in which it was first used."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="reward functions", daemon=True).start()
    return loop


def raising_place(
    function: RewardFunction, attempts: Sequence[Attempt], columns: Columns, shared: Mapping[str, Any]
) -> str:
    """Which question a function raises at, found by giving it one attempt at a time."""
    for index, attempt in enumerate(attempts):
        alone = {name: values[index : index + 1] for name, values in columns.items()}
        (output,) = outputs_of([function], {**alone, **shared})
        if isinstance(output, BaseException):
            return f"at question {attempt.question.question_id}"
    return f"{at_questions(attempts)}, but at none of them alone"


def read_values(function: RewardFunction, attempts: Sequence[Attempt], output: Any) -> list[float | None]:
    if not isinstance(output, Iterable):
        raise RuntimeError(
            f"reward function {function.name} returned {described(output)} instead of a list of {len(attempts)} "
            f"values, {at_questions(attempts)}"
        )
    values = list(output)
    if len(values) != len(attempts):
        raise RuntimeError(
            f"reward function {function.name} returned {len(values)} values for {len(attempts)} completions, "
            f"{at_questions(attempts)}"
        )
    return [read_value(function, attempt, value) for attempt, value in zip(attempts, values, strict=True)]


def read_value(function: RewardFunction, attempt: Attempt, value: Any) -> float | None:
    """One value as a number; None where the function says that it does not apply."""
    number = to_number(value)
    if value is None or (number is not None and math.isnan(number)):
        return None
    if number is None:
        problem = "neither a number nor None"
    elif not math.isfinite(number) or not math.isfinite(number * function.weight):
        problem = f"not finite with its weight {function.weight}"
    else:
        return number
    raise RuntimeError(
        f"reward function {function.name} returned {described(value)} at question {attempt.question.question_id}, "
        f"which is {problem}"
    )


def to_number(value: Any) -> float | None:
    """A number, true or false of Python, numpy or torch; None for anything else."""
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def described(value: Any) -> str:
    """A wrong value or an exception with its type, in one line."""
    text = str(value) if isinstance(value, BaseException) else repr(value)
    return f"{type(value).__name__} ({' '.join(text.split())[:VALUE_CHARS]})"


def at_questions(attempts: Sequence[Attempt]) -> str:
    ids = list(dict.fromkeys(attempt.question.question_id for attempt in attempts))
    more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
    return f"at the questions {', '.join(ids[:IDS_SHOWN])}{more}"
