"""What goes through the model in one rollout batch, in tokens."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import Config
from rft.grpo.forest import build_forest
from rft.grpo.samples import token_paths
from rft.planning.workload import (
    Family,
    evaluation_families,
    families,
    filled,
    largest_pack,
    measure_pack,
    packs_of_step,
    samples_of,
)
from tests.unit.planning.small import recipe

MEMORY = [
    "task=memory",
    "data.max_prompt_length=8192",
    "memory.max_update_length=2048",
    "train.max_tokens_per_microbatch=65536",
]

HISTORY = Family(name="answers", shared=1000, groups=2, question=10, siblings=4, own=0, completion=50, count=3)


def unique_tokens(samples: list) -> int:
    return build_forest(token_paths(samples)).segments[-1].end


def full_recipe(*overrides: str) -> Config:
    long = ["data.max_prompt_length=37000", "rollout.max_completion_length=2048"]
    return recipe(*long, "train.max_tokens_per_microbatch=102912", *overrides)


def test_the_recipe_s_batch_is_eight_histories_of_four_questions():
    (family,) = families(full_recipe(), longest=True)
    assert (family.count, family.groups, family.siblings) == (8, 4, 16)
    assert family.shared + family.question == 37_000
    assert family.completion == 2048
    assert family.path_tokens == 64 * (37_000 + 2048)
    assert family.unique_tokens == family.shared + 4 * (family.question + 16 * 2048)


def test_times_take_half_of_the_longest_reply_unless_told():
    assert families(full_recipe(), longest=False)[0].completion == 1024
    assert families(full_recipe("plan.mean_completion_length=870"), longest=False)[0].completion == 870
    too_long = families(full_recipe("plan.mean_completion_length=9000"), longest=False)[0]
    assert too_long.completion == 2048, "no reply is longer than the longest"


def test_a_memory_is_rewritten_once_per_chunk_and_answered_from_once():
    update, answer = families(recipe(*MEMORY), longest=True)
    # 32,000 tokens in chunks of 5,000; 32 questions of 4 to a context.
    assert update.turns == 7
    assert update.count == 8 * 7
    assert (update.siblings, update.own, update.completion) == (16, 2048, 2048)
    assert answer.count == 8 * 16
    assert (answer.groups, answer.siblings) == (4, 1)
    assert update.shared + update.own <= 8192
    assert families(recipe(*MEMORY, "data.window=128k"), longest=True)[0].turns == 26


def test_a_memory_that_sees_the_question_is_written_for_each():
    update, answer = families(recipe(*MEMORY, "memory.query_aware=true"), longest=True)
    assert update.count == 32 * 7
    assert (answer.count, answer.groups) == (32 * 16, 1)


def test_an_evaluation_is_one_reply_to_each_question():
    (family,) = evaluation_families(recipe("eval.num_questions=500"))
    assert (family.num_paths, family.count) == (1, 500)


@given(
    st.integers(1, 40), st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(0, 6), st.integers(1, 9)
)
def test_samples_of_a_family_share_what_it_says(
    shared: int, groups: int, question: int, siblings: int, own: int, completion: int
):
    family = replace(
        HISTORY, shared=shared, groups=groups, question=question, siblings=siblings, own=own, completion=completion
    )
    samples = samples_of(family, 0, count())
    assert len(samples) == family.num_paths
    assert unique_tokens(samples) == family.unique_tokens
    assert sum(len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples) == family.path_tokens


def test_pairs_of_a_whole_forest_by_hand():
    """A history of 1,000, 2 questions of 10, 4 replies of 50 each: triangles of each run, and rectangles with what
    stands before it."""
    pack = measure_pack(samples_of(HISTORY, 0, count()), 1, True)
    triangle = lambda n: n * (n + 1) / 2  # noqa: E731
    rectangles = 2 * 10 * 1000 + 8 * 50 * 1010
    assert pack.pairs == triangle(1000) + 2 * triangle(10) + 8 * triangle(50) + rectangles
    assert pack.tokens == HISTORY.unique_tokens == 1000 + 2 * (10 + 4 * 50)
    assert pack.trained == 8 * 50
    assert pack.path_tokens == 8 * 1060


def test_without_shared_prefixes_every_path_is_whole():
    pack = measure_pack(samples_of(HISTORY, 0, count()), 1, False)
    assert pack.tokens == pack.path_tokens == 8 * 1060
    assert pack.pairs == 8 * 1060 * 1061 / 2


def test_all_tokens_of_a_step_are_packed_whatever_the_scale():
    """The recipe's step has 16 groups on 4 histories: more tokens than are really packed."""
    packs = packs_of_step(full_recipe(), 8, longest=True)
    assert len(packs) == 8
    tokens = sum(pack.tokens for rank in packs for pack in rank)
    # Each history's 4 groups lie on two ranks, which both compute the history.
    expected = 16 * (300 + 16 * 2048) + 8 * 36_700
    assert tokens == pytest.approx(expected, rel=0.02)
    assert sum(pack.trained for rank in packs for pack in rank) == pytest.approx(16 * 16 * 2048, rel=0.02)


def test_the_largest_pack_is_filled_to_the_limit():
    config = recipe("train.max_tokens_per_microbatch=2500")
    assert unique_tokens(largest_pack(config, 8)) == 2500


def test_the_largest_pack_is_all_of_a_rank_where_that_fits():
    config = recipe("train.max_tokens_per_microbatch=1000000")
    packs = packs_of_step(config, 8, longest=True)
    assert unique_tokens(largest_pack(config, 8)) == max(pack.tokens for (pack,) in packs)


def test_without_shared_prefixes_the_largest_pack_has_the_most_paths():
    config = recipe("train.shared_prefix=false", "train.per_device_train_batch_size=20")
    samples = largest_pack(config, 8)
    assert len(samples) == 20
    assert {len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples} == {1100}


@given(st.integers(1, 6000))
def test_what_is_filled_has_the_limit_or_a_single_path(limit: int):
    samples = filled(HISTORY, limit)
    assert unique_tokens(samples) == max(limit, 1060)
    assert all(len(sample.completion_ids) >= 1 for sample in samples)
