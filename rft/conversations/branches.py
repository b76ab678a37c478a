"""Chats that are stored as a tree: a message that was edited or asked again has several children, one of them shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Nodes = Mapping[str, Mapping[str, Any]]

OTHER_BRANCHES = "messages on other branches"
"""Under this they are counted as left out."""


def active_branch(nodes: Nodes, leaf: object, parent_key: str) -> list[str]:
    """The ids from the root to `leaf`; where that is no node, to the end that is reached by the newest children.

    Args:
        nodes: by id.
        leaf: the id of the last message that is shown.
        parent_key: of a node, what holds its parent's id.
    """
    nodes = with_parents(nodes, parent_key)
    place = leaf if isinstance(leaf, str) and leaf in nodes else newest_leaf(nodes, parent_key)
    path: list[str] = []
    seen: set[str] = set()
    while isinstance(place, str) and place in nodes and place not in seen:
        seen.add(place)
        path.append(place)
        place = nodes[place].get(parent_key)
    return path[::-1]


def with_parents(nodes: Nodes, parent_key: str) -> Nodes:
    """The nodes with their parents, also where a program has written down only their children."""
    if any(isinstance(node.get(parent_key), str) for node in nodes.values()):
        return nodes
    parents = {
        child: name
        for name, node in nodes.items()
        for key in ("children", "childrenIds")
        for child in (node[key] if isinstance(node.get(key), list) else ())
        if isinstance(child, str)
    }
    return {name: {**node, parent_key: parents.get(name)} for name, node in nodes.items()}


def newest_leaf(nodes: Nodes, parent_key: str) -> str | None:
    """Down from the last root by each node's last child: programs append what is new."""
    children: dict[object, list[str]] = {}
    for name, node in nodes.items():
        parent = node.get(parent_key)
        known = isinstance(parent, str) and parent in nodes
        children.setdefault(parent if known else None, []).append(name)
    place: str | None = None
    seen: set[str] = set()
    while found := [child for child in children.get(place, []) if child not in seen]:
        place = found[-1]
        seen.add(place)
    return place


def nodes_by_id(items: Sequence[Any], id_key: str) -> dict[str, Mapping[str, Any]]:
    """A list of messages as nodes; those without an id of their own are left out."""
    return {item[id_key]: item for item in items if isinstance(item, dict) and isinstance(item.get(id_key), str)}
