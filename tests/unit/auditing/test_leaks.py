"""How far options tell the right one, on made-up options."""

from __future__ import annotations

import random

from rft.auditing.leaks import LEVEL_OF_KINDS, longest_is_right, rate_of, shortest_is_right, told_of, word_hits
from rft.records import Question


def ask(number: int, right: str, *wrong: str) -> Question:
    return Question(
        question_id=f"q{number}", context_id="h", cluster=f"c{number % 20}", query="?", correct_answer=right,
        incorrect_answers=wrong,
    )  # fmt: skip


def test_of_equal_lengths_the_first_that_is_shown_counts() -> None:
    question = ask(0, "four", "fore", "two", "")
    assert longest_is_right(question, (0, 1, 2, 3)) == 1.0
    assert longest_is_right(question, (3, 1, 0, 2)) == 0.0
    assert shortest_is_right(question, (0, 1, 2, 3)) == 0.0
    assert shortest_is_right(ask(0, "a", "b", "ccc"), (2, 0, 1)) == 1.0


def test_a_leak_begins_where_the_interval_lies_above_chance_and_margin() -> None:
    questions = [ask(number, "long one", "a", "b", "c") for number in range(100)]
    often = rate_of("longest", "all", questions, [1.0] * 45 + [0.0] * 55, 0.05)
    assert (often.chance, often.most) == (0.25, 0.3)
    assert often.is_leak and often.low > 0.3
    seldom = rate_of("longest", "all", questions, [1.0] * 30 + [0.0] * 70, 0.05)
    assert not seldom.is_leak


def test_words_of_right_options_are_learned_from_other_clusters() -> None:
    rng = random.Random(0)
    words = [f"word{index}" for index in range(40)]
    plain = [ask(n, *(" ".join(rng.sample(words, 6)) for _ in range(4))) for n in range(400)]
    assert 0.15 < sum(word_hits(plain, 0)) / 400 < 0.35
    marked = [ask(n, f"{q.correct_answer} indeed", *q.incorrect_answers) for n, q in enumerate(plain)]
    assert sum(word_hits(marked, 0)) / 400 > 0.9


def test_of_many_kinds_chance_finds_none() -> None:
    # 57% of 28 is a leak of a rule that is tried once; of a hundred rules that are tried, chance gets so far with one.
    questions = [ask(number, "long one", "a", "b", "c") for number in range(28)]
    hits = [1.0] * 16 + [0.0] * 12
    assert rate_of("longest", "scenario=translation", questions, hits, 0.1).is_leak
    among_many = rate_of("longest", "scenario=translation", questions, hits, 0.1, LEVEL_OF_KINDS)
    assert not among_many.is_leak
    assert "99.5% interval" in told_of(among_many)
    larger = rate_of("longest", "updated=true", questions, [1.0] * 20 + [0.0] * 8, 0.1, LEVEL_OF_KINDS)
    assert larger.is_leak
    every_one = rate_of("longest", "who=others", questions[:8], [1.0] * 8, 0.1, LEVEL_OF_KINDS)
    assert every_one.is_leak, "even of the fewest that are judged"
