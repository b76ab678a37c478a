"""How often a mark that an option has, or lacks, tells the right one: full stops, digits, capitals, line breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from rft.auditing.leaks import FEWEST_OF_KIND, LEVEL_OF_KINDS, Rate, kinds_of, rate_of
from rft.auditing.words import PICTURES
from rft.data.dataset import Dataset
from rft.records import Question

CLOSING = "[\"')\\]\u201d\u2019]*\\s*\\Z"
"""What may stand behind the last sign of a text."""

MARKS = {
    "white space around it": re.compile(r"\A\s|\s\Z"),
    "double spaces": re.compile(r"(?<=\S)[ \u00a0]{2,}(?=\S)"),
    "line breaks": re.compile(r"(?<=\S)[^\S\n]*\n\s*(?=\S)"),
    "a capital letter at its beginning": re.compile(r"\A[\W_]*[A-Z\u00c0-\u00de\u0391-\u03a9\u0410-\u042f]"),
    "a quotation mark at its beginning": re.compile("\\A\\s*[\"'\u201c\u201e\u2018\u00ab]"),
    "a full stop at its end": re.compile(f"[.\u3002\u0964]{CLOSING}"),
    "a question mark at its end": re.compile(f"[?\uff1f\u061f]{CLOSING}"),
    "an exclamation mark at its end": re.compile(f"[!\uff01]{CLOSING}"),
    "sentence ends": re.compile("[.!?](?=\\s|\\Z)|[\u3002\uff01\uff1f]"),
    "commas": re.compile("[,\u060c\uff0c\u3001]"),
    "colons and semicolons": re.compile("[:;\uff1a\uff1b]"),
    "dashes": re.compile("[-\u2010-\u2015]"),
    "brackets": re.compile("[(\\[{\uff08]"),
    "quotation marks": re.compile('["\u201c\u201e\u00ab]'),
    "apostrophes": re.compile("['\u2019]"),
    "dots in a row": re.compile("\\.\\.+|\u2026"),
    "digits": re.compile(r"\d"),
    "words in capitals": re.compile(r"\b[A-Z]{2,}\b"),
    "words with a capital letter": re.compile(r"\b[A-Z\u00c0-\u00de\u0391-\u03a9\u0410-\u042f][^\W\d_]"),
    "markdown": re.compile(r"\*\*|__|`|^[^\S\n]*(?:[-*+\u2022]|\d+[.)]|#+)\s", re.MULTILINE),
    "asterisks": re.compile(r"\*"),
    "pictures": PICTURES,
    "letters beyond ASCII": re.compile(r"[^\W\d_a-zA-Z]"),
    "signs beyond ASCII": re.compile(r"[^\w\s\x00-\x7f]"),
    "spaces beyond ASCII": re.compile(r"[^\S\x00-\x7f]"),
    "words": re.compile(r"\S+"),
}
"""Something of an option that can be counted."""

MOST_BY_A_MARK = 0.5
"""How often the option that alone has most of a mark, or least, may be the right one whatever the subject is."""

Picked = Mapping[int, tuple[float, int]]
"""By the index of a question whose options differ: how often choosing by a rule is right, and among how many options
the rule leaves it to chance."""


def style_rates(dataset: Dataset, questions: Sequence[Question], margin: float) -> Iterator[Rate]:
    """A rate for each mark that tells the right option too often: among the questions in which one option alone has
    most of it, or least, and over all questions.

    Args:
        margin: above chance, that choosing by a mark may reach over all questions.
    """
    shown = [question for question in questions if question.incorrect_answers]
    if not shown:
        return
    kinds = {"all": list(range(len(shown))), **kinds_of(dataset, shown)}
    for mark, pattern in MARKS.items():
        counts = [
            [len(pattern.findall(text)) for text in (one.correct_answer, *one.incorrect_answers)] for one in shown
        ]
        for rule, best in (("most", max), ("fewest", min)):
            picked = {at: picked_by(found, best(found)) for at, found in enumerate(counts) if len(set(found)) > 1}
            if picked:
                found = list(alone_rates(f"{rule} {mark}", shown, picked, kinds))
                hits = [picked[at][0] if at in picked else chance_of(one) for at, one in enumerate(shown)]
                rate = rate_of(f"{rule} {mark}", "all", shown, hits, margin, LEVEL_OF_KINDS)
                yield from found if found or not rate.is_leak else (rate,)


def alone_rates(
    rule: str, questions: Sequence[Question], picked: Picked, kinds: Mapping[str, Sequence[int]]
) -> Iterator[Rate]:
    """Over the questions in which the rule picks one option alone, of each kind where it is no leak in all of them."""
    for kind, members in kinds.items():
        alone = [at for at in members if at in picked and picked[at][1] == 1]
        if len(alone) < FEWEST_OF_KIND:
            continue
        among, hits = [questions[at] for at in alone], [picked[at][0] for at in alone]
        rate = rate_of(rule, f"{kind}, where one option alone has them", among, hits, 0.0, LEVEL_OF_KINDS)
        rate = replace(rate, most=max(rate.chance, MOST_BY_A_MARK))
        yield from (rate,) if rate.is_leak else ()
        if kind == "all" and rate.is_leak:
            return


def picked_by(counts: Sequence[int], best: int) -> tuple[float, int]:
    """How often one who draws among the options with `best` marks has the first one, and among how many he draws."""
    share = counts.count(best)
    return (1 / share if counts[0] == best else 0.0), share


def chance_of(question: Question) -> float:
    return 1 / (1 + len(question.incorrect_answers))
