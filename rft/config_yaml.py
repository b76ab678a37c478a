"""From yaml text to a plain tree: files with the chain of their bases, and single values.

Every mistake is a `ValueError` of one line, a few hundred characters long at most.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LONGEST_MESSAGE = 400
"""Characters."""
DEEPEST = 20
"""Levels of mappings and lists inside each other."""
MOST_VALUES = 10_000
"""Values in one yaml file, aliases written out."""


def refusal(message: str) -> ValueError:
    """An error whose message is one line, cut where it is long."""
    line = " ".join(message.split())
    return ValueError(line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 4]} ...")


def shortened(text: str) -> str:
    return text if len(text) <= LONGEST_MESSAGE // 4 else f"{text[: LONGEST_MESSAGE // 4]}..."


def read_yaml_chain(path: Path, seen: tuple[Path, ...] = (), named_by: str = "") -> dict[Any, Any]:
    """The mapping of one yaml file laid over that of its `base:` (a path relative to the file).

    Args:
        path: the file.
        seen: the files above it in the chain.
        named_by: where `path` was found written, for messages.
    """
    tree = parse_yaml(read_text(path, named_by), str(path))
    if len(seen) >= DEEPEST:
        raise refusal(f"{path}: more than {DEEPEST} files refine each other by 'base:'; put some of them together")
    if path.resolve() in seen:
        raise refusal(f"{path}: its chain of 'base:' files comes back to itself; remove one of them")
    if not isinstance(tree, dict):
        found = "an empty file" if tree is None else type(tree).__name__
        raise refusal(f"{path} must hold 'section:' mappings at its top level, not {found}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str) or "\0" in base:
        raise refusal(f"{path}: 'base' must be the path of one yaml file, got {base!r}")
    return merge(read_yaml_chain(path.parent / base, (*seen, path.resolve()), f"{path}: base: "), tree)


def read_text(path: Path, named_by: str) -> str:
    """The text of a config file; messages say where a relative path was looked up."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        place = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise refusal(
            f"{named_by}config file {path} does not exist{place}; name a yaml file such as configs/qwen3_4b.yaml"
        ) from None
    except OSError as error:
        raise refusal(f"{named_by}config file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise refusal(f"{path} is not valid yaml: it is not UTF-8 text ({error})") from None


def parse_yaml(text: str, source: str) -> Any:
    """One yaml document of bounded size; numbers and truth values are still `Scalar`s."""
    try:
        loader = ConfigLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        check_extent(root, source)
        return loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise refusal(f"{source} is not valid yaml: {error.problem}{line}") from None
    except yaml.YAMLError as error:
        raise refusal(f"{source} is not valid yaml: {error}") from None
    except RecursionError:
        raise refusal(f"{source}: mappings and lists are more than {DEEPEST} levels deep") from None


def check_extent(root: yaml.Node, source: str) -> None:
    """Refuses a document that aliases blow up, or that is nested so deep that Python cannot walk it.

    Each node is counted once, however many aliases name it.
    """
    extents: dict[yaml.Node, tuple[int, int]] = {}

    def extent(node: yaml.Node, depth: int) -> tuple[int, int]:
        """Values in a node, itself included, and levels below it."""
        if node not in extents and depth <= DEEPEST:
            below = [extent(child, depth + 1) for child in children(node)]
            extents[node] = (1 + sum(size for size, _ in below), max((1 + levels for _, levels in below), default=0))
        size, levels = extents.get(node, (1, 0))
        if depth + levels > DEEPEST:
            raise refusal(f"{source}: mappings and lists are more than {DEEPEST} levels deep")
        if size > MOST_VALUES:
            raise refusal(f"{source} holds more than {MOST_VALUES:,} values, those that aliases repeat included")
        return size, levels

    extent(root, 0)


def children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number or a truth value, and how it was written: only the field's type says which of the two is meant.

    Example:
        Scalar("1_000", 1000)
    """

    text: str
    value: int | float | bool

    def __repr__(self) -> str:
        return self.text


class ConfigLoader(yaml.SafeLoader):
    """yaml 1.1 reads `1e-6` as text, where people mean the number, and `2026-11-25` as a date, which no key takes."""

    yaml_implicit_resolvers = {  # noqa: RUF012, PyYAML's own way
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As yaml does, but a key may stand in a mapping only once."""
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        counts = Counter(key.value for key in keys)
        for key in reversed(keys):
            if counts[key.value] > 1:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is set twice", key.start_mark)
        return super().construct_mapping(node, deep=deep)

    def construct_number(self, node: yaml.ScalarNode) -> Scalar:
        tag = node.tag.rpartition(":")[2]
        read = {"int": self.construct_yaml_int, "float": self.construct_yaml_float, "bool": self.construct_yaml_bool}
        try:
            return Scalar(node.value, read[tag](node))
        except (ValueError, KeyError):
            raise yaml.constructor.ConstructorError(
                None, None, f"'{shortened(node.value)}' is no {tag}", node.start_mark
            ) from None


ConfigLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)
TAG = "tag:yaml.org,2002:"
CONSTRUCTORS: dict[str | None, Any] = {
    **{TAG + name: yaml.SafeLoader.yaml_constructors[TAG + name] for name in ("null", "str", "seq", "map")},
    **{TAG + name: ConfigLoader.construct_number for name in ("int", "float", "bool")},
    None: yaml.SafeLoader.construct_undefined,
}
ConfigLoader.yaml_constructors = CONSTRUCTORS


def merge(base: dict[Any, Any], over: dict[Any, Any]) -> dict[Any, Any]:
    """`over` laid on `base`, mapping by mapping; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = base.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
