"""Values as tags."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rft.data.readers.tags import distance_bucket, yes_or_no


def test_distances_fall_into_doubling_buckets() -> None:
    tokens = [0, 1023, 1024, 2047, 2048, 16_384, 65_536]
    assert [distance_bucket(n) for n in tokens] == ["0-1k", "0-1k", "1k-2k", "1k-2k", "2k-4k", "16k-32k", "64k-128k"]


@given(st.integers(1024, 2**40))
def test_a_bucket_holds_its_distance(tokens: int) -> None:
    low, high = (int(bound.removesuffix("k")) for bound in distance_bucket(tokens).split("-"))
    assert low * 1024 <= tokens < high * 1024
    assert high == 2 * low


def test_booleans_are_lower_case() -> None:
    assert (yes_or_no(True), yes_or_no(False)) == ("true", "false")
