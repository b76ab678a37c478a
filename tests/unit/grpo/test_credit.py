"""Who gets the credit, on numbers worked out by hand."""

from __future__ import annotations

import pytest

from rft.grpo.credit import Credit, CreditRule, Returns, assign_credit


def returns(*answers: float | None, early: tuple[tuple[int, float | None], ...] = (), num_updates: int = 2) -> Returns:
    return Returns(answers=answers, early=early, num_updates=num_updates)


def test_shared_compares_answers_by_question_and_updates_by_the_mean_over_questions() -> None:
    # Returns of the three memories: 2/3, 1/3, 0; their mean 1/3.
    group = [returns(1, 1, 0), returns(0, 1, 0), returns(0, 0, 0)]
    found = assign_credit(group, "shared", scale=False)
    assert [c.updates for c in found] == [pytest.approx((r, r)) for r in (1 / 3, 0.0, -1 / 3)]
    assert [c.answers for c in found] == [
        pytest.approx((2 / 3, 1 / 3, 0)),
        pytest.approx((-1 / 3, 1 / 3, 0)),
        pytest.approx((-1 / 3, -2 / 3, 0)),
    ]


def test_broadcast_gives_every_turn_the_final_return() -> None:
    group = [returns(1, 1, 0), returns(0, 1, 0), returns(0, 0, 0)]
    found = assign_credit(group, "broadcast", scale=False)
    for credit, advantage in zip(found, (1 / 3, 0.0, -1 / 3), strict=True):
        assert credit.updates == pytest.approx((advantage,) * 2)
        assert credit.answers == pytest.approx((advantage,) * 3)


@pytest.mark.parametrize("scale", [False, True])
def test_with_one_question_the_rules_agree(scale: bool) -> None:
    group = [returns(1), returns(0), returns(0)]
    assert assign_credit(group, "shared", scale=scale) == assign_credit(group, "broadcast", scale=scale)


def test_scaling_divides_each_turn_by_its_own_deviation() -> None:
    # Over the memories: 1 and 1/2, deviation 0.3536. Over the second question: 1 and 0, deviation 0.7071.
    first, second = assign_credit([returns(1, 1), returns(1, 0)], "shared", scale=True)
    assert first.updates == pytest.approx((0.25 / (0.125**0.5 + 1e-4),) * 2)
    assert second.answers == pytest.approx((0, -0.5 / (0.5**0.5 + 1e-4)))


def test_an_early_answer_counts_for_the_updates_before_it_only() -> None:
    group = [returns(0, early=((0, 1.0),)), returns(0, early=((0, 0.0),))]
    first, second = assign_credit(group, "shared", scale=False)
    assert first == Credit(updates=(0.25, 0.0), answers=(0.0,), early=(0.5,))
    assert second == Credit(updates=(-0.25, 0.0), answers=(0.0,), early=(-0.5,))


def test_a_failed_update_earns_nothing_under_shared_and_its_return_under_broadcast() -> None:
    good = returns(1, 1)
    lucky = Returns(answers=(1.0, 1.0), early=(), num_updates=2, failed=(1,))
    first, second = assign_credit([good, lucky], "shared", scale=False)
    assert (first.updates, second.updates) == ((0.0, 0.5), (0.0, -0.5))
    assert first.answers == second.answers == (0.0, 0.0)
    assert {credit.updates for credit in assign_credit([good, lucky], "broadcast", scale=False)} == {(0.0, 0.0)}


def test_broadcast_keeps_early_answers_out_of_the_return() -> None:
    group = [returns(0, early=((0, 1.0),)), returns(0, early=((0, 0.0),))]
    first, _ = assign_credit(group, "broadcast", scale=False)
    assert first == Credit(updates=(0.0, 0.0), answers=(0.0,), early=(0.5,))


@pytest.mark.parametrize("rule", ["shared", "broadcast"])
def test_without_a_memory_it_is_plain_grpo(rule: CreditRule) -> None:
    found = assign_credit([returns(1, num_updates=0), returns(0, num_updates=0)], rule, scale=False)
    assert found == [
        Credit(updates=(), answers=(0.5,), early=()),
        Credit(updates=(), answers=(-0.5,), early=()),
    ]


def test_siblings_with_other_turns_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="the same turns"):
        assign_credit([returns(1, num_updates=2), returns(0, num_updates=3)], "shared", scale=False)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("rule", ["shared", "broadcast"])
def test_a_sibling_without_any_reward_is_as_if_it_were_not_there(rule: CreditRule, scale: bool) -> None:
    others = [returns(1, 0, early=((0, 1.0),)), returns(1, 1, early=((0, 0.0),)), returns(0, 0, early=((0, 0.0),))]
    failed = Returns(answers=(None, None), early=((0, None),), num_updates=2, failed=(1,))
    first, none, *rest = assign_credit([others[0], failed, *others[1:]], rule, scale=scale)
    assert [first, *rest] == assign_credit(others, rule, scale=scale)
    assert none == Credit(updates=(None, None), answers=(None, None), early=(None,)) and none.num_trained == 0


@pytest.mark.parametrize("rule", ["shared", "broadcast"])
def test_a_group_without_any_reward_trains_nothing(rule: CreditRule) -> None:
    found = assign_credit([returns(None), returns(None)], rule, scale=True)
    assert found == [Credit(updates=(None, None), answers=(None,), early=())] * 2


def test_shared_takes_the_mean_of_the_rewards_there_are() -> None:
    # Returns of the memories: (1 + 0) / 2, 1 / 1, 0 / 2; their mean 1/2. The second question has two rewards: 0 and 0.
    found = assign_credit([returns(1, 0), returns(1, None), returns(0, 0)], "shared", scale=False)
    assert [c.updates for c in found] == [(0.0, 0.0), (0.5, 0.5), (-0.5, -0.5)]
    assert [c.answers for c in found] == [
        (pytest.approx(1 / 3), 0.0),
        (pytest.approx(1 / 3), None),
        (pytest.approx(-2 / 3), 0.0),
    ]
    assert [c.num_trained for c in found] == [4, 3, 4]


def test_an_early_reward_alone_is_the_return_of_the_updates_before_it() -> None:
    group = [returns(None, early=((0, 1.0),)), returns(None, early=((0, 0.0),))]
    first, second = assign_credit(group, "shared", scale=False)
    assert first == Credit(updates=(0.5, None), answers=(None,), early=(0.5,))
    assert second == Credit(updates=(-0.5, None), answers=(None,), early=(-0.5,))


def test_broadcast_gives_an_answer_without_reward_no_advantage() -> None:
    first, second = assign_credit([returns(1, None), returns(0, 0)], "broadcast", scale=False)
    assert first == Credit(updates=(0.5, 0.5), answers=(0.5, None), early=())
    assert second == Credit(updates=(-0.5, -0.5), answers=(-0.5, -0.5), early=())
