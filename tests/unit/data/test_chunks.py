"""Histories in chunks: nothing lost, nothing too long, borders between messages."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.chat_template import ChatTemplate
from rft.data.chunks import cut_chunks, last_message_of, turn_that_reads
from rft.types import Message, Role
from tests.unit.data.builder import TEMPLATES, make_tokenizer

CHAT = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
CONTENT = st.text(alphabet="abc jazztea.\n é漢", min_size=1, max_size=60)
TURN = st.tuples(st.sampled_from(["user", "assistant"]), CONTENT)


def said(role: Role, content: str) -> Message:
    return Message(role=role, content=content)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), CONTENT), min_size=1, max_size=12), st.integers(8, 90)
)
def test_chunks_are_the_history_in_order_and_within_the_limit(turns: list[tuple[Role, str]], chunk_tokens: int):
    messages = [said("system", "A persona card."), *(said(role, content) for role, content in turns)]
    chunks = cut_chunks(messages, CHAT, chunk_tokens)
    lines = [f"{message.role}: {message.content}\n" for message in messages[1:]]
    assert "".join(chunk.text for chunk in chunks) == "".join(lines)
    assert all(0 < len(chunk.token_ids) <= chunk_tokens for chunk in chunks)
    if all(len(ids) <= chunk_tokens for ids in CHAT.encode(lines)):
        assert [index for chunk in chunks for index in range(chunk.first, chunk.last + 1)] == [*range(1, len(messages))]
        # The next message never had room in the chunk before.
        for before, after in pairwise(chunks):
            assert len(before.token_ids) + len(CHAT.encode([lines[after.first - 1]])[0]) > chunk_tokens


def test_a_message_longer_than_a_chunk_is_cut():
    messages = [said("user", "tea " * 40), said("assistant", "Yes.")]
    chunks = cut_chunks(messages, CHAT, 30)
    assert len(chunks) > 2
    assert [(chunk.first, chunk.last) for chunk in chunks[:2]] == [(0, 0), (0, 0)]
    assert chunks[-1].last == 1
    assert turn_that_reads(0, chunks) == max(turn for turn, chunk in enumerate(chunks) if chunk.first == 0)


def test_nothing_to_read_is_an_error():
    with pytest.raises(ValueError, match="nothing to remember"):
        cut_chunks([said("system", "A persona card.")], CHAT, 30)


HISTORY = [
    said("user", "Hi."),
    said("user", "I hum jazz."),
    said("assistant", "Done."),
    said("user", "Hi."),
    said("assistant", "Done."),
]


@pytest.mark.parametrize(
    ("evidence", "last"),
    [
        ([HISTORY[1], HISTORY[2]], 2),
        ([HISTORY[0]], 3),  # the latest of equal messages
        ([HISTORY[1], HISTORY[4]], 2),  # next to each other before anywhere
        ([HISTORY[2], HISTORY[1]], 4),  # scattered
        ([HISTORY[1], said("user", "Absent.")], None),
        ([], None),
    ],
)
def test_where_evidence_ends(evidence: list[Message], last: int | None):
    assert last_message_of(evidence, HISTORY) == last


def test_a_cut_text_loses_no_character():
    text = "Jazz at the lake, café tea. " * 7
    pieces = CHAT.cut(text, 9)
    assert "".join(pieces) == text and len(pieces) > 3
