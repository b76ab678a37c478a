"""The texts of a synthetic question: query, options, and what the released layout says of its preference."""

from __future__ import annotations

import random
from itertools import repeat

from rft.synthetic import wording as text
from rft.synthetic.personas import Fact


def question_texts(rng: random.Random, fact: Fact, style: text.Style) -> tuple[str, str, list[str]]:
    """Query, right answer, wrong answers with the careless reader's choice first."""
    if fact.kind == "sensitive":
        queries, frame = text.SECRET_QUERIES, rng.choice(text.SECRET_OPTIONS[style])
        right, *wrong = (text.PLACEHOLDERS[style].format(secret=kind) for kind in fact.values)
        right_first = [right, rng.choice(text.LEAKS[style]).format(digits=fact.digits), *wrong]
        query = rng.choice(queries).format(purpose=fact.name)
    else:
        frame = rng.choice(text.OPTIONS[style])
        generic = generic_word(rng, text.STYLE_GENERIC[style], fact.values)
        right_first = {
            "plain": [fact.values[0], *fact.values[1:], generic],
            "updated": list(fact.values),
            "forget": [generic, *fact.values],
            "others": [generic, *fact.values],
        }[fact.kind]
        query = rng.choice(text.QUERIES[text.TOPIC_OF[fact.values[0]].domain]).format(topic=fact.name)
    correct, *incorrect = (frame.format(option=option) for option in right_first)
    return query, correct, incorrect


def generic_word(rng: random.Random, words: tuple[str, ...], values: tuple[str, ...]) -> str:
    """A generic word whose rank in length among three values is drawn first, as near to it as the words allow.

    A generic word is always right for a forgotten preference and another person's. Drawn without regard to length it
    would be the longest option of almost half of these questions, and length alone would answer them.
    """
    offered = values[:3]
    num_longer = rng.randrange(len(offered) + 1)
    shuffled = rng.sample(words, len(words))
    return min(shuffled, key=lambda word: abs(sum(map(longer, offered, repeat(word))) - num_longer))


def longer(value: str, word: str) -> float:
    """Of equal length counts half."""
    return (len(value) > len(word)) + (len(value) == len(word)) / 2


def likes(value: str, topic: str) -> str:
    return f"Goes with {value} when it comes to {topic}"


def preference(fact: Fact) -> str:
    if fact.kind == "sensitive":
        return "sensitive_info"
    if fact.kind == "forget":
        return f"Do not remember '{likes(fact.values[0], fact.name)}' in memory"
    return likes(fact.values[0], fact.name)


def pref_type(fact: Fact, leaning: str) -> str:
    if fact.kind in ("forget", "sensitive"):
        return {"forget": "ask_to_forget", "sensitive": "sensitive_info"}[fact.kind]
    topic = text.TOPIC_OF[fact.values[0]]
    if topic.domain != "life":
        return {
            "neutral": "neutral_preferences",
            "health": "health_and_medical_conditions",
            "therapy": "therapy_background",
        }[topic.domain]
    value_leans = "calm" if topic.values.index(fact.values[0]) < len(topic.values) // 2 else "lively"
    return "stereotypical_pref" if value_leans == leaning else "anti_stereotypical_pref"
