"""The people of a data set: who they are, and what is true of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rft.making.caller import Caller, Request
from rft.making.duplicates import near_duplicates
from rft.making.plan import Slot
from rft.making.prompts import SAID, SORTS
from rft.making.schemas import ConflictsReply, PersonaReply, preferences_reply
from rft.making.seeds import rng_of

GENDERS = {"a woman": 49, "a man": 49, "non-binary": 2}
"""And how often of a hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One persona.

    Example:
        Person(number=3, sentence="A baker ...", card={"name": "...", ...},
               preferences={"neutral_preferences": {0: {"topic": "tea", "preference": "...", "opposite": "..."}}},
               problems={("neutral_preferences", 4): "conflicting_preference"})
    """

    number: int
    sentence: str
    card: dict[str, Any]
    """As `PersonaReply`."""
    preferences: Mapping[str, Mapping[int, dict[str, Any]]]
    """By kind and place, as `Preference`; a place is empty where its request failed."""
    problems: Mapping[tuple[str, int], str]
    """Places that cannot be used, and why."""

    @property
    def line(self) -> str:
        """For prompts."""
        card = self.card
        return (
            f"{card['name']}, {card['age']}, {card['gender']}, {card['job']}, lives in {card['location']}; "
            f"{', '.join(card['personality'])}; writes like this: {card['speaking_style']}"
        )

    @property
    def expanded(self) -> str:
        return json.dumps(self.card, indent=2, ensure_ascii=False)


def make_people(
    caller: Caller, sentences: Mapping[int, str], slots: Sequence[Slot]
) -> tuple[dict[int, Person], dict[int, str]]:
    """The personas by number, and those that could not be made with the reason.

    Args:
        sentences: by persona.
        slots: all that may be tried of these personas: they say how many preferences of each kind are needed.
    """
    found = caller.run("personas", [persona_request(caller, number, text) for number, text in sentences.items()])
    cards = {number: found[f"p{number}"] for number in sentences}
    failed = {number: f"persona: {row.failure}" for number, row in cards.items() if row.value is None}
    people = {
        number: Person(number=number, sentence=sentences[number], card=row.value, preferences={}, problems={})
        for number, row in cards.items()
        if row.value is not None
    }
    with_lists = add_preferences(caller, people, slots)
    return add_problems(caller, with_lists), failed


def persona_request(caller: Caller, number: int, sentence: str) -> Request:
    rng = rng_of(caller.config.seed, "persona", number)
    age = rng.randrange(18, 86)
    (gender,) = rng.choices(list(GENDERS), list(GENDERS.values()))
    return Request(
        id=f"p{number}",
        parents=(),
        prompt="personas",
        fields={"sentence": sentence, "age": age, "gender": gender},
        schema=PersonaReply,
        model=caller.config.stages.personas,
        max_tokens=1200,
    )


def add_preferences(caller: Caller, people: Mapping[int, Person], slots: Sequence[Slot]) -> dict[int, Person]:
    """A list of preferences for each kind that a person's slots need, a few with each request.

    A request is told what those before it brought. One that fails leaves its own places empty, and no others.
    """
    counts = Counter((slot.persona, slot.source) for slot in slots if slot.source and slot.persona in people)
    wanted = sorted((number, str(kind), count) for (number, kind), count in counts.items())
    lists: dict[int, dict[str, dict[int, dict[str, Any]]]] = {number: {} for number in people}
    problems: dict[int, dict[tuple[str, int], str]] = {number: {} for number in people}
    for number, kind, _ in wanted:
        lists[number][kind] = {}
    size = caller.config.preferences_per_request
    for start in range(0, max(counts.values(), default=0), size):
        parts = {
            preferences_id(number, kind, start, size): (number, kind, range(start, min(count, start + size)))
            for number, kind, count in wanted
            if count > start
        }
        requests = [
            preferences_request(caller, people[number], kind, places, lists[number][kind])
            for number, kind, places in parts.values()
        ]
        for item, row in caller.run("preferences", requests).items():
            number, kind, places = parts[item]
            if row.value is None:
                problems[number] |= {(kind, place): f"preferences: {row.failure}" for place in places}
            else:
                lists[number][kind] |= dict(zip(places, row.value["items"], strict=True))
    return {
        number: replace(one, preferences=lists[number], problems=problems[number]) for number, one in people.items()
    }


def preferences_id(number: int, kind: str, place: int, size: int) -> str:
    """The request that a persona's preference at this place comes from, `size` of them with each."""
    return f"p{number}/{kind}/{place // size}"


def preferences_request(
    caller: Caller, person: Person, kind: str, places: range, said: Mapping[int, Mapping[str, Any]]
) -> Request:
    """
    Args:
        places: that it is to fill.
        said: what the requests before it brought.
    """
    number, size, count = person.number, caller.config.preferences_per_request, len(places)
    lines = "\n".join(f"- {one['topic']}: {one['preference']}" for one in said.values())
    return Request(
        id=preferences_id(number, kind, places.start, size),
        parents=(f"p{number}", *(preferences_id(number, kind, place, size) for place in range(0, places.start, size))),
        prompt="preferences",
        fields={
            "persona": person.line,
            "count": count,
            "sort": SORTS[kind],
            "said": SAID.format(lines=lines) if said else "",
        },
        schema=preferences_reply(count),
        model=caller.config.stages.preferences,
        max_tokens=300 + 150 * count,
    )


def add_problems(caller: Caller, people: Mapping[int, Person]) -> dict[int, Person]:
    """Of two preferences of a person that contradict or repeat each other the second one cannot be used."""
    filters = caller.config.filters
    if "conflicts" not in filters.use:
        return dict(people)
    numbered = {number: numbered_preferences(one) for number, one in people.items()}
    requests = [conflicts_request(caller, people[number], found) for number, found in numbered.items() if found]
    rows = caller.run("conflicts", requests)
    checked = {}
    for number, one in people.items():
        keys = [key for key, _ in numbered[number]]
        texts = [text for _, text in numbered[number]]
        problems = {keys[place]: "repeated_preference" for place in near_duplicates(texts, filters.duplicate_ratio)}
        row = rows.get(f"p{number}/conflicts")
        if row is not None and row.value is None:
            problems = dict.fromkeys(keys, "conflicts_not_checked")
        for pair in row.value["pairs"] if row is not None and row.value else ():
            first, second = sorted((pair["first"], pair["second"]))
            if 1 <= first < second <= len(keys):
                problems.setdefault(keys[second - 1], "conflicting_preference")
        checked[number] = replace(one, problems={**one.problems, **problems})
    return checked


def numbered_preferences(person: Person) -> list[tuple[tuple[str, int], str]]:
    return [
        ((kind, place), item["preference"])
        for kind, items in sorted(person.preferences.items())
        for place, item in sorted(items.items())
    ]


def conflicts_request(caller: Caller, person: Person, found: Sequence[tuple[tuple[str, int], str]]) -> Request:
    statements = "\n".join(f"{place}. {text}" for place, (_, text) in enumerate(found, 1))
    size = caller.config.preferences_per_request
    places = [*(key for key, _ in found), *person.problems]
    return Request(
        id=f"p{person.number}/conflicts",
        parents=tuple(sorted({preferences_id(person.number, kind, place, size) for kind, place in places})),
        prompt="conflicts",
        fields={"statements": statements},
        schema=ConflictsReply,
        model=caller.config.stages.preferences,
        max_tokens=1200,
        greedy=True,
    )
