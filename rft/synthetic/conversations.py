"""The conversations of a synthetic chat history: those that show a fact, and those that mislead."""

from __future__ import annotations

import random
from collections.abc import Sequence

from rft.assembly.blocks import SCENARIOS, Block, exchange
from rft.synthetic import wording as text
from rft.synthetic.personas import Fact


def fact_blocks(rng: random.Random, index: int, fact: Fact, style: text.Style, decoys: float) -> list[Block]:
    """The conversations about one fact; the one that counts (`Block.fact`) is the last that shows its value.

    Args:
        index: of the fact, for `Block.fact`.
        decoys: probability of one more conversation, with a wrong value.
    """
    place = rng.random()
    blocks = []
    if fact.kind == "updated":
        blocks.append(reveal(rng, fact, fact.values[1], place, style))
        place = rng.uniform(place, 1.0)
        blocks.append(reveal(rng, fact, fact.values[0], place, style, update=True))
    elif fact.kind == "forget":
        blocks.append(forget(rng, fact, place))
    elif fact.kind == "sensitive":
        blocks.append(secret(rng, fact.name, fact.values[0], fact.digits, place))
    else:
        if fact.kind == "plain" and style == "full" and rng.random() < 0.15:
            # An interest that is asked about again and again.
            blocks += [reveal(rng, fact, fact.values[0], place * rng.random(), "full", "knowledge_query")]
            blocks.append(reveal(rng, fact, fact.values[0], place, "full", "knowledge_query"))
        else:
            blocks.append(reveal(rng, fact, fact.values[0], place, style))
    blocks[-1].fact = index
    if rng.random() < decoys:
        blocks.append(decoy(rng, fact, style))
    return blocks


def decoy(rng: random.Random, fact: Fact, style: text.Style) -> Block:
    """A wrong value, in a conversation that says nothing about what the user wants."""
    value, place = rng.choice(fact.values[2 if fact.kind == "updated" else 1 :]), rng.random()
    if fact.kind == "sensitive":
        digits = "".join(rng.choices("0123456789", k=6))
        used = [purpose for purpose in text.PURPOSES if purpose != fact.name]
        return secret(rng, f"other {rng.choice(used)}", value, digits, place)
    if fact.kind == "plain" and rng.random() < 0.3:
        other = Fact(kind="others", name=fact.name, values=(value,))
        return reveal(rng, other, value, place, style)
    request = rng.choice(text.WORD_QUESTIONS).format(value=value)
    return Block(place=place, messages=exchange(request, text.WORD_REPLY.format(value=value)))


def reveal(
    rng: random.Random,
    fact: Fact,
    value: str,
    place: float,
    style: text.Style,
    scenario: str | None = None,
    *,
    update: bool = False,
) -> Block:
    """A request in one of the nine scenarios, about a text that shows the value by the way."""
    scenario = scenario or rng.choice(SCENARIOS)
    name, possessive = rng.choice(text.PEOPLE)
    of_others = fact.kind == "others"
    content = passage(rng, detail(rng, fact.name, value, possessive if of_others else "my", style, update), style)
    reply = rng.choice(text.REPLIES)
    if not of_others and scenario not in ("trouble_consult", "knowledge_query") and rng.random() < 0.2:
        request, reply = rng.choice(text.BLANK_REQUESTS), text.QUOTE.format(text=content)
    else:
        requests = text.OTHERS_REQUESTS if of_others else text.REQUESTS
        request = requests[scenario].format(name=name, text=content)
        if style == "full":
            reply = f"{reply} {content} {' '.join(rng.sample(text.TIPS, 2))}"
    return Block(place=place, messages=exchange(request, reply), scenario=scenario)


def detail(rng: random.Random, topic: str, value: str, owner: str, style: text.Style, update: bool) -> str:
    domain = text.TOPIC_OF[value].domain
    templates: Sequence[str] = text.UPDATES if update else text.DETAILS[domain]
    if style == "full" and not update and owner == "my" and rng.random() < 0.5:
        templates = text.FREE_DETAILS[domain]
    return rng.choice(templates).format(my=owner, topic=topic, value=value)


def passage(rng: random.Random, sentence: str, style: text.Style) -> str:
    """The sentence, in the full style among others that do not matter."""
    if style == "brief":
        return f"{sentence}."
    asides = rng.sample(text.ASIDES, rng.randrange(3, 7))
    asides.insert(rng.randrange(len(asides) + 1), f"{sentence[0].upper()}{sentence[1:]}.")
    return " ".join(asides)


def forget(rng: random.Random, fact: Fact, place: float) -> Block:
    """A question that shows the value, a personalised answer, and the request to forget: a user message on its own."""
    sentence = detail(rng, fact.name, fact.values[0], "my", "brief", update=False)
    messages = exchange(
        rng.choice(text.FORGET_REQUESTS).format(text=sentence), text.FORGET_REPLY.format(value=fact.values[0])
    )
    messages.append({"role": "user", "content": rng.choice(text.FORGETS).format(topic=fact.name)})
    return Block(place=place, messages=messages)


def secret(rng: random.Random, purpose: str, secret_kind: str, digits: str, place: float) -> Block:
    request = rng.choice(text.SECRET_REQUESTS).format(purpose=purpose, secret=secret_kind, digits=digits)
    return Block(place=place, messages=exchange(request, text.SECRET_REPLY), scenario="professional_writing")
