"""Text that reads otherwise than it looks: letters of another alphabet, digits of another script, what shows nothing.

`as_read` undoes such disguises, for checks that compare texts; `disguises` names them. The letters are those that look
alike in most fonts; Unicode's own list (UTS 39) is longer, and no library here has it. A word is taken for a disguised
one only where all of it looks like Latin letters, so that Cyrillic or Greek words stay what they are.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from rft.plain_text import INVISIBLE, SHOWS_NOTHING, as_seen

CYRILLIC = ("АВЕЅІЈКМНОРСТУХԚԜԌаеѕіјорсухԁһӏԛԝ", "ABESIJKMHOPCTYXQWGaesijopcyxdhlqw")
GREEK = ("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορυ", "ABEZHIKMNOPTYXaikvopu")
OTHERS = ("օսհոցզՕՏԼɡɑᎪᏴᏟᎬᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃ", "ouhngqOSLgaABCEHJKLMPRSTVWZ")

FOLD = str.maketrans("".join(pair[0] for pair in (CYRILLIC, GREEK, OTHERS)),
                     "".join(pair[1] for pair in (CYRILLIC, GREEK, OTHERS)))  # fmt: skip
"""Letters to the Latin ones that they look like."""

BACK = str.maketrans(CYRILLIC[1], CYRILLIC[0])

LATIN = "A-Za-z\u00c0-\u024f"
STRANGE = "".join(map(chr, FOLD))
FOREIGN = re.compile(f"[{STRANGE}]")
LETTERS = re.compile(rf"[{LATIN}{STRANGE}0-9]+")
"""May be a disguised word, where some of it is `FOREIGN`: the others are Latin letters."""

MATHEMATICAL = "\U0001d400-\U0001d7ff"
FULL_WIDTH = "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a"
KEYCAP = "\u20e3"

SUSPECT = re.compile(rf"[{STRANGE}{SHOWS_NOTHING}{MATHEMATICAL}{FULL_WIDTH}{KEYCAP}\u0400-\u052f]|(?![0-9])\d")
"""Without any of these a text is what it looks like; most texts end here."""

CYRILLIC_LETTERS = re.compile(rf"[\u0400-\u052f{CYRILLIC[1]}]+")
LATIN_IN_CYRILLIC = re.compile(rf"[\u0400-\u052f][{CYRILLIC[1]}]|[{CYRILLIC[1]}][\u0400-\u052f]")
"""The other way round: such letters in a Cyrillic word. (Both are searched for in turn: as one pattern they would take
a time that grows with the square of a text without spaces.)"""

FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")
WIDE = re.compile(f"[{FULL_WIDTH}]+")
STYLED = re.compile(rf"[{MATHEMATICAL}]{{2,}}|[A-Za-z][{MATHEMATICAL}]|[{MATHEMATICAL}][A-Za-z]")
EAST_ASIAN = re.compile("[\u1100-\u11ff\u2e80-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7ff\uf900-\ufaff]")

OVERRIDE = re.compile("[\u202d\u202e]")
DIRECTION = re.compile("[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]")
VARIATION = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
NO_INK = re.compile(f"(?:{INVISIBLE.pattern})+")
TAGS = re.compile("[\U000e0000-\U000e007f]+")
BLACK_FLAG = "\U0001f3f4"
"""The one character that tags may follow: flags of regions."""

MOST_INVISIBLE = 3
"""Characters without ink in a row that writing needs."""

FIRST_BEYOND_LATIN = "\u0250"


def as_read(text: str) -> str:
    """The text for comparing it as a person reads it: `as_seen`, digits of every script as 0 to 9, disguised words in
    Latin letters."""
    if text.isascii() or not SUSPECT.search(text):
        return as_seen(text)
    plain = FOREIGN_DIGIT.sub(lambda found: str(unicodedata.decimal(found.group())), as_seen(text).replace(KEYCAP, ""))
    latin = LETTERS.sub(lambda found: looks_latin(plain, found) or found.group(), plain)
    return CYRILLIC_LETTERS.sub(lambda found: looks_cyrillic(latin, found) or found.group(), latin)


def looks_latin(text: str, found: re.Match[str]) -> str | None:
    """The word in Latin letters where the whole of it looks like one."""
    if not FOREIGN.search(found.group()):
        return None
    word = found.group().translate(FOLD)
    return word if stands_alone(text, found) and not FOREIGN.search(word) else None


def looks_cyrillic(text: str, found: re.Match[str]) -> str | None:
    """The word in Cyrillic letters where it is one but for some; not a short form with an ending, such as "SMSки"."""
    if not LATIN_IN_CYRILLIC.search(found.group()):
        return None
    ending = re.fullmatch(r"[A-Z]{2,}[^A-Za-z]+", found.group())
    return found.group().translate(BACK) if stands_alone(text, found) and not ending else None


def stands_alone(text: str, found: re.Match[str]) -> bool:
    """Whether no letter that looks like no Latin one is joined to a match."""
    return not any(near and (near.isalpha() or unicodedata.category(near)[0] == "M") for near in around(text, found))


def around(text: str, found: re.Match[str]) -> tuple[str, str]:
    """The characters before and behind a match; empty at the ends of the text."""
    return text[max(0, found.start() - 1) : found.start()], text[found.end() : found.end() + 1]


def disguises(text: str) -> Iterator[str]:
    """What is not what it looks like, a phrase for each kind with the first place of it."""
    if text.isascii() or not SUSPECT.search(text):
        return
    finders = (strange_letter, odd_digit, styled_letters, hidden_character)
    yield from (found for find in finders if (found := find(text)))


def strange_letter(text: str) -> str | None:
    """A word that looks Latin and is not, or not wholly."""
    composed = unicodedata.normalize("NFC", text)
    for found in LETTERS.finditer(composed):
        if (latin := looks_latin(composed, found)) is None:
            continue
        word = found.group()
        letters = FOREIGN.findall(word)
        if is_mixed(word) or is_alone_of_its_kind(composed, word, letters[0]):
            named = ", ".join(dict.fromkeys(unicodedata.name(letter).lower() for letter in letters[:3]))
            return f"{shown(word)} looks like {shown(latin)}, but holds {named}"
    for found in CYRILLIC_LETTERS.finditer(composed):
        if cyrillic := looks_cyrillic(composed, found):
            return f"{shown(found.group())} looks like {shown(cyrillic)}, but holds Latin letters"
    return None


def is_mixed(word: str) -> bool:
    """Whether a word has letters of two alphabets, where nobody means it: TNFα has a sign, SMSа an ending."""
    if not re.search(f"[{LATIN}]", word):
        return False
    if re.fullmatch(rf"[{LATIN}0-9]*[{GREEK[0]}][0-9]*|[{GREEK[0]}][{LATIN}0-9]*", word):
        return bool(re.search("[ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο]", word)) and len(word) > 2
    return not re.fullmatch(rf"[A-Z]{{2,}}[{CYRILLIC[0].lower()}]{{1,2}}", word)


def is_alone_of_its_kind(text: str, word: str, letter: str) -> bool:
    """Whether a word of another alphabet stands in a Latin text that holds no other letters of that alphabet."""
    alphabet = unicodedata.name(letter).split()[0]
    is_sign = alphabet == "GREEK" and len(word) == 1
    if alphabet == "LATIN" or is_sign or not re.search(f"[{LATIN}]", text):
        return False
    others = (other for other in text if not other.isascii() and other.isalpha() and other not in STRANGE)
    return not any(unicodedata.name(other, "").startswith(alphabet) for other in others)


def odd_digit(text: str) -> str | None:
    """A number of two kinds of digits, or digits of a script of which there is no letter."""
    for found in FOREIGN_DIGIT.finditer(text):
        kind = unicodedata.name(found.group(), "").rpartition(" DIGIT ")[0]
        if kind.startswith("MATHEMATICAL") or (kind == "FULLWIDTH" and EAST_ASIAN.search(text)):
            continue
        alphabet = kind.split()[-1].split("-")[0] if kind.startswith("EXTENDED") else kind.split("-")[0]
        letters = (letter for letter in text if not letter.isascii() and letter.isalpha())
        near_others = any(character in "0123456789" for character in around(text, found) if character)
        if near_others or not any(alphabet in unicodedata.name(letter, "") for letter in letters):
            return f"{kind.lower()} digit {unicodedata.decimal(found.group())}"
    return None


def styled_letters(text: str) -> str | None:
    """Letters in the forms of East Asian typesetting, or of mathematics, in other texts."""
    found = STYLED.search(text) or (None if EAST_ASIAN.search(text) else WIDE.search(text))
    return f"{shown(found.group())} for {shown(as_seen(found.group()))}" if found else None


def hidden_character(text: str) -> str | None:
    """A character without ink where no writing needs one."""
    for found in NO_INK.finditer(text):
        if not is_needed(text, found):
            code = ord(found.group()[0])
            name = unicodedata.name(chr(code), "a sign").lower()
            return f"no ink, {len(found.group())} in a row: U+{code:04X} {name}"
    return None


def is_needed(text: str, found: re.Match[str]) -> bool:
    """Whether the writing around some characters without ink may need them."""
    run, (before, after) = found.group(), around(text, found)
    if TAGS.fullmatch(run):
        return before == BLACK_FLAG
    if len(run) > MOST_INVISIBLE or OVERRIDE.search(run) or len(VARIATION.findall(run)) > 1:
        return False
    if DIRECTION.search(run):
        return any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in text)
    if VARIATION.match(run):
        return bool(before) and not before.isspace() and not re.match(f"[{LATIN}]", before)
    return any(map(needs_joiners, (before, after)))


def needs_joiners(near: str) -> bool:
    """Whether a character is an emoji, or a letter of a script that joins or parts letters by signs without ink."""
    category = unicodedata.category(near) if near else ""
    return category == "So" or (category[:1] in ("L", "M", "S") and near >= FIRST_BEYOND_LATIN)


def shown(text: str) -> str:
    return repr(text[:40])
