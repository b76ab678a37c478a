"""Texts as words, for checks that compare texts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from rft.auditing.lookalikes import as_read

MARKS = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M"))
"""Vowel signs and accents: parts of words that are no letters."""

ASCII_WORD = re.compile(r"[a-z0-9]+")
"""Most texts need no more, and it is ten times as quick."""

WORD = re.compile(rf"[\w{MARKS}]+")

UNPARTED = re.compile(
    rf"(?:[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff][{MARKS}]*)+"
)
"""A run of writing that puts no space between words (Chinese, Japanese, Thai, Khmer, ...)."""

CHARACTER = re.compile(rf".[{MARKS}]*")

FILLERS = frozenset(
    (
        "the", "and", "for", "with", "who", "his", "her", "its", "their", "that", "this", "from", "likes", "prefers",
        "enjoys", "loves", "about", "into", "over", "under", "has", "have", "does", "not", "they", "them", "are",
        "was", "were", "very", "often", "usually", "when", "while", "which", "also", "more", "than", "user",
    )
)  # fmt: skip
"""Words that say nothing of what a preference is about."""

SYMBOLS = re.compile(
    r"(?<!\w)[-+<>\u2212\u2264\u2265$\u20ac\u00a3\u00a5]+(?=\d)|(?<=\w)(?:\+\+|[+#%\u00b0])|(?<=\d)[.,](?=\d)"
)
"""Signs by which two texts of the same words differ: -5 and 5, C++ and C."""

PICTURES = re.compile("[\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff]")


def words_of(text: str) -> list[str]:
    """The words and numbers of a text as a person reads it, in lower case, without punctuation marks. Where writing
    puts no space between words, each two characters behind each other are one."""
    read = as_read(text).casefold()
    if read.isascii():
        return ASCII_WORD.findall(read)
    return WORD.findall(UNPARTED.sub(in_twos, read.replace("_", " ")))


def in_twos(run: re.Match[str]) -> str:
    characters = CHARACTER.findall(run.group())
    return f" {' '.join(map(''.join, pairwise(characters))) or run.group()} "


def said_by(text: str) -> str:
    """What two texts have in common that say the same: words and the signs that belong to them; a text without words is
    all there is."""
    words = words_of(text)
    return " ".join((*words, *SYMBOLS.findall(as_read(text)))) if words else as_read(text).strip()


def num_texts_with(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word occurs."""
    return Counter(word for text in texts for word in set(words_of(text)))


def content_words(text: str) -> set[str]:
    """The words that say what a text is about."""
    return {word for word in words_of(text) if len(word) > 2 and word not in FILLERS}
