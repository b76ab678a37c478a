"""The scorer of the `Final Answer: [Letter]` protocol, which the paper uses for models behind an API.

The paper's parser takes the first of several patterns that matches anywhere. This one reads the last line of the
form it asked for, after the thought: text before it may weigh other letters. Names of failures are those of the
boxed protocol: `no_box` where there is no such line, `unreadable_box` where it holds no single letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rft.records import Score
from rft.reward.mcq import FailureReason, Parsed, after_thought

FINAL = re.compile(r"final\s+answer(?:\s+is)?\s*[*_]*\s*:?[ \t]*([^\n]*)", re.IGNORECASE)
LETTER = re.compile(r"[\s*_\[({$\\\"'`]*(?:boxed\{)?([A-Za-z])(?![A-Za-z])")
SECOND = re.compile(r"(?:\bor\b|\band\b|/|,)\s*[\[(]?([A-Za-z])(?![A-Za-z])", re.IGNORECASE)


def score_final_answer(text: str, letters: Sequence[str], gold: str, *, thought_open: bool = False) -> Score:
    """What a reply is worth: 1.0 if its final letter is `gold`, else 0.0. Arguments as in `mcq.score_boxed_letter`."""
    assert gold in letters, "the right letter is one of those offered"
    letter, failure = parse(text, letters, thought_open)
    return Score(reward=float(letter == gold), parsed=letter, failure=failure)


def parse(text: str, letters: Sequence[str], thought_open: bool) -> Parsed:
    answer, failure = after_thought(text, thought_open)
    if failure is not None:
        return None, failure
    lines = FINAL.findall(answer)
    if not lines:
        return None, FailureReason.NO_BOX
    found = LETTER.match(lines[-1])
    if not found:
        return None, FailureReason.UNREADABLE_BOX
    letter = found.group(1).lower()
    if letter not in letters:
        return None, FailureReason.NOT_AN_OPTION
    more = {other.lower() for other in SECOND.findall(lines[-1][found.end() :])} & set(letters)
    return (None, FailureReason.SEVERAL_LETTERS) if more - {letter} else (letter, None)
