r"""The scorer of multiple-choice replies that training and evaluation share.

Model text is data: it is searched, never evaluated, in time linear in its length, and no text raises.

`strict`, the default. The answer is what follows the last thought (thoughts.py says which tags are a thought's). A
thought that is open and never closes (here, or in the prompt's template) leaves no answer. In the answer, every
`\boxed{...}` that holds one ASCII letter and nothing else counts; exactly one distinct letter must remain, and it must
be one of those offered.

- Around the letter, these are no content: white space of any alphabet, punctuation and brackets (`NOT_CONTENT`),
  LaTeX's spaces (`edges`), bare braces, and commands that only change how the letter looks
  (`TYPE_COMMANDS`): `\boxed{\,\text{(B).}}`, `\boxed{\rm b}` and `\boxed{\operatorname{b}}` are b.
- A box with the option's text, with several letters or with a look-alike from another alphabet is unreadable. Reading
  the first letter of `\boxed{(a) or (b)}` would pay for hedging. An unreadable box beside a readable one is ignored.
- A box that never closes is unreadable, and so is all that follows it.

`paper`, for comparison: the rule of the PersonaMem-v2 reference code without its embedding fallback. Its thoughts end
with `</think>` and with nothing else, and the whole text counts where there is none; `\boxed{x}`, else `\boxed{(x)}`,
else `boxed{x}`, each time the last one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from rft.records import Score
from rft.reward.thoughts import split_thought

BOX = re.compile(r"\\boxed\s*\{")
BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
"""A brace, or a backslash with the character it escapes."""

TYPE_COMMANDS = (
    "boxed|fbox|framebox|text|textbf|textit|textrm|textsf|texttt|textsc|textnormal|textup|textmd|emph|mbox|hbox|underline"
    "|operatorname|mathop|mathord"
    "|mathrm|mathbf|mathit|mathsf|mathtt|mathnormal|mathcal|mathbb|mathfrak|mathscr|bm|pmb|boldsymbol|symbf"
    "|mathbfit|ensuremath|uppercase|lowercase|MakeUppercase|MakeLowercase|normalfont|mdseries|upshape"
    "|rm|bf|it|tt|sf|sc|sl|em|rmfamily|sffamily|ttfamily|bfseries|itshape|slshape|scshape|displaystyle|textstyle"
    "|scriptstyle|tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge"
)
"""Commands of LaTeX that change how a letter looks, and not which letter it is."""

WRAPPED = re.compile(
    rf"(?:\\(?:{TYPE_COMMANDS})\*?\s*|\\(?:textcolor|colorbox)\s*\{{[^{{}}]*\}}\s*)?\{{(.*)\}}", re.DOTALL
)
SWITCHED = re.compile(rf"(?:\\(?:{TYPE_COMMANDS})(?![A-Za-z{{])\*?|\\color\s*\{{[^{{}}]*\}})(.*)", re.DOTALL)
"""`\rm b`: a command before what it changes, without braces."""

NOT_CONTENT = "$()[].,;:!*_~'\"`" + "，。、；：！（）［］【】「」『』〈〉《》“”‘’«»"
SPACES = (
    r"quad|qquad|enspace|enskip|thinspace|medspace|thickspace|nobreakspace|space|hfill|strut|relax|left|right"
    r"|[bB]igg?[lr]?"
)
"""Commands of LaTeX for spaces, and for the size of a bracket."""


def edges(marks: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What may stand before and after the content of a box: white space of any kind, and any of `marks`."""
    edge = (
        rf"(?:[\s{re.escape(marks)}]|\\[\s,;:!>()\[\]$\\]|\\(?:{SPACES})(?![A-Za-z])"
        r"|\\[hm]space\*?\{[^{}]*\})*"
    )
    return re.compile(rf"\A{edge}"), re.compile(rf"{edge}\Z")


LETTER_EDGES = edges(NOT_CONTENT)
NUMBER_EDGES = edges(NOT_CONTENT.replace(".", ""))

LONGEST_BOX = 100
"""Characters; a longer box holds more than a letter. Bounds the work per box."""


