"""Texts as words, for checks that compare texts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from rft.auditing.lookalikes import as_read

MARKS = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)).startswith("M"))
"""Vowel signs and accents: parts of words that are no letters."""

WORD = re.compile(rf"[\w{MARKS}]+")

UNPARTED = re.compile(rf"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff][{MARKS}]*")
"""A character of writing that puts no space between words (Chinese, Japanese, Thai, Khmer, ...)."""

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
    puts no space between words, each character is one."""
    read = as_read(text).casefold().replace("_", " ")
    return WORD.findall(read if read.isascii() else UNPARTED.sub(r" \g<0> ", read))


def said_by(text: str) -> str:
    """What two texts have in common that say the same: words and the signs that belong to them; a text without words is
    all there is."""
    words = words_of(text)
    return " ".join((*words, *SYMBOLS.findall(as_read(text)))) if words else as_read(text).strip()


def repeats(first: str, second: str) -> bool:
    """Whether two options read the same: letters' case, punctuation marks and decoration aside."""
    pictures = [PICTURES.findall(text) for text in (first, second)]
    return said_by(first) == said_by(second) and (not all(pictures) or pictures[0] == pictures[1])


def num_texts_with(texts: Iterable[str]) -> Counter[str]:
    """In how many of the texts each word occurs."""
    return Counter(word for text in texts for word in set(words_of(text)))


def content_words(text: str) -> set[str]:
    """The words that say what a text is about."""
    return {word for word in words_of(text) if len(word) > 2 and word not in FILLERS}
