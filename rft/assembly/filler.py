"""Conversations that say nothing about the user: sums, conversions, lists, code."""

from __future__ import annotations

import random
from collections.abc import Callable

Exchange = tuple[str, str]
"""What the user asks and what the assistant answers."""

NUMBER_NAMES = ("shelves", "tickets", "bottles", "pages", "tiles", "boxes", "seats", "stamps", "screws", "letters")
UNITS = (("kilometres", "metres", 1000), ("hours", "minutes", 60), ("kilograms", "grams", 1000), ("days", "hours", 24))
PLANETS = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")
MATERIALS = ("copper", "glass", "paper", "rubber", "granite", "wool", "cork", "steel", "clay", "wax")
PROPERTIES = ("heavy", "brittle", "elastic", "porous", "shiny", "soft", "rough", "dense")
VARIABLES = ("total", "count", "index", "result", "offset", "limit", "width", "score")


def brief_filler(rng: random.Random) -> Exchange:
    """A sum in two short lines."""
    first, second = rng.randrange(1, 10), rng.randrange(1, 10)
    return f"What is {first} plus {second}?", f"That is {first + second}."


def word_problem(rng: random.Random) -> Exchange:
    rows, each, taken = rng.randrange(3, 30), rng.randrange(4, 60), rng.randrange(1, 12)
    thing = rng.choice(NUMBER_NAMES)
    question = (
        f"A store room has {rows} rows with {each} {thing} in each row. On Monday {taken} {thing} are taken away and "
        f"on Friday twice as many are brought back. How many {thing} are there at the end of the week?"
    )
    start = rows * each
    answer = (
        f"Let us go step by step. At the start there are {rows} times {each}, which is {start} {thing}. On Monday "
        f"{taken} are taken away, so {start - taken} are left. On Friday {2 * taken} come back, which makes "
        f"{start + taken}. At the end of the week there are {start + taken} {thing}."
    )
    return question, answer


def conversion(rng: random.Random) -> Exchange:
    large, small, factor = rng.choice(UNITS)
    amount = rng.randrange(2, 90)
    question = f"How many {small} are {amount} {large}, and how does one do it without a calculator?"
    answer = (
        f"One of the {large} holds {factor} {small}, so the answer is {amount} times {factor}, which is "
        f"{amount * factor}. To do it in the head, split {amount} into tens and ones, multiply both parts by {factor} "
        "and add the two results. It helps to write the first part down."
    )
    return question, answer


def sorting(rng: random.Random) -> Exchange:
    words = rng.sample(MATERIALS, 5)
    ordered = ", ".join(sorted(words))
    question = f"Please sort these words by the alphabet and say which one is the longest: {', '.join(words)}."
    answer = (
        f"Here is the list in order: {ordered}. The longest of them is {max(sorted(words), key=len)}. I compared the "
        "first letters, and where two were equal the second ones."
    )
    return question, answer


def comparison(rng: random.Random) -> Exchange:
    first, second = rng.sample(PLANETS, 2)
    inner, outer = sorted((first, second), key=PLANETS.index)
    question = f"Which of the two is closer to the sun, {first} or {second}, and how many planets lie between them?"
    between = PLANETS.index(outer) - PLANETS.index(inner) - 1
    answer = (
        f"{inner} is closer to the sun. Counted from the sun it is number {PLANETS.index(inner) + 1}, while {outer} is "
        f"number {PLANETS.index(outer) + 1}. So the number of planets between them is {between}. The distances "
        "themselves differ much more than these numbers suggest."
    )
    return question, answer


def material(rng: random.Random) -> Exchange:
    name, other = rng.sample(MATERIALS, 2)
    trait, second = rng.sample(PROPERTIES, 2)
    question = f"For a school poster, is {name} more {trait} than {other}? A few plain sentences would be enough."
    answer = (
        f"It depends on how both are made. In most cases {name} is called {trait} in textbooks, while {other} is "
        f"rather called {second}. A good poster shows both next to each other, names where they are found, and gives "
        f"one everyday use of each. A drawing of {name} on the left and of {other} on the right leaves room for text."
    )
    return question, answer


def code(rng: random.Random) -> Exchange:
    name, limit, step = rng.choice(VARIABLES), rng.randrange(5, 60), rng.randrange(2, 9)
    question = f"What does this print?\n\n{name} = 0\nfor i in range({limit}):\n    {name} += {step}\nprint({name})"
    answer = (
        f"The loop runs {limit} times and adds {step} each time. The variable starts at 0, so in the end {name} is "
        f"{limit} times {step}, and the program prints {limit * step}. Without the loop one could write "
        f"`{name} = {limit} * {step}`."
    )
    return question, answer


FULL: tuple[Callable[[random.Random], Exchange], ...] = (word_problem, conversion, sorting, comparison, material, code)


def full_filler(rng: random.Random) -> Exchange:
    """One of the longer exchanges, about 100 words."""
    return rng.choice(FULL)(rng)