class FailureReason(StrEnum):
    """Why a reply has no valid letter. A wrong but valid letter is no failure of this kind."""

    EMPTY = "empty"
    """Nothing, or only white space."""
    UNCLOSED_THOUGHT = "unclosed_thought"
    """A thought opens and never closes, so there is no answer."""
    NO_BOX = "no_box"
    """No \\boxed{...} in the answer."""
    UNREADABLE_BOX = "unreadable_box"
    """Boxes, but none holds a single letter."""
    NOT_AN_OPTION = "not_an_option"
    """A single letter that was not offered."""
    SEVERAL_LETTERS = "several_letters"
    """Boxes with different letters."""


Parsed = tuple[str | None, FailureReason | None]
"""The letter, lower case, or why there is none."""


def score_boxed_letter(
    text: str,
    letters: Sequence[str],
    gold: str,
    *,
    rule: Literal["strict", "paper"],
    thought_open: bool = False,
) -> Score:
    """What a reply is worth: 1.0 if its letter is `gold`, else 0.0.

    Args:
        text: the whole reply.
        letters: those offered, lower case.
        gold: the right one of them.
        thought_open: the prompt's template ends inside a thought, so the reply begins there.
    """
    assert gold in letters, "the right letter is one of those offered"
    letter, failure = parse_paper(text, letters) if rule == "paper" else parse_strict(text, letters, thought_open)
    return Score(reward=float(letter == gold), parsed=letter, failure=failure)


def parse_strict(text: str, letters: Sequence[str], thought_open: bool) -> Parsed:
    answer, failure = after_thought(text, thought_open)
    if failure is not None:
        return None, failure
    boxes = boxed(answer)
    if not boxes:
        return None, FailureReason.NO_BOX
    found = {letter for letter in map(single_letter, boxes) if letter is not None}
    if not found:
        return None, FailureReason.UNREADABLE_BOX
    if len(found) > 1:
        return None, FailureReason.SEVERAL_LETTERS
    letter = found.pop()
    return (letter, None) if letter in letters else (None, FailureReason.NOT_AN_OPTION)


def after_thought(text: str, thought_open: bool) -> tuple[str, FailureReason | None]:
    """What follows the last thought, or why there is no answer."""
    if not text.strip():
        return "", FailureReason.EMPTY
    _, answer = split_thought(text, thought_open=thought_open)
    if answer is None:
        return "", FailureReason.UNCLOSED_THOUGHT
    return answer, None if answer.strip() else FailureReason.EMPTY


def boxed(text: str) -> list[str | None]:
    r"""The contents of the outermost `\boxed{...}`, in order; None for one that never closes."""
    contents: list[str | None] = []
    opening = BOX.search(text)
    while opening:
        end = closing_brace(text, opening.end())
        if end is None:
            return [*contents, None]
        contents.append(text[opening.end() : end])
        opening = BOX.search(text, end)
    return contents


def closing_brace(text: str, start: int) -> int | None:
    """Where the brace closes that opened just before `start`."""
    depth = 1
    for token in BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token.group(), 0)
        if depth == 0:
            return token.start()
    return None


def single_letter(content: str | None) -> str | None:
    """The one ASCII letter that a box holds, lower case; None if it holds anything else."""
    bare = bare_content(content)
    return bare.lower() if len(bare) == 1 and bare in string.ascii_letters else None


def bare_content(content: str | None, edges: tuple[re.Pattern[str], re.Pattern[str]] = LETTER_EDGES) -> str:
    """What a box holds, without what changes only its looks; empty for one that never closes, or is too long."""
    if content is None or len(content) > LONGEST_BOX:
        return ""
    left, right = edges
    bare = right.sub("", left.sub("", content), count=1)
    while wrapped := WRAPPED.fullmatch(bare) or SWITCHED.fullmatch(bare):
        bare = right.sub("", left.sub("", wrapped.group(1)), count=1)
    return bare


def parse_paper(text: str, letters: Sequence[str]) -> Parsed:
    answer = text.rpartition("</think>")[2]
    if not answer.strip():
        return None, FailureReason.EMPTY
    offered = re.escape("".join(letters) + "".join(letters).upper())
    for pattern in (rf"\\boxed\{{([{offered}])\}}", rf"\\boxed\{{\(([{offered}])\)\}}", rf"boxed\{{([{offered}])\}}"):
        if found := re.findall(pattern, answer):
            return found[-1].lower(), None
    return None, FailureReason.UNREADABLE_BOX if "boxed{" in answer else FailureReason.NO_BOX
