"""From a yaml file and `section.key=value` overrides to a checked tree of `section`s (config_schema.py).

Every mistake in them is a `ValueError` of one line, a few hundred characters long at most.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from rft.config_yaml import DEEPEST, Scalar, merge, parse_yaml, read_yaml_chain, refusal, shortened
from rft.plain_text import HALF_SURROGATE

RENAMED = {
    "data.questions_per_history": "data.questions_per_context",
    "data.num_val_personas": "data.num_val_clusters",
    "evaluate": "compare",
    "evaluate.benchmark": "data.format",
    "compare.benchmark": "data.format",
}
"""Keys of earlier versions and what they are called now; a section's new name holds for all keys in it."""


def parse_config(schema: type, path: str | Path, overrides: list[str]) -> Any:
    """The config of a yaml file and of overrides, as an instance of `schema`, a tree of `section`s.

    Raises:
        ValueError: a file that cannot be read or is no mapping, an unknown key (the nearest valid one is named), a
            renamed one, a value of the wrong type or out of its range, an override that is not `key=value`.
    """
    return parse_tree(schema, read_yaml_chain(Path(path)), overrides)


def parse_tree(schema: type, tree: dict[Any, Any], overrides: list[str]) -> Any:
    """As `parse_config`, from what a file holds; an empty `tree` is a config of defaults."""
    for override in overrides:
        tree = merge(tree, parse_override(override))
    check_keys(schema, tree)
    try:
        return TypeAdapter(schema).validate_python(settle(tree, schema))
    except ValidationError as error:
        raise refusal(first_problem(schema, error)) from None


def first_problem(schema: type, error: ValidationError) -> str:
    """What pydantic says of the first key it refuses; of a field that takes several types, what it says of the one
    that fits best."""
    problems = error.errors()
    key = key_of(schema, problems[0]["loc"])
    nearest = max((p for p in problems if key_of(schema, p["loc"]) == key), key=lambda problem: len(problem["loc"]))
    return f"config key '{key}': {nearest['msg']}, got {nearest['input']!r}"


def parse_override(text: str) -> dict[Any, Any]:
    """`"train.learning_rate=1e-6"` as `{"train": {"learning_rate": 1e-6}}`; the value is read as yaml."""
    key, separator, value = text.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise refusal(f"override '{shortened(text)}' is not of the form section.key=value")
    if len(parts) > DEEPEST:
        raise refusal(f"override '{shortened(text)}' has more than {DEEPEST} parts in its key")
    try:
        found = parse_yaml(value, "its value")
    except ValueError as error:
        raise refusal(f"override '{shortened(text)}': {error}; quote it") from None
    return nested(key, found)


def check_keys(schema: type, tree: dict[Any, Any], prefix: str = "", root: type | None = None) -> None:
    """Raises ValueError for the first key that `schema` does not have, naming the nearest one it has.

    Args:
        schema: a section.
        tree: what is set in it.
        prefix: the dotted path of the section, with a dot at its end.
        root: the whole config's schema, for keys that have moved; None at the top.
    """
    types, root = get_type_hints(schema), root or schema
    for key, value in tree.items():
        if key not in types:
            raise refusal(unknown_key(root, types, prefix, key, value))
        if dataclasses.is_dataclass(types[key]):
            if not isinstance(value, dict):
                example = next(iter(get_type_hints(types[key])))
                raise refusal(
                    f"config key '{prefix}{key}' is a section; set one of its keys, such as {prefix}{key}.{example}=..."
                )
            check_keys(types[key], value, f"{prefix}{key}.", root)
        if (inner := section_by_name(types[key])) and isinstance(value, dict):
            for name, part in value.items():
                if isinstance(part, dict):
                    check_keys(inner, part, f"{prefix}{key}.{name}.", root)


def section_by_name(hint: Any) -> type | None:
    """The section that a field holds several of, each by a name of the user's own; None for any other field."""
    inner = get_args(hint)[1] if get_origin(hint) is dict else None
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) else None


def unknown_key(root: type, types: dict[str, Any], prefix: str, key: Any, value: Any) -> str:
    """What is wrong with a key that its section does not have."""
    below = next(iter(value), None) if isinstance(value, dict) else None
    for dotted in (f"{prefix}{key}.{below}", f"{prefix}{key}"):
        now = renamed(dotted)
        if now != dotted and has_key(root, now):
            return f"config key '{dotted}' is now '{now}'; rename it"
    near = difflib.get_close_matches(str(key), types, n=1, cutoff=0.5)
    remedy = f"did you mean '{prefix}{near[0]}'?" if near else f"valid keys here: {', '.join(types)}"
    return f"unknown config key '{prefix}{shortened(str(key))}'; {remedy}"


