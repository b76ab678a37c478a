"""A chat may end with two messages, which some chats show as one."""

from __future__ import annotations

from rft.data.closing import Closing, closing_messages, closing_text
from rft.records import Message


def test_a_question_alone_is_one_message():
    assert closing_messages("Tea?") == [Message(role="user", content="Tea?")]
    assert closing_text("Tea?") == "Tea?"


def test_a_system_message_stands_behind_the_user_s():
    closing = Closing(user="Tea?", system="A. Yes.")
    assert closing_messages(closing) == [
        Message(role="user", content="Tea?"), Message(role="system", content="A. Yes."),
    ]  # fmt: skip
    assert closing_text(closing) == "Tea?\n\nA. Yes."
