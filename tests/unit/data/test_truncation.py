from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from rft.data.chat_template import ChatTemplate
from rft.data.truncation import TruncationPolicy, kept_messages, truncate
from rft.records import Message, Role
from tests.unit.data.builder import make_history

LINE = Message(role="system", content="line")
POLICIES: tuple[TruncationPolicy, ...] = ("truncate_middle", "truncate_oldest")
policies = st.sampled_from(POLICIES)


def messages_of(roles: str) -> list[Message]:
    names: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
    return [Message(role=names[role], content=str(i)) for i, role in enumerate(roles)]


def test_truncate_oldest_keeps_the_end_and_system_messages() -> None:
    assert kept_messages(messages_of("ssuauau"), [1] * 7, 5, "truncate_oldest") == [0, 1, 4, 5, 6]


def test_truncate_middle_keeps_both_ends() -> None:
    assert kept_messages(messages_of("suauaua"), [1] * 7, 5, "truncate_middle") == [0, 1, 2, 5, 6]


def test_what_fits_stays_whole() -> None:
    for policy in POLICIES:
        assert kept_messages(messages_of("sua"), [5, 5, 5], 15, policy) == [0, 1, 2]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("sua"), st.integers(1, 30)), min_size=1), st.integers(-5, 400), policies)
def test_the_budget_holds_and_what_goes_is_one_run(
    items: list[tuple[str, int]], budget: int, policy: TruncationPolicy
) -> None:
    messages = messages_of("".join(role for role, _ in items))
    costs = [cost for _, cost in items]
    keep = kept_messages(messages, costs, budget, policy)
    system = [i for i, message in enumerate(messages) if message.role == "system"]
    others = [i for i, message in enumerate(messages) if message.role != "system"]
    assert keep == sorted(set(keep))
    assert set(system) <= set(keep)
    gone = [position for position, i in enumerate(others) if i not in keep]
    assert gone == list(range(gone[0], gone[0] + len(gone))) if gone else True
    assert sum(costs[i] for i in keep) <= max(budget, sum(costs[i] for i in system))
    if policy == "truncate_oldest" and gone:
        assert gone[0] == 0
        assert sum(costs[i] for i in keep) + costs[others[gone[-1]]] > budget


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["chatml", "thinking", "trimming", "instruct"])
@pytest.mark.parametrize("limit", [90, 150, 300])
def test_the_result_fits_and_is_nearly_full(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], policy: TruncationPolicy, name: str, limit: int
) -> None:
    chat = ChatTemplate(tokenizers(name))
    stored = make_history(1, num_messages=30)["chat_history"]
    messages = [LINE, *(Message(role=m["role"], content=m["content"]) for m in stored[1:])]
    questions = ["Any novel?", "Any bread by the lake?"]
    whole = chat.encode([chat.split(messages).history])[0]
    assert len(whole) > 600
    cut = truncate(chat, messages, questions, len(whole), limit, policy)
    assert cut is not None
    assert limit - 120 < len(cut.token_ids) + max(cut.tail_lengths) <= limit
    texts = [cut.parts.history, *(cut.parts.tail(question) for question in questions)]
    history, *tails = chat.encode(texts)
    assert history.tolist() == cut.token_ids.tolist()
    assert [len(tail) for tail in tails] == cut.tail_lengths
    assert "line" in cut.parts.history
    kept = [message for message in messages if message.content in cut.parts.history]
    assert len(kept) == len(messages) - cut.num_dropped


def test_a_question_that_never_fits(tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> None:
    chat = ChatTemplate(tokenizers("chatml"))
    messages = [LINE, Message(role="user", content="tea")]
    num_tokens = len(chat.encode([chat.split(messages).history])[0])
    assert truncate(chat, messages, ["novel " * 50], num_tokens, 40, "truncate_oldest") is None
