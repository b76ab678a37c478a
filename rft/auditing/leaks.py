"""How often something about an option tells the right one: its length, its words, its letter."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from rft.auditing.config import AuditSettings
from rft.auditing.findings import Case
from rft.auditing.words import words_of
from rft.data.dataset import Dataset
from rft.data.prompts import LETTERS
from rft.eval.score import clustered_interval
from rft.records import Question

FEWEST_OF_KIND = 8
"""Questions of a kind that is judged however small it is, where a rule finds all of them: by chance once in 65,000.
Fewer are never judged."""

LEVEL = 0.95
"""Of an interval."""

LEVEL_OF_KINDS = 0.995
"""There are up to a hundred of them with three rules each: at 95% chance alone would find a leak."""

MOST_KINDS = 20
"""Values of a tag, above which it names no kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often a rule finds the right option.

    Example:
        Rate(rule="longest", kind="who=others", n=52, rate=0.02, low=0.0, high=0.1, chance=0.25, most=0.35)
    """

    rule: str
    kind: str
    """`all`, or one value of a tag."""
    n: int
    """Questions with options."""
    rate: float
    low: float
    """Lower end of the interval, clustered by `Question.cluster` (rft/eval/score.py)."""
    high: float
    chance: float
    most: float
    """The lower end may not lie above it."""
    level: float = LEVEL
    """Of the interval."""

    @property
    def is_leak(self) -> bool:
        return self.n >= FEWEST_OF_KIND and self.low > self.most

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "leak": self.is_leak}


def rate_of(
    rule: str, kind: str, questions: Sequence[Question], hits: Sequence[float], margin: float, level: float = LEVEL
) -> Rate:
    """
    Args:
        margin: above chance, where a leak begins.
        level: of the interval.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    low, high = clustered_interval(hits, [question.cluster for question in questions], z)
    chance = sum(1 / (1 + len(question.incorrect_answers)) for question in questions) / len(questions)
    return Rate(
        rule=rule,
        kind=kind,
        n=len(questions),
        rate=sum(hits) / len(hits),
        low=low,
        high=high,
        chance=chance,
        most=chance + margin,
        level=level,
    )


def leak_rates(dataset: Dataset, questions: Sequence[Question], settings: AuditSettings) -> list[Rate]:
    """Every rule over all questions with options, and length by kind."""
    shown = [question for question in questions if question.incorrect_answers]
    if not shown:
        return []
    rules = {"longest": longest_is_right, "shortest": shortest_is_right, "average": average_is_right}
    orders = [dataset.option_order(question) for question in shown]
    hits = {rule: [hit(q, order) for q, order in zip(shown, orders, strict=True)] for rule, hit in rules.items()}
    rates = [rate_of(rule, "all", shown, hits[rule], settings.length_margin) for rule in rules]
    rates.append(rate_of("words", "all", shown, word_hits(shown, settings.seed), settings.kind_margin))
    rates += letter_rates(dataset, shown, settings.kind_margin)
    for kind, members in kinds_of(dataset, shown).items():
        among = [shown[index] for index in members]
        for rule in rules:
            found = [hits[rule][index] for index in members]
            # Of so few, chance does not make all of them right.
            if len(members) >= settings.smallest_kind or (len(members) >= FEWEST_OF_KIND and all(found)):
                rates.append(rate_of(rule, kind, among, found, settings.kind_margin, LEVEL_OF_KINDS))
    return rates


CHECK_OF_RULE = {
    "longest": "length_leak",
    "shortest": "length_leak",
    "average": "length_leak",
    "words": "word_leak",
}


def leak_cases(rates: Sequence[Rate]) -> Iterator[Case]:
    """A case for each rule that finds the right option too often."""
    for rate in rates:
        if rate.is_leak:
            yield Case(check=CHECK_OF_RULE.get(rate.rule, "letter_imbalance"), detail=told_of(rate))


def told_of(rate: Rate) -> str:
    """A rate in one line."""
    return (
        f"{rate.rule}, {rate.kind}: right in {rate.rate:.1%} of {rate.n} questions ({100 * rate.level:.4g}% "
        f"interval {rate.low:.1%} to {rate.high:.1%}), chance is {rate.chance:.1%}"
    )


