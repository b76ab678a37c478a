"""What a config is made of: sections, which are checked dataclasses, and the kinds of values that their fields take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

Section = TypeVar("Section")


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def section(schema: type[Section]) -> type[Section]:
    """A dataclass whose values are checked when it is made: no unknown field, and every number is finite."""
    checked: Any = dataclass(schema, config=ConfigDict(extra="forbid", allow_inf_nan=False), kw_only=True)
    return checked


def no_truth_value(value: Any) -> Any:
    """Python would count `true` as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "Input should be a number, not true or false")
    return value


def minus_one_or_positive(value: int) -> int:
    if value != -1 and value <= 0:
        raise PydanticCustomError("step_limit", "Input should be -1 or greater than 0")
    return value


def not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("blank", "Input should be text that is not blank")
    return value


TRACKERS = ("wandb", "trackio", "tensorboard")


def tracker_names(report_to: str | Sequence[str]) -> list[str]:
    """A `report_to` as a list."""
    if isinstance(report_to, str):
        return [] if report_to == "none" else [report_to]
    return list(report_to)


def known_trackers(value: str | list[str]) -> str | list[str]:
    names = tracker_names(value)
    if not set(names) <= set(TRACKERS):
        raise PydanticCustomError("trackers", f"Input should be {', '.join(TRACKERS)}, a list of these, or none")
    if len(set(names)) < len(names):
        raise PydanticCustomError("trackers", "Input should name each tracker once")
    return value


NUMBER = BeforeValidator(no_truth_value)

LARGEST_INT = 2**53
"""Beyond it a number is no count of anything, and libraries in C cannot take it."""
LONGEST_WAIT_S = 1e9
"""Python's threads cannot wait much longer."""

PositiveInt = Annotated[int, NUMBER, Field(gt=0, le=LARGEST_INT)]
NonNegativeInt = Annotated[int, NUMBER, Field(ge=0, le=LARGEST_INT)]
PositiveFloat = Annotated[float, NUMBER, Field(gt=0)]
NonNegativeFloat = Annotated[float, NUMBER, Field(ge=0)]
AtLeastOne = Annotated[float, NUMBER, Field(ge=1, le=LARGEST_INT)]

Seconds = Annotated[float, NUMBER, Field(ge=0, le=LONGEST_WAIT_S)]
PositiveSeconds = Annotated[float, NUMBER, Field(gt=0, le=LONGEST_WAIT_S)]
"""A time to wait, which may be 0."""

Share = Annotated[float, NUMBER, Field(gt=0, le=1)]
"""In (0, 1]."""
ShareOrZero = Annotated[float, NUMBER, Field(ge=0, le=1)]
"""In [0, 1]."""
ShareBelowOne = Annotated[float, NUMBER, Field(ge=0, lt=1)]
"""In [0, 1)."""

GroupSize = Annotated[int, NUMBER, Field(ge=2)]
"""At least 2, because completions of a group are compared with each other."""
StepLimit = Annotated[int, NUMBER, Field(le=LARGEST_INT), AfterValidator(minus_one_or_positive)]
"""A number of optimizer steps, or -1 for no limit."""
Seed = Annotated[int, NUMBER, Field(ge=0, lt=2**32)]
"""What numpy takes as a seed."""
Text = Annotated[str, AfterValidator(not_blank)]
Auto = Literal["auto"]
"""The planner chooses the value before the run starts."""

ReportTo = Annotated[str | list[str], AfterValidator(known_trackers)]
"""One tracker, several, or none."""

SchedulerName = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "inverse_sqrt",
]
"""The schedules of transformers.SchedulerType that need no argument but the numbers of steps."""
