from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from rft.data.chat_template import ChatTemplate
from rft.data.prompts import CUT_MARK
from rft.data.truncation import DoesNotFitError, TruncationPolicy, kept_messages, truncate
from rft.records import Message, Role
from tests.unit.data.builder import TEMPLATES, make_history, make_tokenizer

LINE = Message(role="system", content="line")
POLICIES: tuple[TruncationPolicy, ...] = ("truncate_middle", "truncate_oldest")
policies = st.sampled_from(POLICIES)


@pytest.fixture(scope="module")
def chat() -> ChatTemplate:
    return ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))


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
    assert limit - 120 < len(cut.token_ids) + max(cut.tail_lengths) <= limit
    texts = [cut.parts.history, *(cut.parts.tail(question) for question in questions)]
    history, *tails = chat.encode(texts)
    assert history.tolist() == cut.token_ids.tolist()
    assert [len(tail) for tail in tails] == cut.tail_lengths
    assert "line" in cut.parts.history
    assert cut.num_cut == 0
    kept = [message for message in messages if message.content in cut.parts.history]
    assert len(kept) == len(messages) - cut.num_dropped


def test_a_question_that_never_fits(tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> None:
    chat = ChatTemplate(tokenizers("chatml"))
    messages = [LINE, Message(role="user", content="tea")]
    with pytest.raises(DoesNotFitError, match=r"a question and the system line alone have \d+ tokens"):
        truncate(chat, messages, ["novel " * 50], size_of(chat, messages), 40, "truncate_oldest")


# ------------------------------------------------------------------------------- one message longer than all the room


def size_of(chat: ChatTemplate, messages: list[Message]) -> int:
    return len(chat.encode([chat.split(messages).history])[0])


def numbered(first: int, last: int) -> str:
    return " ".join(f"w{i}" for i in range(first, last))


QUESTION = "Any novel?"


@pytest.mark.parametrize("name", ["chatml", "thinking", "trimming", "instruct"])
@pytest.mark.parametrize("limit", [100, 180, 1000])
def test_one_message_longer_than_max_prompt_length_is_cut_inside_under_truncate_oldest(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], name: str, limit: int
) -> None:
    chat = ChatTemplate(tokenizers(name))
    messages = [LINE, Message(role="user", content="old"), Message(role="user", content=numbered(0, 900))]
    cut = truncate(chat, messages, [QUESTION], size_of(chat, messages), limit, "truncate_oldest")
    assert limit - 20 < len(cut.token_ids) + max(cut.tail_lengths) <= limit
    system, shown = cut.messages
    assert system == LINE
    assert shown.content.startswith(f"{CUT_MARK} ")
    assert messages[2].content.endswith(shown.content.removeprefix(CUT_MARK).strip())
    assert (cut.num_dropped, cut.num_cut) == (1, 1)


@pytest.mark.parametrize("limit", [100, 180, 1000])
def test_one_message_longer_than_max_prompt_length_is_cut_inside_under_truncate_middle(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], limit: int
) -> None:
    chat = ChatTemplate(tokenizers("chatml"))
    text = numbered(0, 900)
    messages = [LINE, Message(role="user", content=text)]
    cut = truncate(chat, messages, [QUESTION], size_of(chat, messages), limit, "truncate_middle")
    assert limit - 20 < len(cut.token_ids) + max(cut.tail_lengths) <= limit
    beginning, end = (part.strip() for part in cut.messages[1].content.split(CUT_MARK))
    assert text.startswith(beginning)
    assert text.endswith(end)
    assert 0.5 < len(beginning) / len(end) < 2
    assert (cut.num_dropped, cut.num_cut) == (0, 1)


def test_two_long_messages_keep_the_beginning_of_the_first_and_the_end_of_the_last(
    tokenizers: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    chat = ChatTemplate(tokenizers("chatml"))
    messages = [Message(role="user", content=numbered(i, i + 300)) for i in (0, 300, 600)]
    cut = truncate(chat, messages, [QUESTION], size_of(chat, messages), 200, "truncate_middle")
    first, last = cut.messages
    assert messages[0].content.startswith(first.content.removesuffix(CUT_MARK).strip())
    assert messages[2].content.endswith(last.content.removeprefix(CUT_MARK).strip())
    assert (cut.num_dropped, cut.num_cut) == (1, 2)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_long_message_behind_short_ones_is_cut_beside_them(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], policy: TruncationPolicy
) -> None:
    chat = ChatTemplate(tokenizers("chatml"))
    messages = [
        LINE,
        Message(role="user", content=numbered(0, 900)),
        Message(role="assistant", content="Fine."),
        Message(role="user", content="Thanks."),
    ]
    cut = truncate(chat, messages, [QUESTION], size_of(chat, messages), 200, policy)
    assert [message.content for message in cut.messages[-2:]] == ["Fine.", "Thanks."]
    assert (cut.num_dropped, cut.num_cut) == (0, 1)
    assert len(cut.token_ids) + max(cut.tail_lengths) > 180


@pytest.mark.parametrize("policy", POLICIES)
def test_where_nothing_of_the_history_would_be_left_the_numbers_are_said(
    tokenizers: Callable[[str], PreTrainedTokenizerFast], policy: TruncationPolicy
) -> None:
    chat = ChatTemplate(tokenizers("chatml"))
    messages = [LINE, Message(role="user", content=numbered(0, 900))]
    needed = size_of(chat, [LINE]) + len(chat.encode([chat.split([LINE]).tail(QUESTION)])[0])
    with pytest.raises(DoesNotFitError, match=f"have {needed} tokens, so that nothing of the context fits"):
        truncate(chat, messages, [QUESTION], size_of(chat, messages), needed + 10, policy)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("sua"), st.text(st.characters(codec="utf-8"), max_size=80)), min_size=1),
    st.integers(40, 300),
    policies,
)
def test_any_texts_are_cut_to_the_limit_or_refused(
    chat: ChatTemplate, items: list[tuple[str, str]], limit: int, policy: TruncationPolicy
) -> None:
    names: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
    messages = [Message(role=names[role], content=text) for role, text in items]
    try:
        cut = truncate(chat, messages, [QUESTION], size_of(chat, messages), limit, policy)
    except DoesNotFitError:
        return
    assert len(cut.token_ids) + max(cut.tail_lengths) <= limit
    left = [message for message in cut.messages if message.role != "system"]
    assert left or all(message.role == "system" for message in messages)
