"""How requests are written for servers that take less, and what their refusals teach."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.chat.reply_body import ReadError
from rft.chat.server_habits import EARLIER_MESSAGES, Habits, learned, request_body, written_messages
from rft.records import Message, Role


def chat_of(*turns: str) -> list[Message]:
    """`s:Be kind.` is a message of the system, and so on."""
    roles: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
    return [Message(role=roles[turn[0]], content=turn[2:]) for turn in turns]


CHAT = chat_of("s:Be kind.", "s:A card.", "u:Hi.", "u:Hum.", "a:Hm.", "s:Note.", "u:Jazz?")


def test_roles_are_written_as_they_are():
    assert written_messages(Habits(), CHAT) == CHAT


def test_without_a_system_role_its_text_stands_before_the_users():
    assert written_messages(Habits(system_role=False), CHAT) == chat_of(
        "u:Be kind.\n\nA card.\n\nHi.", "u:Hum.", "a:Hm.", "u:Note.\n\nJazz?"
    )
    assert written_messages(Habits(system_role=False), chat_of("s:Be kind.", "a:Hm.")) == chat_of("u:Be kind.", "a:Hm.")
    assert written_messages(Habits(system_role=False), chat_of("s:Be kind.")) == chat_of("u:Be kind.")


def test_alternating_roles():
    assert written_messages(Habits(alternating_roles=True), CHAT) == chat_of(
        "s:Be kind.\n\nA card.", "u:Hi.\n\nHum.", "a:Hm.", "u:Note.\n\nJazz?"
    )
    both = written_messages(Habits(alternating_roles=True, system_role=False), CHAT)
    assert both == chat_of("u:Be kind.\n\nA card.\n\nHi.\n\nHum.", "a:Hm.", "u:Note.\n\nJazz?")


def test_a_chat_that_begins_with_the_assistant():
    found = written_messages(Habits(alternating_roles=True), chat_of("s:Be kind.", "a:Hm.", "u:Jazz?"))
    assert found == chat_of("s:Be kind.", f"u:{EARLIER_MESSAGES}", "a:Hm.", "u:Jazz?")


messages = st.lists(
    st.builds(
        lambda role, text: Message(role=role, content=text), st.sampled_from(get_args(Role)), st.text(min_size=1)
    ),
    max_size=8,
)


@given(messages, st.booleans())
def test_no_word_is_lost_and_roles_alternate(chat: list[Message], system_role: bool):
    written = written_messages(Habits(system_role=system_role, alternating_roles=True), chat)
    roles = [message.role for message in written]
    assert "system" not in roles[0 if not system_role else 1 :]
    turns = [role for role in roles if role != "system"]
    assert turns == [("user", "assistant")[place % 2] for place in range(len(turns))]
    said = "\n\n".join(message.content for message in chat)
    written_text = "\n\n".join(message.content for message in written)
    invented = chat_begins_with_assistant(chat, system_role) and EARLIER_MESSAGES not in said
    assert (written_text.replace(f"{EARLIER_MESSAGES}\n\n", "", 1) if invented else written_text) == said or (
        EARLIER_MESSAGES in said
    )


def chat_begins_with_assistant(chat: list[Message], system_role: bool) -> bool:
    roles = [message.role for message in chat if not (system_role and message.role == "system")]
    return roles[:1] == ["assistant"]


def body(habits: Habits | None = None, **more: Any) -> dict[str, Any]:
    values = {"max_tokens": 7, "temperature": 0.0, "seed": 3, "options": {}} | more
    return request_body(habits or Habits(), CHAT, **values)


def test_the_fields_of_a_request():
    assert {name: value for name, value in body().items() if name != "messages"} == {
        "max_tokens": 7,
        "temperature": 0.0,
        "seed": 3,
    }
    assert "temperature" not in body(temperature=None) and "seed" not in body(seed=None)
    assert body(options={"temperature": 0.5, "top_p": 0.9})["temperature"] == 0.5
    assert body(Habits(greedy=0.01))["temperature"] == 0.01


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("Unsupported value: 'temperature' does not support 0.0 with this model.", {"temperature": False}),
        ("invalid temperature: only 1 is allowed for this model", {"temperature": False}),
        ("`temperature` is deprecated for this model.", {"temperature": False}),
        ("Input validation error: `temperature` must be strictly positive", {"greedy": 0.01}),
        ("temperature must be in (0, 1]", {"greedy": 0.01}),
        ("Unrecognized request argument supplied: seed", {"seed": False}),
        ("seed: Extra inputs are not permitted", {"seed": False}),
        ("'max_tokens' is not supported. Use 'max_completion_tokens'.", {"limit_name": "max_completion_tokens"}),
        ("Conversation roles must alternate user/assistant/user/assistant/...", {"alternating_roles": True}),
        ("After the optional system message, conversation roles must alternate", {"alternating_roles": True}),
        ("messages: roles must alternate between \"user\" and \"assistant\"", {"alternating_roles": True}),
        ("Consecutive messages with the same role are not allowed", {"alternating_roles": True}),
        ("System message must be at the beginning.", {"alternating_roles": True}),
        ("first message must use the \"user\" role", {"alternating_roles": True}),
        ("System role not supported", {"system_role": False}),
        ("'messages[0].role' does not support 'system' with this model.", {"system_role": False}),
        ("Developer instruction is not enabled for models/gemma-3-27b-it", {"system_role": False}),
        ("messages.0.role: Input should be 'user' or 'assistant'", {"system_role": False}),
        ("Unexpected role \"system\". The API accepts a top-level parameter", {"system_role": False}),
        ("Only user and assistant roles are supported!", {"system_role": False}),
        ("Only user, assistant and tool roles are supported, got system.", {"system_role": False}),
        ("role must be one of user, assistant", {"system_role": False}),
        ("Please ensure that multiturn requests ends with a user role", {"alternating_roles": True}),
        ("stream=false is not supported", {"stream": True}),
        ("This model only support stream mode, please enable the stream parameter", {"stream": True}),
        ("Streaming is required for this model", {"stream": True}),
        ("enable_thinking must be set to false for non-streaming calls", {"stream": True}),
        ("stream must be set to true", {"stream": True}),
    ],
)  # fmt: skip
def test_what_a_refusal_teaches(words: str, changes: dict[str, Any]):
    found = learned(Habits(), body(), {}, ReadError(status=400, words=words))
    assert found is not None
    assert found[0] == Habits(**changes)
    assert found[1] and "\n" not in found[1]


def test_the_name_of_a_field_is_enough():
    found = learned(Habits(), body(), {}, ReadError(status=422, words="not permitted", names="seed"))
    assert found is not None and not found[0].seed


@pytest.mark.parametrize(
    ("words", "options", "habits"),
    [
        ("Bad request", {}, Habits()),
        ("max_tokens is too large: 7", {}, Habits()),
        ("temperature 0.5 refused", {"temperature": 0.5}, Habits()),
        ("no such temperature", {}, Habits(temperature=False)),
        ("no such seed", {}, Habits(seed=False)),
        ("roles must alternate", {}, Habits(alternating_roles=True)),
        ("System role not supported", {}, Habits(system_role=False)),
        ("only stream", {}, Habits(stream=True)),
    ],
)
def test_what_teaches_nothing(words: str, options: dict[str, Any], habits: Habits):
    assert learned(habits, body(habits, options=options), options, ReadError(status=400, words=words)) is None


def test_a_stream_without_counts():
    habits = Habits(stream=True)
    assert body(habits)["stream_options"] == {"include_usage": True}
    found = learned(habits, body(habits), {}, ReadError(status=400, words="unknown field stream_options"))
    assert found is not None and "stream_options" not in body(found[0]) and body(found[0])["stream"] is True
