"""Token paths -> their trie (prefix tree), laid out flat: a token that several paths share stands there once.

A path is the token ids of one sample: its prompt, then its completion. Samples of one question begin with the same
prompt, so most of their paths is equal. Example with two paths that share their first two tokens:

    paths   1 2 3 4      segments   [1 2] 0..2, [3 4] 2..4, [5] 4..5      token_ids      1 2 3 4 5
            1 2 5                    root        its children              position_ids   0 1 2 3 2

Shapes: T unique tokens, so T = 5 here instead of the 4 + 3 of the paths. A segment is a run of tokens that the same set
of paths goes through; a new one begins where paths part, or where one of them ends.

Segments stand in depth-first order: a segment, then its first child with all that follows from that child, then its
second child, and so on. So all tokens that come after a segment on some path, its descendants, stand right behind it:
they are the flat tokens `[end, subtree_end)`. Attention over the forest needs no mask because of this
(forest_attention.py).

Numbers only; no model. Any depth, any number of roots, duplicates, one path a prefix of another, empty paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FIRST_COMPARED = 1024
"""Tokens of two paths that are compared first (`common_prefix_length`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A run of the flat tokens `[start, end)` in which no path begins to differ from another.

    Example, the first one of the module's picture:
        Segment(start=0, end=2, subtree_end=5, parent=None)
    """

    start: int
    end: int
    subtree_end: int
    """End of its last descendant; `end` when it has none."""
    parent: int | None
    """Index of the segment it continues; None for a root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """The trie of some paths, flat.

    Example, the module's picture:
        Forest(token_ids=array([1, 2, 3, 4, 5]), position_ids=array([0, 1, 2, 3, 2]),
               predecessors=array([-1, 0, 1, 2, 1]), segments=(...), ends=(1, 2))
    """

    token_ids: Ints
    """int64 [T]"""
    position_ids: Ints
    """int64 [T]: how many tokens stand before this one on its path."""
    predecessors: Ints
    """int64 [T]: the flat index of the token before this one on its path; -1 for the first token of a path."""
    segments: tuple[Segment, ...]
    ends: tuple[int | None, ...]
    """For each path, in the order they were given, the segment it ends with; None for an empty one."""

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    def path_indices(self, path: int) -> Ints:
        """Flat indices of the tokens of path number `path`, first to last: int64 [tokens of the path]."""
        runs = []
        # From the path's last segment upwards to its root.
        at = self.ends[path]
        while at is not None:
            segment = self.segments[at]
            runs.append(np.arange(segment.start, segment.end))
            at = segment.parent
        return np.concatenate(runs[::-1]) if runs else np.empty(0, dtype=np.int64)


def build_forest(paths: Sequence[Sequence[int] | Ints]) -> Forest:
    """The trie of `paths`, which are token ids in [0, 2**31).

    Time: sorting and comparing the paths; no step of Python per token.
    """
    arrays = [np.asarray(path, dtype=np.int64) for path in paths]
    # Paths in lexicographic order: those with a common beginning are neighbours, and a path stands before the paths
    # that continue it. Big-endian bytes of non-negative numbers compare as the numbers themselves do, and comparing
    # bytes is a step of C, not of Python.
    order = sorted(range(len(arrays)), key=lambda i: arrays[i].astype(">i4").tobytes())
    ordered = [arrays[i] for i in order]
    # shared[i]: tokens that ordered[i] shares with the path before it. For ordered[a:b] the number that all of them
    # share is then the smallest of shared[a + 1 : b].
    shared = [0, *(common_prefix_length(a, b) for a, b in pairwise(ordered))]
    segments: list[list[int | None]] = []  # start, end, parent
    pieces: list[Ints] = []  # the token ids of each segment
    depths: list[int] = []  # how many tokens stand before each segment on its paths
    ends: list[int | None] = [None] * len(arrays)
    size = 0  # flat tokens laid out so far
    # A stack instead of recursion, because a forest may be thousands of segments deep. An entry (first, last, depth,
    # parent) is work that waits: the paths ordered[first:last] are equal in their first `depth` tokens, these are laid
    # out already, and segment `parent` is the last of them. What is left to lay out are the tokens after them.
    waiting: list[tuple[int, int, int, int | None]] = [(0, len(ordered), 0, None)]
    while waiting:
        first, last, depth, parent = waiting.pop()
        # Paths that end here come first in the order.
        while first < last and len(ordered[first]) == depth:
            ends[order[first]] = parent
            first += 1
        if first == last:
            continue
        # ordered[first:split] go on with the same next token, ordered[split:last] with another one. The first branch
        # becomes a segment now. The others wait on the stack below it, so they come when all under it is done: this is
        # what makes the order depth-first.
        split = next((i for i in range(first + 1, last) if shared[i] <= depth), last)
        if split < last:
            waiting.append((split, last, depth, parent))
        # The segment reaches as far as the paths of the branch agree; to its end where the branch is a single path.
        until = min(shared[first + 1 : split], default=len(ordered[first]))
        pieces.append(ordered[first][depth:until])
        depths.append(depth)
        segments.append([size, size + until - depth, parent])
        size += until - depth
        waiting.append((first, split, until, len(segments) - 1))
    return lay_out_forest(segments, pieces, depths, ends)


def lay_out_forest(
    segments: Sequence[Sequence[int | None]], pieces: Sequence[Ints], depths: Sequence[int], ends: Sequence[int | None]
) -> Forest:
    """Fills the flat arrays from segments in depth-first order.

    Args:
        segments: (start, end, parent) of each.
        pieces: token ids of each segment, [end - start].
        depths: `position_ids` of each segment's first token.
        ends: as in `Forest`.
    """
    subtree_ends: list[int] = [end or 0 for _, end, _ in segments]
    # Backwards, so that a segment's own value is final before its parent takes it.
    for index in range(len(segments) - 1, -1, -1):
        parent = segments[index][2]
        if parent is not None:
            subtree_ends[parent] = max(subtree_ends[parent], subtree_ends[index])
    made: list[Segment] = []
    positions, predecessors = [], []
    for (start, end, parent), piece, depth, subtree_end in zip(segments, pieces, depths, subtree_ends, strict=True):
        assert start is not None and end is not None and end - start == len(piece) > 0
        made.append(Segment(start=start, end=end, subtree_end=subtree_end, parent=parent))
        positions.append(np.arange(depth, depth + len(piece)))
        # Within a segment the token before is the flat neighbour; before its first token stands its parent's last one.
        before = np.arange(start - 1, end - 1)
        before[0] = made[parent].end - 1 if parent is not None else -1
        predecessors.append(before)
    none = [np.empty(0, dtype=np.int64)]  # np.concatenate takes no empty list
    return Forest(
        token_ids=np.concatenate([*none, *pieces]),
        position_ids=np.concatenate([*none, *positions]),
        predecessors=np.concatenate([*none, *predecessors]),
        segments=tuple(made),
        ends=tuple(ends),
    )


def common_prefix_length(a: Ints, b: Ints) -> int:
    """How many leading tokens two paths share.

    Paths of different contexts part after a few hundred of their tokens, so the pieces that are compared start small,
    and each is twice as long as the one before.
    """
    size, start, width = min(len(a), len(b)), 0, FIRST_COMPARED
    while start < size:
        end = min(start + width, size)
        differ = a[start:end] != b[start:end]
        at = int(differ.argmax())  # the first difference; 0 as well where there is none
        if differ[at]:
            return start + at
        start, width = end, 2 * width
    return size
