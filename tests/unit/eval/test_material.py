"""Contexts as messages: whose they are, and what stays of them when they are cut."""

from __future__ import annotations

import pytest

from rft.data.chat_template import ChatTemplate
from rft.data.prompts import SYSTEM_PROMPT, LeaderboardWording
from rft.eval.material import strangers
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.eval.builder import UsersDataset, make_form, make_material, make_question

QUESTIONS = [make_question(number) for number in range(8)]


def test_another_user_s_context_is_never_one_s_own_and_always_the_same():
    found = strangers(QUESTIONS)
    assert found == strangers(QUESTIONS[::-1])
    assert found.keys() == {"h0", "h1", "h2", "h3"}
    assert all(own != other for own, other in found.items())


def test_two_contexts_of_one_user_are_no_strangers():
    twins = [make_question(0, context_id="a", cluster="0"), make_question(1, context_id="b", cluster="0")]
    assert strangers(twins) == {}
    assert strangers([*twins, make_question(2, context_id="c", cluster="1")])["a"] == "c"


def test_a_cut_context_keeps_its_end_and_says_how_much_went():
    chat = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    material = make_material(QUESTIONS, chat=chat)
    parts = chat.split(material.whole("h1").messages)
    asked = [material.form.text_of(question) for question in QUESTIONS[2:4]]
    context, *tails = (len(ids) for ids in chat.encode([parts.history, *map(parts.tail, asked)]))
    found = material.cut("h1", "h1", context + max(tails) - 20, "truncate_oldest")
    kept = [message.content for message in found.messages]
    assert 0 < found.messages_dropped < 6
    assert kept == [SYSTEM_PROMPT, *(f"Word {i} of 1." for i in range(found.messages_dropped, 6))]
    with pytest.raises(ValueError, match="h1: a question and the system line .* tokens, the limit is 10; raise it"):
        material.cut("h1", "h1", 10, "truncate_oldest")


def test_a_context_is_cut_for_both_of_the_messages_that_ask():
    chat = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    material = make_material(
        QUESTIONS, chat=chat, form=make_form(UsersDataset(QUESTIONS), wording=LeaderboardWording())
    )
    parts = chat.split(material.whole("h1").messages)
    (whole,) = chat.encode([parts.history])
    tails = chat.encode([parts.tail(material.form.asking(question)) for question in QUESTIONS[2:4]])
    limit = len(whole) + max(map(len, tails)) - 20
    found = material.cut("h1", "h1", limit, "truncate_oldest")
    shown = chat.split(found.messages)
    assert 0 < found.messages_dropped < 6
    assert all(
        len(chat.encode([shown.history])[0]) + len(chat.encode([shown.tail(material.form.asking(question))])[0])
        <= limit
        for question in QUESTIONS[2:4]
    )


def test_the_train_split_is_read_only_when_a_system_asks_for_it():
    class Strict(UsersDataset):
        def split(self, name: str):
            assert name != "train" or self.allowed, "nobody asked"
            return super().split(name)

    dataset = Strict(QUESTIONS, train=[make_question(0, question_id="train/0")])
    dataset.allowed = False
    material = make_material(QUESTIONS, dataset)
    dataset.allowed = True
    assert [question.question_id for question in material.questions_to_fit] == ["train/0"]