def kinds_of(dataset: Dataset, questions: Sequence[Question]) -> dict[str, list[int]]:
    """Indices of the questions of each kind: each value of a breakdown with few values."""
    found: dict[str, list[int]] = {}
    for tag in dataset.breakdowns:
        members: dict[str, list[int]] = defaultdict(list)
        for index, question in enumerate(questions):
            if tag in question.tags:
                members[question.tags[tag]].append(index)
        if 1 < len(members) <= MOST_KINDS:
            found |= {f"{tag}={value}": members[value] for value in sorted(members)}
    return found


# ------------------------------------------------------------------------------------------------------------- length


def longest_is_right(question: Question, order: Sequence[int]) -> float:
    """1.0 where the longest option, of several the first that is shown, is the right one: what the control
    `longest_option` of an evaluation is rewarded for (rft/eval/systems.py)."""
    lengths = lengths_of(question, order)
    return float(order[lengths.index(max(lengths))] == 0)


def shortest_is_right(question: Question, order: Sequence[int]) -> float:
    """As `longest_is_right`, of the shortest option."""
    lengths = lengths_of(question, order)
    return float(order[lengths.index(min(lengths))] == 0)


def average_is_right(question: Question, order: Sequence[int]) -> float:
    """As `longest_is_right`, of the option whose length is nearest to the mean of all."""
    lengths = lengths_of(question, order)
    mean = sum(lengths) / len(lengths)
    distances = [abs(length - mean) for length in lengths]
    return float(order[distances.index(min(distances))] == 0)


def lengths_of(question: Question, order: Sequence[int]) -> list[int]:
    """Characters of each option, in the order shown."""
    answers = (question.correct_answer, *question.incorrect_answers)
    return [len(answers[index]) for index in order]


# -------------------------------------------------------------------------------------------------------------- words


def word_hits(questions: Sequence[Question], seed: int) -> list[float]:
    """Whether the option whose words occur most in right options, and least in wrong ones, is the right one.

    A naive Bayes classifier: the words are learned from the clusters of one half and tried on those of the other, so
    that nothing is learned from the users it is tried on.
    """
    halves = [hashlib.sha256(f"{seed} {question.cluster}".encode()).digest()[0] % 2 for question in questions]
    texts = [
        [set(words_of(answer)) for answer in (question.correct_answer, *question.incorrect_answers)]
        for question in questions
    ]
    weights = [learned_weights([t for t, half in zip(texts, halves, strict=True) if half != tried]) for tried in (0, 1)]
    return [best_is_right(options, weights[half]) for options, half in zip(texts, halves, strict=True)]


def learned_weights(texts: Sequence[Sequence[set[str]]]) -> dict[str, float]:
    """Of each word, the log of how much more often it is in right options than in wrong ones, one count added."""
    right = Counter(word for options in texts for word in options[0])
    wrong = Counter(word for options in texts for option in options[1:] for word in option)
    num_right, num_wrong = len(texts), sum(len(options) - 1 for options in texts)
    return {
        word: math.log((right[word] + 1) / (num_right + 2)) - math.log((wrong[word] + 1) / (num_wrong + 2))
        for word in right.keys() | wrong.keys()
    }


def best_is_right(options: Sequence[set[str]], weights: dict[str, float]) -> float:
    """1.0 where the option with the largest mean weight of its words is the right one, a half where two have it."""
    scores = [
        round(sum(weights.get(word, 0.0) for word in sorted(option)) / max(1, len(option)), 9) for option in options
    ]
    best = max(scores)
    return 1 / scores.count(best) if scores[0] == best else 0.0


# ------------------------------------------------------------------------------------------------------------ letters


def letter_rates(dataset: Dataset, questions: Sequence[Question], margin: float) -> list[Rate]:
    """How often each letter is right, in the order in which an evaluation shows the options."""
    at = [dataset.option_order(question).index(0) for question in questions]
    most = max(len(question.incorrect_answers) for question in questions) + 1
    return [
        rate_of(f"letter {LETTERS[index]}", "all", questions, [float(place == index) for place in at], margin)
        for index in range(min(most, len(LETTERS)))
    ]
