"""The conversations of a candidate: those that show what its question is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from rft.making.caller import Caller, Request
from rft.making.config import PromptName
from rft.making.duplicates import letters_of
from rft.making.people import Person, preferences_id
from rft.making.plan import Slot, Variant
from rft.making.private_data import draw_private
from rft.making.prompts import REPEAT, SCENARIO_TASKS
from rft.making.schemas import CHARS_PER_WORD, conversation_reply
from rft.making.seeds import rng_of

OTHER_NAMES = (
    "Marta", "Idris", "Yuki", "Tomas", "Leila", "Anders", "Priya", "Kofi", "Elena", "Hugo", "Noor", "Mateus", "Sanne",
    "Bao", "Ruth", "Viktor",
)  # fmt: skip


LONG_SENTENCE = 3
"""Words; of a shorter one, such as "Likes green tea", the rest is a mere topic."""

TALK_PROMPTS: dict[Variant, PromptName] = {
    "plain": "conversation",
    "updated": "conversation",
    "others": "conversation_others",
    "forget": "conversation_forget",
    "secret": "conversation_secret",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a candidate is about.

    Example:
        Subject(slot=slot, person=person, topic="tea", preference="Likes to ...", opposite="Avoids ...",
                other_name="Marta")
    Example, a secret:
        Subject(slot=slot, person=person, topic="passport number", secret="X00123456", other_secret="X00654321")
    """

    slot: Slot
    person: Person
    topic: str
    preference: str = ""
    opposite: str = ""
    other_name: str = ""
    """Whose preference it is, where it is not the user's own."""
    secret: str = ""
    other_secret: str = ""

    @property
    def fields(self) -> dict[str, Any]:
        """For prompts."""
        return {
            "persona": self.person.line,
            "topic": self.topic,
            "preference": self.preference,
            "before": self.opposite,
            "other_name": self.other_name,
            "secret_kind": self.topic,
            "secret": self.secret,
            "other_secret": self.other_secret,
        }


def subject_of(seed: int, slot: Slot, person: Person) -> Subject | str:
    """What the slot is about, or why there is nothing."""
    rng = rng_of(seed, "subject", slot.id)
    if slot.source is None:
        kind, secret, other = draw_private(rng)
        return Subject(slot=slot, person=person, topic=kind, secret=secret, other_secret=other)
    if problem := person.problems.get((slot.source, slot.ordinal)):
        return problem
    item = person.preferences[slot.source][slot.ordinal]
    if slot.cell.variant == "updated" and letters_of(item["opposite"]) == letters_of(item["preference"]):
        return "opposite_repeats_preference"
    names = [name for name in OTHER_NAMES if name not in person.card["name"]]
    return Subject(slot=slot, person=person, other_name=rng.choice(names), **item)


def talk_ids(slot: Slot) -> list[str]:
    """In the order in which they are held; the last one is the evidence."""
    count = 2 if slot.cell.variant == "updated" else slot.num_conversations
    return [f"{slot.id}/talk{number}" for number in range(count)]


def talk_requests(caller: Caller, subject: Subject) -> list[Request]:
    """One request per conversation; those of one candidate do not see each other."""
    config, slot = caller.config, subject.slot
    variant, ids = slot.cell.variant, talk_ids(slot)
    requests = []
    for number, item in enumerate(ids):
        fields = subject.fields | {
            "scenario": SCENARIO_TASKS[slot.scenario],
            "repeat": REPEAT.format(number=number + 1, count=len(ids)) if slot.num_conversations > 1 else "",
            "turns": slot.num_turns,
            "words": config.conversation_words,
        }
        if variant == "updated" and number == 0:
            fields["preference"] = subject.opposite
        requests.append(
            Request(
                id=item,
                parents=parents_of(slot, config.preferences_per_request),
                prompt=TALK_PROMPTS[variant],
                fields=fields,
                schema=conversation_reply(slot.num_turns, config.conversation_words, forget=variant == "forget"),
                model=config.stages.conversations,
                max_tokens=200 + slot.num_turns * 2 * 2 * config.conversation_words * CHARS_PER_WORD // 4,
                check=partial(talk_problem, subject, str(fields["preference"])),
            )
        )
    return requests


def parents_of(slot: Slot, size: int) -> tuple[str, ...]:
    """
    Args:
        size: preferences of each request.
    """
    person = f"p{slot.persona}"
    return (person, preferences_id(slot.persona, slot.source, slot.ordinal, size)) if slot.source else (person,)


def talk_problem(subject: Subject, preference: str, value: Mapping[str, Any]) -> str | None:
    """What is wrong with a conversation that a machine can see.

    Args:
        preference: that it is to show.
    """
    asked = " ".join(turn["user"] for turn in value["turns"])
    if subject.secret and subject.secret not in asked:
        return "secret_not_in_conversation"
    if subject.slot.cell.variant in ("forget", "secret"):
        return None
    told = " ".join(text for turn in value["turns"] for text in turn.values())
    return "preference_stated" if is_stated(preference, told) else None


def is_stated(preference: str, text: str) -> bool:
    """Whether a text says it word for word; of a longer sentence the first word, a verb, may have another form."""
    words = preference.lower().strip(". ").split()
    said = " ".join(words[1:] if len(words) > LONG_SENTENCE else words)
    return said in " ".join(text.lower().split())


def messages_of(value: Mapping[str, Any]) -> list[dict[str, str]]:
    """A conversation in the layout of a history; a request to forget gets no answer of its own, as in the release."""
    messages = [
        {"role": role, "content": turn[role]} for turn in value["turns"] for role in ("user", "assistant")
    ]  # fmt: skip
    if "request" in value:
        messages.append({"role": "user", "content": value["request"]})
    return messages
