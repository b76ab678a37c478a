"""Options that carry a label of their own: a letter, a number, or a word on whether they are right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rft.auditing.lookalikes import as_read
from rft.plain_text import as_seen
from rft.records import Question

SURE = re.compile(
    r"\W*?(?:(?:option|choice|answer)\s*(?P<word>[a-h1-9])\s*[:.)\u2013-]|[(\[](?P<inside>[a-h1-9])[)\]]"
    r"|(?P<alone>[a-h])[):]\s)",
    re.IGNORECASE,
)
"""A label that no sentence begins with, unless it begins a list."""

LIKELY = re.compile(
    r"\s*[*_\"']*[(\[]?(?P<alone>[^\W_]|i{2,3}|iv)(?:[.):\]\u3001]|\s?[-\u2013]\s)(?:\s+(?=\S)|(?=[^\s\d]))",
    re.IGNORECASE,
)
"""A label, or the initial of a name, or the beginning of a list: a label where the other options have the next ones."""

AT_END = re.compile(r"[(\[](?P<inside>[A-H])[)\]]\W*\Z")

CIRCLED = re.compile("\\s*[\u2460-\u24ff\u2776-\u2793]")

SAID = r"(?:the )?(?:correct|right|best|true|gold(?:en)?|ground[ _-]?truth|wrong|incorrect|false|distractor)"
OF_WHAT = r"(?: (?:answer|option|choice|response|one))?"
VERDICT = re.compile(
    rf"[\W_]*{SAID}{OF_WHAT}[\s*_]*[:\])]|.*(?P<end>[(\[]{SAID}{OF_WHAT}[)\]])\W*\Z", re.IGNORECASE | re.DOTALL
)

TICK = re.compile("\\s*[\u2611\u2705\u2713\u2714]|.*[\u2611\u2705\u2713\u2714]\ufe0f?\\s*\\Z", re.DOTALL)

LISTED = re.compile(r"^[^\S\n]*[(\[]?([A-H])[).:\]]\s", re.MULTILINE)

ROMAN = {"ii": "j", "iii": "k", "iv": "l"}
"""Letters that follow `i` as these numbers do."""

FEWEST_LISTED = 3
"""Options that a query lists itself."""


def labels_of(question: Question) -> Iterator[str]:
    """What is labelled in one question, a phrase for each option that is, and for a query that lists options."""
    options = (question.correct_answer, *question.incorrect_answers)
    if not question.incorrect_answers:
        return
    in_turn = numbered_in_turn(options)
    ticked = [place for place, option in enumerate(options) if TICK.match(option)]
    for place, option in enumerate(options):
        label = sure_label(option) or in_turn.get(place) or ("a tick" if ticked == [place] else None)
        if label is not None:
            yield f"{'the right option' if place == 0 else 'a wrong option'} has {label[:20]!r}: {option[:60]!r}"
    listed = LISTED.findall(question.query)
    if len(listed) >= FEWEST_LISTED and listed[0] == "A":
        yield f"the query lists options {', '.join(listed)}"


def sure_label(option: str) -> str | None:
    """What labels an option whatever the others say; None for one that begins a list."""
    if circled := CIRCLED.match(option):
        return circled.group().strip()
    text = as_read(option)
    if verdict := VERDICT.match(text):
        return (verdict["end"] or verdict.group()).strip()
    found = SURE.match(text) or AT_END.search(text)
    if found is None:
        return None
    assert found.lastgroup is not None, "each branch names its letter"
    letter, label = found[found.lastgroup], found.group().strip()
    next_one = label.replace(letter, chr(ord(letter) + 1))
    return None if next_one in text[found.end() :] else label


def numbered_in_turn(options: Sequence[str]) -> dict[int, str]:
    """Labels, by the place of the option, that follow each other: of all options, or of all but one."""
    found = {place: match for place, option in enumerate(options) if (match := LIKELY.match(as_seen(option)))}
    labels = [match["alone"].casefold() for match in found.values()]
    codes = {ord(ROMAN.get(label, label)[0]) for label in labels}
    in_turn = len(codes) == len(found) >= max(2, len(options) - 1) and max(codes) - min(codes) < len(options)
    return {place: match.group().strip() for place, match in found.items()} if in_turn else {}
