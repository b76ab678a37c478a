"""What in a reply is a memory, and why it is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.records import UpdateFailure
from rft.tasks.memory_text import read_memory

MARKERS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")


@pytest.mark.parametrize(
    ("reply", "memory"),
    [
        ("- Likes jazz.\n- Has a cat.", "- Likes jazz.\n- Has a cat."),
        ("\n  - Likes jazz. \n", "- Likes jazz."),
        ("<think>What is new?\nJazz.</think>\n\n- Likes jazz.", "- Likes jazz."),
        ("<think></think>- Likes jazz.", "- Likes jazz."),
        ("- I cannot eat gluten", "- I cannot eat gluten"),
        ("I can't stand olives", "I can't stand olives"),
        ("Sorry jokes are what the user likes", "Sorry jokes are what the user likes"),
        ("- 3 < 4 and <b>bold</b>", "- 3 < 4 and <b>bold</b>"),
        ("- Is sorry, but cannot help at weekends.", "- Is sorry, but cannot help at weekends."),
        ("- Asks an AI for help.\nAs an AI fan", "- Asks an AI for help.\nAs an AI fan"),
        ("<think>I cannot help.</think>- Likes jazz.", "- Likes jazz."),
        # thought</think>- note without opening tag: one rule for thoughts
        ("thought</think>- note", "- note"),
        ("<thinking>Hm.</thinking>\n- Likes jazz.", "- Likes jazz."),
        ("[THINK]Hm.[/THINK]- Likes jazz.", "- Likes jazz."),
        ("<Think >Hm.</ think>- Likes jazz.", "- Likes jazz."),
        ("<think>a</think>- Old. <think>b</think>- Jazz.", "- Jazz."),
        # notes that only look like refusals or like nothing
        ("- I cannot stand noise", "- I cannot stand noise"),
        ("Unable to eat nuts", "Unable to eat nuts"),
        ("No puedo comer gluten", "No puedo comer gluten"),
        ("Je ne peux pas tolérer le bruit", "Je ne peux pas tolérer le bruit"),
        ("Ich kann das Meer nicht ertragen", "Ich kann das Meer nicht ertragen"),
        ("我不能吃花生", "我不能吃花生"),
        ("None of the usual films; likes jazz", "None of the usual films; likes jazz"),
        ("- Nothing is known of work.", "- Nothing is known of work."),
        ("nothing", "nothing"),
        # BOM in the memory; half a surrogate in a reply: taken out
        ("\ufeff- Likes jazz \ud83c !", "- Likes jazz  !"),
        ("- \x1b[31mLikes\x1b[0m jazz.\x07\r\n- Tea.", "- Likes jazz.\n- Tea."),
    ],
)
def test_a_memory_is_the_reply_after_its_thought(reply: str, memory: str):
    assert read_memory(reply, cut_off=False, markers=MARKERS) == (memory, None)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        ("", UpdateFailure.EMPTY),
        (" \n\t", UpdateFailure.EMPTY),
        ("<think>Nothing new.</think> ", UpdateFailure.EMPTY),
        ("<think>What is new? - Likes jazz.", UpdateFailure.TAGS),
        ("- Likes jazz.</think>", UpdateFailure.EMPTY),
        ("<think>a</think>- Jazz. <think>b</think>", UpdateFailure.EMPTY),
        ("<thinking>What is new? - Likes jazz.", UpdateFailure.TAGS),
        ("- Jazz. <thinking>b", UpdateFailure.TAGS),
        ("- Likes jazz.<|im_end|>\n<|im_start|>user", UpdateFailure.TAGS),
        ("I'm sorry, but there is nothing here.", UpdateFailure.REFUSAL),
        ("I cannot help with that.", UpdateFailure.REFUSAL),
        ("i can’t store personal data", UpdateFailure.REFUSAL),
        ("As an AI, I have no memory.", UpdateFailure.REFUSAL),
        ("As a language model I keep nothing.", UpdateFailure.REFUSAL),
        ("Sorry, I would rather not.", UpdateFailure.REFUSAL),
        ("I am sorry.", UpdateFailure.REFUSAL),
        ("I am unable to do that", UpdateFailure.REFUSAL),
        ("I cant write that down.", UpdateFailure.REFUSAL),
        ("<think>Is this safe?</think>\nI can not assist.", UpdateFailure.REFUSAL),
        ("I'm unable to help with that.", UpdateFailure.REFUSAL),
        ("I’m not able to do that.", UpdateFailure.REFUSAL),
        # refusals in other words and languages
        ("Unfortunately, I can't do that.", UpdateFailure.REFUSAL),
        ("Unfortunately I am unable to process this conversation.", UpdateFailure.REFUSAL),
        ("I'm very sorry, but no.", UpdateFailure.REFUSAL),
        ("**I'm sorry**, I can't.", UpdateFailure.REFUSAL),
        ("- I'm sorry, but I can't assist with that.", UpdateFailure.REFUSAL),
        ("I apologize, but this is not possible.", UpdateFailure.REFUSAL),
        ("I won't be able to help with this.", UpdateFailure.REFUSAL),
        ("I must respectfully decline.", UpdateFailure.REFUSAL),
        ("I don't feel comfortable storing this.", UpdateFailure.REFUSAL),
        ("As a large language model, I ...", UpdateFailure.REFUSAL),
        ("Could you please provide the conversation?", UpdateFailure.REFUSAL),
        ("抱歉，我无法提供帮助。", UpdateFailure.REFUSAL),
        ("很抱歉，我不能这样做。", UpdateFailure.REFUSAL),
        ("作为一个人工智能，我没有记忆。", UpdateFailure.REFUSAL),
        ("申し訳ありませんが、お手伝いできません。", UpdateFailure.REFUSAL),
        ("すみませんが、その依頼には対応できません。", UpdateFailure.REFUSAL),
        ("죄송하지만 도와드릴 수 없습니다.", UpdateFailure.REFUSAL),
        ("Lo siento, no puedo ayudar con eso.", UpdateFailure.REFUSAL),
        ("No puedo ayudarte con esa solicitud.", UpdateFailure.REFUSAL),
        ("Es tut mir leid, dabei kann ich nicht helfen.", UpdateFailure.REFUSAL),
        ("Leider kann ich das nicht tun.", UpdateFailure.REFUSAL),
        ("Ich kann dir dabei nicht helfen.", UpdateFailure.REFUSAL),
        ("Désolé, je ne peux pas vous aider.", UpdateFailure.REFUSAL),
        ("Je suis désolée, mais non.", UpdateFailure.REFUSAL),
        ("Je ne peux pas vous aider.", UpdateFailure.REFUSAL),
        ("Desculpe, não posso ajudar com isso.", UpdateFailure.REFUSAL),
        ("Mi dispiace, non posso aiutarti.", UpdateFailure.REFUSAL),
        ("Het spijt me, dat kan ik niet.", UpdateFailure.REFUSAL),
        ("Извините, я не могу помочь.", UpdateFailure.REFUSAL),
        ("К сожалению, я не могу это сделать.", UpdateFailure.REFUSAL),
        ("عذرًا، لا أستطيع المساعدة.", UpdateFailure.REFUSAL),
        ("Üzgünüm, yardımcı olamam.", UpdateFailure.REFUSAL),
        # "(nothing yet)", "None"
        ("(nothing yet)", UpdateFailure.EMPTY),
        ("Nothing yet.", UpdateFailure.EMPTY),
        ("Nothing.", UpdateFailure.EMPTY),
        ("None", UpdateFailure.EMPTY),
        ("None.", UpdateFailure.EMPTY),
        ("- None", UpdateFailure.EMPTY),
        ("N/A", UpdateFailure.EMPTY),
        ("Memory so far:\n(nothing yet)", UpdateFailure.EMPTY),
        ("```\n(nothing yet)\n```", UpdateFailure.EMPTY),
        ("No new information.", UpdateFailure.EMPTY),
        ("---", UpdateFailure.EMPTY),
        ("-" * 500, UpdateFailure.EMPTY),
        ("无。", UpdateFailure.EMPTY),
        ("特になし", UpdateFailure.EMPTY),
        ("\ufeff", UpdateFailure.EMPTY),
        ("\x1b[0m", UpdateFailure.EMPTY),
    ],
)
def test_what_is_no_memory_says_why(reply: str, failure: UpdateFailure):
    assert read_memory(reply, cut_off=False, markers=MARKERS)[1] is failure


def test_a_reply_that_was_cut_off_is_too_long():
    assert read_memory("- Likes ja", cut_off=True, markers=MARKERS) == ("- Likes ja", UpdateFailure.TOO_LONG)
    for reply in ("", "<think>What is", "I cannot help"):
        assert read_memory(reply, cut_off=True, markers=MARKERS)[1] is UpdateFailure.TOO_LONG


def test_a_thought_that_the_template_opened_must_be_closed():
    closed = read_memory("Jazz is new.</think>- Likes jazz.", cut_off=False, markers=MARKERS, thought_open=True)
    assert closed == ("- Likes jazz.", None)
    opened_twice = read_memory("<think>Jazz.</think>\n- Jazz.", cut_off=False, markers=MARKERS, thought_open=True)
    assert opened_twice == ("- Jazz.", None)
    assert read_memory("Jazz.", cut_off=False, markers=MARKERS, thought_open=True)[1] is UpdateFailure.TAGS


PIECES = st.sampled_from(["<think>", "</think>", *MARKERS, "- jazz", " ", "\n", "I cannot help"])


@given(st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=8).map("".join), st.booleans(), st.booleans())
def test_whatever_the_reply_a_memory_is_clean(reply: str, cut_off: bool, thought_open: bool):
    memory, failure = read_memory(reply, cut_off=cut_off, markers=MARKERS, thought_open=thought_open)
    if failure is None:
        assert memory == memory.strip() != ""
        assert not any(tag in memory for tag in (*MARKERS, "<think>", "</think>"))
        assert not any(ord(character) < 32 and character not in "\n\t" for character in memory)
        memory.encode("utf-8")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["- ", "<think>", "sorry ", "i'm afraid ", "(", "unfortunately, ", "memory ", "a:"])
def test_no_reply_takes_long_to_read(piece: str):
    read_memory(piece * 200_000, cut_off=False, markers=MARKERS)
