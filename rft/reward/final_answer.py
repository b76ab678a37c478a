r"""The scorer of the `Final Answer: [Letter]` protocol, which the paper uses for models behind an API.

The paper's parser takes the first of several patterns that matches anywhere. This one reads the last line of the
form it asked for, after the thought: text before it may weigh other letters. Names of failures are those of the
boxed protocol: `no_box` where there is no such line, `unreadable_box` where it holds no single letter.

- The form stands at the beginning of a line or a sentence: `Final Answer: B`, `**Final Answer**: B`, `final answer is
  b`, `FINAL ANSWER - B`, or `### Final answer` with the letter on the next line. The last of them counts; two with
  different letters on one line are hedging. Behind the mark of an option, `A. Final Answer: ...`, an option is quoted.
- Where there is none, the last prose that names a letter counts: `So the final answer is (B)`. Beside the form, prose
  changes nothing.
- Around the letter may stand brackets, Markdown, HTML, LaTeX as in a box, and words such as `Option`.
- `A` and `I` followed by words are an article and a pronoun: `Final Answer: A jazz bar` holds no letter.
- A second letter is hedging: `B or C`, `B; C`, `(B) (C)`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rft.records import Score
from rft.reward.mcq import SPACES, TYPE_COMMANDS, FailureReason, Parsed, after_thought

LABEL = re.compile(
    r"final[\s*_-]{1,8}answers?(?:\(s\))?(?![A-Za-z])(?:\s?[\[(](?:the\s)?(?:letter|option|choice)[\])])?",
    re.IGNORECASE,
)

WINDOW = 240
"""Characters behind a label in which its letter is looked for. With LOOK_BACK it bounds the work per label."""
LOOK_BACK = 40
"""Characters before a label by which it is told whether it begins a line or a sentence."""

BEGINNING = re.compile(
    r"[\n.!?:;。！？](?:</?[A-Za-z]{1,8}\d?>|\\[A-Za-z]{1,16}\{|\d{1,2}[.)]|[^\w\n])*\Z",
)

QUOTED_OPTION = re.compile(r"\n[^\w\n]*[A-Za-z][.):][^\w\n]*\Z")
"""What stands before a label in the text of an option: the option's letter begins the line."""