def renamed(dotted: str) -> str:
    """What a dotted key of an earlier version is called now; itself where nothing changed."""
    head, tail = dotted, ""
    while head:
        if head in RENAMED:
            return RENAMED[head] + tail
        head, _, last = head.rpartition(".")
        tail = f".{last}{tail}"
    return dotted


def with_new_names(tree: dict[Any, Any]) -> dict[Any, Any]:
    """A config of an earlier version under the present names of its keys; `tree` is not changed."""
    for old, new in RENAMED.items():
        *sections, last = old.split(".")
        below: Any = tree
        for section in sections:
            below = below.get(section, {})
        if last in below:
            tree = merge(without(tree, old), nested(new, below[last]))
    return tree


def without(tree: dict[Any, Any], dotted: str) -> dict[Any, Any]:
    head, _, tail = dotted.partition(".")
    rest = {key: value for key, value in tree.items() if key != head}
    return {**rest, head: without(tree[head], tail)} if tail else rest


def nested(dotted: str, value: Any) -> dict[Any, Any]:
    """`"a.b", 3` as `{"a": {"b": 3}}`."""
    tree = value
    for part in reversed(dotted.split(".")):
        tree = {part: tree}
    return tree


def has_key(schema: type, dotted: str) -> bool:
    head, _, tail = dotted.partition(".")
    hint = get_type_hints(schema).get(head, None)
    return hint is not None and (not tail or (isinstance(hint, type) and has_key(hint, tail)))


def settle(value: Any, hint: Any, key: str = "") -> Any:
    """A value as plain Python: as text where its field, whose type is `hint`, takes text, `run_name: 3` for example.

    Raises:
        ValueError: a number that is not finite or that yaml reads as another one than a person does, text that no file
            can hold; also in sections without a schema.
    """
    if isinstance(value, dict):
        types = get_type_hints(hint) if dataclasses.is_dataclass(hint) else {}
        other = section_by_name(hint) or Any
        return {
            as_text(name, key): settle(part, types.get(name, other), f"{key}.{name}") for name, part in value.items()
        }
    if isinstance(value, list):
        inner = next((get_args(option)[0] for option in alternatives(hint) if get_origin(option) is list), Any)
        return [settle(part, inner, key) for part in value]
    if isinstance(value, Scalar):
        if not takes_text(hint) and isinstance(value.value, int | float) and OTHER_BASE.match(value.text):
            problem = f"Input should be a decimal number, got {value.text}, which yaml reads as {value.value}"
            raise refusal(f"config key '{key[1:]}': {problem}")
        value = value.text if takes_text(hint) else value.value
    if isinstance(value, float) and not math.isfinite(value):
        raise refusal(f"config key '{key[1:]}': Input should be a finite number, got {value}")
    if isinstance(value, str):
        check_text(value, key)
    return value


OTHER_BASE = re.compile(r"[-+]?(?:0[0-9_]+$|[0-9_.]+:)")
"""`010` is 8 in yaml, and `1:30` is 90."""


def check_text(text: str, key: str) -> None:
    """Raises ValueError for text that no file name and no UTF-8 file can hold."""
    if "\0" in text:
        raise refusal(f"config key '{key[1:]}': Input should have no NUL character, got {text!r}")
    if HALF_SURROGATE.search(text):
        raise refusal(f"config key '{key[1:]}': Input should be valid Unicode, got {text!r}")


def as_text(name: Any, key: str) -> str:
    """The name of a setting as text.

    Raises:
        ValueError: it is none, such as `null`.
    """
    text = name.text if isinstance(name, Scalar) else name
    if not isinstance(text, str):
        raise refusal(f"config key '{key[1:]}': Input should have texts as keys, got {name!r}; quote it")
    check_text(text, key)
    return text


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union; any other type by itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def takes_text(hint: Any) -> bool:
    """Whether a number is meant as text: not where the field takes numbers, too, as one that may be `auto`."""
    options = alternatives(hint)
    return not {int, float} & set(options) and any(
        option is str or (get_origin(option) is Literal and isinstance(get_args(option)[0], str)) for option in options
    )


def key_of(schema: type, location: tuple[int | str, ...]) -> str:
    """pydantic's place of an error as a dotted key, without its names for the members of a union."""
    parts: list[str] = []
    hint: Any = schema
    for part in location:
        if dataclasses.is_dataclass(hint):
            parts.append(str(part))
            hint = get_type_hints(hint)[parts[-1]]
        elif inner := section_by_name(hint):
            parts.append(str(part))
            hint = inner
    return ".".join(parts)


def differing_keys(left: dict[str, Any], right: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys whose values differ between two trees of plain values, in order."""
    keys = []
    for key in sorted({*left, *right}):
        path, here, there = f"{prefix}{key}", left.get(key), right.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            keys += differing_keys(here, there, f"{path}.")
        elif here != there:
            keys.append(path)
    return keys
