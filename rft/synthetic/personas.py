"""Who a person of the synthetic data set is, and what each question about that person asks (`Fact`)."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rft.synthetic import wording as text

Kind = Literal["plain", "updated", "forget", "others", "sensitive"]

KINDS: dict[Kind, int] = {"plain": 13, "updated": 5, "forget": 2, "others": 2, "sensitive": 3}
"""How many of 25 questions are of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What one question asks about.

    Example:
        Fact(kind="updated", name="music", values=("techno", "jazz", "opera", "punk"))
    """

    kind: Kind
    name: str
    """The topic's name, or the purpose of the form (`sensitive`)."""
    values: tuple[str, ...]
    """The value in question first: `plain`, `forget`, `others` have 3, `updated` has the new, the old and 2 others,
    `sensitive` has 3 kinds of number."""
    digits: str = ""
    """The number itself (`sensitive`)."""


def draw_persona(rng: random.Random) -> dict[str, Any]:
    leaning = rng.choice(("calm", "lively"))
    name, possessive = rng.choice(text.PEOPLE)
    job = rng.choice(text.JOBS[leaning])
    city = rng.choice(text.CITIES)
    return {
        "short_persona": {"persona": f"A {job} from {city}"},
        "name": f"{name} {rng.choice(text.SURNAMES)}",
        "age": rng.randrange(20, 80),
        "gender": "female" if possessive == "her" else "male",
        "job": job,
        "location": city,
        "personality": sorted(rng.sample(text.TRAITS, 2)),
        "leaning": leaning,
    }


def persona_card(persona: dict[str, Any], style: text.Style) -> str:
    if style == "brief":
        return f"You talk with this person: {persona['short_persona']['persona']}."
    return f"You talk with this person:\n\n{expanded_persona(persona)}\n\nLet your replies fit the person."


def expanded_persona(persona: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in persona.items() if key != "leaning"}, indent=2)


def kinds_of(persona_id: int, count: int, seed: int) -> list[Kind]:
    """The kinds of a persona's `count` questions. Every 25 in a row, across personas, hold `KINDS` exactly."""
    deck = [kind for kind, share in KINDS.items() for _ in range(share)]
    first = persona_id * count
    kinds = []
    for index in range(first, first + count):
        block, position = divmod(index, len(deck))
        kinds.append(random.Random(f"kinds {seed} {block}").sample(deck, len(deck))[position])
    return kinds


def draw_facts(rng: random.Random, kinds: Sequence[Kind], choice: Sequence[text.Topic]) -> list[Fact]:
    """A fact of each kind, no topic and no form used twice."""
    topics = iter(rng.sample(choice, len(choice)))
    purposes = iter(rng.sample(text.PURPOSES, len(text.PURPOSES)))
    facts = []
    for kind in kinds:
        if kind == "sensitive":
            digits = "".join(rng.choices("0123456789", k=6))
            facts.append(Fact(kind=kind, name=next(purposes), values=tuple(rng.sample(text.SECRETS, 3)), digits=digits))
        else:
            topic = next(topics)
            values = rng.sample(topic.values, 4 if kind == "updated" else 3)
            facts.append(Fact(kind=kind, name=topic.name, values=tuple(values)))
    return facts