TOKEN = re.compile(
    r"(?P<word>[A-Za-z0-9\u00c0-\u024f\u0300-\u036f]+(?:['’][A-Za-z\u00c0-\u024f]+)*)"
    rf"|(?P<looks></?[A-Za-z]{{2,8}}\d?>|</[bius]>|<(?P<tag>[biu])>(?=.*?</(?P=tag)>)"
    rf"|\\(?:textcolor|colorbox|color)\s?\{{[^{{}}]{{0,40}}\}}|\\[hm]space\*?\{{[^{{}}]{{0,40}}\}}"
    rf"|\\(?:{TYPE_COMMANDS})\*?(?![A-Za-z])|\\(?:{SPACES})(?![A-Za-z])|\\[,;:!>()\[\]$\\]"
    r"|[*_~`\"'#$\\“”‘’\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])"
    r"|(?P<open>[\[({<（［【「『《])|(?P<close>[\])}>）］】」』》])|(?P<line>\s*\n\s*)|(?P<space>\s+)|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
"""What a window is made of. `looks` changes only how the text around it looks."""
KINDS = ("word", "looks", "open", "close", "line", "space", "other")

CUT_WORD = re.compile(r"[^\W_]*\Z")

COLONS = {":", "：", "﹕", "︰", "∶", "꞉", "="}
DASHES = {"-", "–", "—"}
SIGNS = COLONS | DASHES | {"→", "⇒", "↓", "⬇", "|"}
"""Between a label and its letter."""
VERBS = {"is", "are", "would", "should", "be"}
NAMES = {"option", "choice", "letter", "reply", "response"}
"""Behind one of these a letter is no word."""
FILLERS = {
    "the",
    "my",
    "best",
    "correct",
    "right",
    "most",
    "suitable",
    "final",
    "answer",
    "either",
    "both",
    *VERBS,
    *NAMES,
}
"""Words that may stand between the sign and the letter and say nothing."""
ALTERNATIVES = {"or", "oder", "ou", "或"}
JOINTS = ALTERNATIVES | {"and", "und", "et", "vs", "versus", "/", "&", "+", "|", "／", "和", "与", "と", "、"}
"""Between two letters: behind one of these an upper-case A is a letter, whatever follows."""
WEAK_JOINTS = {",", ";", "?", "，", "；", "？", *DASHES}
"""Between two letters, or between a letter and the text of its option."""
HEDGES = {"maybe", "possibly", "perhaps", "probably", "else", "then", "also", "alternatively", "even", *NAMES}
"""Words that may stand between a joint and the next letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of a window.

    Example:
        Token(kind="word", text="Option")
    """

    kind: str
    """The name of its group in TOKEN."""
    text: str


def score_final_answer(text: str, letters: Sequence[str], gold: str, *, thought_open: bool = False) -> Score:
    """What a reply is worth: 1.0 if its final letter is `gold`, else 0.0. Arguments as in `mcq.score_boxed_letter`."""
    assert gold in letters, "the right letter is one of those offered"
    letter, failure = parse(text, letters, thought_open)
    return Score(reward=float(letter == gold), parsed=letter, failure=failure)


def parse(text: str, letters: Sequence[str], thought_open: bool) -> Parsed:
    answer, failure = after_thought(text, thought_open)
    if failure is not None:
        return None, failure
    named = letters_named(answer)
    if named is None:
        return None, FailureReason.NO_BOX
    if not named:
        return None, FailureReason.UNREADABLE_BOX
    if named[0] not in letters:
        return None, FailureReason.NOT_AN_OPTION
    if set(named[1:]) & set(letters) - {named[0]}:
        return None, FailureReason.SEVERAL_LETTERS
    return named[0], None


def letters_named(answer: str) -> list[str] | None:
    """The letters, lower case, that the last line of the form names, or else the last prose that names any; None where
    neither is there."""
    in_prose: list[str] | None = None
    in_form: list[str] | None = None
    line = len(answer)
    for label in reversed(list(LABEL.finditer(answer))):
        if in_form is not None and label.start() < line:
            break
        begins = begins_line_or_sentence(answer, label.start())
        has_colon, found = read_window(tokens_of(answer, label.end()), begins)
        if begins and (found or has_colon):
            if in_form is None:
                in_form, line = [], answer.rfind("\n", 0, label.start())
                if not found:
                    break
            in_form += found
        elif found and in_prose is None:
            in_prose = found
    return in_prose if in_form is None else in_form


def begins_line_or_sentence(text: str, start: int) -> bool:
    before = text[max(0, start - LOOK_BACK) : start]
    before = before if start > LOOK_BACK else "\n" + before
    return BEGINNING.search(before) is not None and QUOTED_OPTION.search(before) is None


def tokens_of(text: str, start: int) -> list[Token]:
    """The tokens behind a label; a word that the window's end may cut is left out."""
    window = text[start : start + WINDOW]
    if start + WINDOW < len(text):
        window = CUT_WORD.sub("", window)
    return [Token(kind=next(kind for kind in KINDS if found[kind]), text=found[0]) for found in TOKEN.finditer(window)]


def read_window(tokens: Sequence[Token], begins: bool) -> tuple[bool, list[str]]:
    """Whether a colon follows the label, and the letters that are named; none where no letter stands by itself.

    Args:
        tokens: those behind the label.
        begins: the label begins a line or a sentence.
    """
    place, last_word = 0, ""
    while place < len(tokens) and is_sign(tokens[place], begins):
        place += 1
    before = tokens[:place]
    colon = any(token.text in COLONS for token in before)
    has_sign = any(token.kind in ("word", "line", "other") for token in before)
    while has_sign and place < len(tokens) and is_filler(tokens[place]):
        last_word = tokens[place].text.lower() if tokens[place].kind == "word" else last_word
        place += 1
    if (
        place == len(tokens)
        or not is_letter(tokens[place])
        or (is_article(tokens, place) and last_word not in NAMES)
        or not (has_sign or stands_alone(tokens, place))
    ):
        return colon, []
    return colon, [tokens[place].text.lower(), *further_letters(tokens, place + 1)]


def is_sign(token: Token, begins: bool) -> bool:
    """What may stand between a label and the words behind it; the end of a line only where the label is a heading."""
    if token.kind in ("line", "word"):
        return begins if token.kind == "line" else token.text.lower() in VERBS
    return token.kind != "other" or token.text in SIGNS


def is_filler(token: Token) -> bool:
    if token.kind == "word":
        return token.text.lower() in FILLERS
    return token.kind != "other" or token.text in SIGNS or token.text == "."


def is_letter(token: Token) -> bool:
    return token.kind == "word" and len(token.text) == 1 and token.text.isascii() and token.text.isalpha()


def is_article(tokens: Sequence[Token], place: int) -> bool:
    """Whether the letter at a place is the word `a` or `I`, with other words behind it."""
    if tokens[place].text.lower() not in ("a", "i") or place + 2 >= len(tokens):
        return False
    space, word = tokens[place + 1 : place + 3]
    is_other_word = word.kind == "word" and word.text.lower() not in JOINTS
    return space.kind == "space" and is_other_word and not (is_letter(word) and word.text.isupper())


def stands_alone(tokens: Sequence[Token], place: int) -> bool:
    """Whether a letter without a sign before it is in brackets, or upper case and the last of its line."""
    behind = next((token for token in tokens[place + 1 :] if token.kind not in ("looks", "space")), None)
    if behind is None or behind.kind == "line" or behind.text in (".", "!"):
        return tokens[place].text.isupper()
    return behind.kind == "close"


def further_letters(tokens: Sequence[Token], start: int) -> list[str]:
    """The letters that follow the first one as its equals, lower case."""
    found: list[str] = []
    joined, weakly, opened, adjacent, ended = False, False, False, True, False
    for place in range(start, len(tokens)):
        token = tokens[place]
        if ended and not joined and token.kind not in ("looks", "space") and token.text.lower() not in ALTERNATIVES:
            break
        if is_letter(token):
            in_brackets = opened and place + 1 < len(tokens) and tokens[place + 1].kind == "close"
            beside = adjacent and token.text.isupper()
            article = is_article(tokens, place) and not (joined and token.text == "A")
            if article or not (joined or weakly or in_brackets or beside):
                break
            found.append(token.text.lower())
            joined, weakly, opened, adjacent = False, False, False, True
        elif token.text.lower() in JOINTS:
            joined = True
        elif token.text in WEAK_JOINTS or (token.kind == "line" and line_is_a_letter(tokens, place + 1)):
            weakly = True
        elif token.kind == "open":
            opened = True
        elif token.kind == "close":
            adjacent = False
        elif token.text == ".":
            ended = True
        elif not (token.kind in ("looks", "space") or token.text.lower() in HEDGES):
            break
    return found


def line_is_a_letter(tokens: Sequence[Token], start: int) -> bool:
    """Whether a line holds one letter and marks around it, and nothing else."""
    end = next((place for place in range(start, len(tokens)) if tokens[place].kind == "line"), len(tokens))
    said = [token for token in tokens[start:end] if token.kind == "word" or token.text.isalnum()]
    return len(said) == 1 and is_letter(said[0])
