"""Text that is not what it looks like, and writing of all kinds that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.auditing.lookalikes import as_read, disguises
from rft.auditing.words import said_by, words_of
from tests.unit.auditing.builder import audit_of, cases_of, change_history, change_row, link_of, query_of, set_query

DISGUISED = {
    "p\u0430ypal is fine": "paypal is fine",  # Cyrillic a
    "g\u03bfod": "good",  # Greek omicron
    "\u0391lice": "Alice",  # Greek Alpha
    "the \u0441\u043e\u0440 says": "the cop says",  # wholly Cyrillic, in a Latin text
    "na\u00efv\u0435": "na\u00efve",  # Cyrillic e, beside a letter of Latin that is not ASCII
    "\u0430) tea": "a) tea",
    "\u043f\u0440\u0438\u0432e\u0442": "\u043f\u0440\u0438\u0432\u0435\u0442",  # Latin e in a Russian word
    "ok\u200bay": "okay",
    "\ufeffHello": "Hello",
    "\u202eabc": "abc",
    "tea\u00adpot": "teapot",
    "a\ufe0fb": "ab",
    "hi\U000e0068\U000e0069": "hi",  # tags, which hide whole sentences
    "\U0001f44d\u200b\u200b\u200b\u200b\u200b": "\U0001f44d",
    "\uff28ello": "Hello",
    "\uff28\uff45\uff4c\uff4c\uff4f you": "Hello you",
    "\U0001d401\U0001d428\U0001d425\U0001d41d": "Bold",
    "45\u06639": "4539",
    "call \u0664\u0665": "call 45",
    "call \u096a\u096b": "call 45",
}

HONEST = (
    "Привет, у меня IT-шник, SMSки и сор",
    "Έλληνας και το νόμος",
    "Պարսկերեն հայ",
    "שלום, אני אוהב ג׳אז\u200f C++",
    "مرحبا بالعالم ٤٥",
    "می\u200cخواهم ۴۵",
    "हिन्दी क्\u200dष १२",
    "বাংলা ৪৫",
    "日本語ＡＢＣ１２と漢字",
    "한국어 문장",
    "ภาษา\u200bไทย ๕",
    "TNFα and IFNγ at 5 μm, the α level, kΩ, x² ½ №5",
    "naïve café — ok… “yes”",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 ❤️ 1️⃣ ©️ ™️ ‼️",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f won",
)


@pytest.mark.parametrize("text", DISGUISED)
def test_a_disguise_is_named_and_undone(text: str) -> None:
    assert len(list(disguises(text))) == 1
    assert as_read(text) == DISGUISED[text]


@pytest.mark.parametrize("text", HONEST)
def test_writing_of_any_kind_is_none(text: str) -> None:
    assert list(disguises(text)) == []


@given(st.text())
def test_any_text_can_be_looked_at(text: str) -> None:
    assert all(isinstance(found, str) for found in disguises(text))
    assert as_read(as_read(text)) == as_read(text) or not text.isascii()


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_what_it_is(text: str) -> None:
    assert as_read(text) == text and list(disguises(text)) == []


def test_vowel_signs_belong_to_their_words() -> None:
    assert words_of("दिन") != words_of("दान")
    assert words_of("हिन्दी में") == ["हिन्दी", "में"]


def test_characters_of_writing_without_spaces_are_taken_in_twos() -> None:
    assert words_of("我喜欢茶, tea") == ["我喜", "喜欢", "欢茶", "tea"]
    assert words_of("茶") == ["茶"]


@pytest.mark.parametrize(
    ("first", "second"), [("-5", "5"), ("C++", "C"), ("C#", "C"), ("1.5", "15"), ("$5", "5"), ("5%", "5")]
)
def test_signs_that_say_something_make_texts_differ(first: str, second: str) -> None:
    assert said_by(first) != said_by(second)


def test_letters_of_another_alphabet_in_rows_and_histories(data: Path) -> None:
    change_row(data, 5, lambda row: set_query(row, query_of(row).replace("a", "\u0430", 1)))
    change_history(data, link_of(data), lambda items: items[4].update(content=f"{items[4]['content']}\u202e"))
    report = audit_of(data)
    places = {(case.question, case.file, case.message) for case in cases_of(report, "disguised_text")}
    assert places == {("train/5", None, None), (None, link_of(data), 4)}
    assert not report.is_fit
