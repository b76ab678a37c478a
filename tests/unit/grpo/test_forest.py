"""The trie of token paths against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rft.grpo.forest import Forest, build_forest, common_prefix_length

# Few different tokens, so that paths share, repeat and continue each other in every way.
token_paths = st.lists(st.lists(st.integers(0, 2), max_size=9).map(tuple), max_size=12)


def prefixes(paths: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    """Every distinct non-empty prefix: the nodes of the trie, one per unique token."""
    return {path[:length] for path in paths for length in range(1, len(path) + 1)}


def paths_of_tokens(forest: Forest) -> list[tuple[int, ...]]:
    """For each flat token, the path that ends with it, by following predecessors."""
    result: list[tuple[int, ...]] = []
    for token, before in zip(forest.token_ids.tolist(), forest.predecessors.tolist(), strict=True):
        result.append((*result[before], token) if before >= 0 else (token,))
    return result


@given(token_paths)
def test_every_shared_token_stands_there_once(paths: list[tuple[int, ...]]) -> None:
    forest = build_forest(paths)
    found = paths_of_tokens(forest)
    assert len(found) == len(set(found)) == forest.num_tokens
    assert set(found) == prefixes(paths)
    assert [len(path) - 1 for path in found] == forest.position_ids.tolist()


@given(token_paths)
def test_a_path_is_gathered_back(paths: list[tuple[int, ...]]) -> None:
    forest = build_forest(paths)
    for number, path in enumerate(paths):
        indices = forest.path_indices(number)
        assert forest.token_ids[indices].tolist() == list(path)
        assert forest.predecessors[indices].tolist() == [-1, *indices.tolist()][: len(path)]


@given(token_paths)
def test_a_segments_descendants_stand_right_behind_it(paths: list[tuple[int, ...]]) -> None:
    """A token's ancestors by `start <= .. < end` and `end <= .. < subtree_end` are the prefixes of its path."""
    forest = build_forest(paths)
    found = paths_of_tokens(forest)
    for index, path in enumerate(found):
        sees = {
            other
            for segment in forest.segments
            for other in range(segment.start, segment.end)
            if (segment.end <= index < segment.subtree_end) or (segment.start <= other <= index < segment.end)
        }
        assert {found[other] for other in sees} == {path[:length] for length in range(1, len(path) + 1)}


@given(token_paths, st.randoms())
def test_the_order_of_siblings_does_not_matter(paths: list[tuple[int, ...]], random: object) -> None:
    shuffled = list(paths)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = build_forest(paths), build_forest(shuffled)
    assert one.segments == other.segments
    np.testing.assert_array_equal(one.token_ids, other.token_ids)


@given(token_paths)
def test_segments_are_as_few_as_can_be(paths: list[tuple[int, ...]]) -> None:
    """A new segment starts only at a root, at a branching, or where a path ended."""
    forest = build_forest(paths)
    ended = set(paths)
    for segment in forest.segments:
        if segment.parent is None:
            continue
        parent = forest.segments[segment.parent]
        siblings = [other for other in forest.segments if other.parent == segment.parent]
        assert len(siblings) > 1 or paths_of_tokens(forest)[parent.end - 1] in ended


def test_three_levels() -> None:
    history, first, second = (1, 1, 1), (2, 2), (3,)
    paths = [(*history, *second, 8), (*history, *first, 5), (*history, *first, 6, 7), (*history, *second, 8)]
    forest = build_forest(paths)
    assert forest.num_tokens == 3 + 2 + 1 + 2 + 2  # the history, question 1, its two completions, question 2 with 8
    assert [(s.start, s.end, s.subtree_end, s.parent) for s in forest.segments] == [
        (0, 3, 10, None),
        (3, 5, 8, 0),
        (5, 6, 6, 1),
        (6, 8, 8, 1),
        (8, 10, 10, 0),
    ]
    assert forest.ends == (4, 2, 3, 4)


def test_nothing() -> None:
    assert build_forest([]).num_tokens == 0
    empty = build_forest([(), ()])
    assert empty.ends == (None, None)
    assert empty.path_indices(1).tolist() == []


def test_long_paths_of_many_depths() -> None:
    """A path per turn, each continuing the one before: deeper than Python's recursion would go."""
    turns = [tuple(range(length)) for length in range(1, 2001)]
    forest = build_forest(turns)
    assert forest.num_tokens == 2000
    assert forest.path_indices(1999).tolist() == list(range(2000))


def test_common_prefix_length() -> None:
    a = np.array([1, 2, 3])
    assert common_prefix_length(a, a) == 3
    assert common_prefix_length(a, np.array([1, 2])) == 2
    assert common_prefix_length(a, np.array([2])) == 0
    assert common_prefix_length(a, np.array([], dtype=np.int64)) == 0


@given(st.integers(0, 9_000), st.integers(0, 9_000), st.integers(0, 9_000))
def test_common_prefix_length_of_long_paths(shared: int, rest: int, other_rest: int) -> None:
    """Longer than the pieces in which paths are compared."""
    a = np.array([*range(shared), *[-1] * rest])
    b = np.array([*range(shared), *[-2] * other_rest])
    assert common_prefix_length(a, b) == common_prefix_length(b, a) == shared
