"""A data set in the released layout of PersonaMem-v2, written without any model or network.

    write_dataset("out", num_personas=1000, questions_per_persona=25, history_tokens=32_000, seed=0)

What each question is about is drawn first (`Fact`), then the conversations that show it (`Block`) among filler.

No shortcut: the values a question offers are drawn together and one of them is then made the right one, all options
share one sentence, and per 25 questions the generic reply is right in 4 of the 17 that offer it. So the longest, the
shortest, the most frequent or the generic option is right about one time in four.

For the kinds that a careless reader gets wrong, `incorrect_answers[0]` is what such a reader picks: the value that was
replaced, that was to be forgotten, that is another person's, or the number that should stay hidden. Options are
shuffled when they are shown, so the position in the file gives nothing away.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm.auto import tqdm

from rft.synthetic import filler
from rft.synthetic import wording as text

Kind = Literal["plain", "updated", "forget", "others", "sensitive"]
Style = Literal["full", "brief"]
Window = Literal["32k", "128k"]

KINDS: dict[Kind, int] = {"plain": 13, "updated": 5, "forget": 2, "others": 2, "sensitive": 3}
"""How many of 25 questions are of each kind."""

WINDOW_FACTOR: dict[Window, int] = {"32k": 1, "128k": 4}
"""Length of a window's histories as a multiple of `history_tokens`."""

TOKEN = re.compile(r"\d|[^\W\d]+|[^\w\s]")

TOPIC_OF = {value: topic for topic in text.TOPICS for value in topic.values}


def count_tokens(content: str) -> int:
    """Words, digits and punctuation marks: close to what a large tokenizer makes of such plain text."""
    return len(TOKEN.findall(content))


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


@dataclass(slots=True, kw_only=True)
class Block:
    """One conversation; blocks stand in a history in the order of `place`, a number in [0, 1)."""

    place: float
    messages: list[dict[str, str]]
    fact: int | None = None
    """Which fact this is the evidence of."""
    scenario: str = "knowledge_query"
    relevant: bool = True
    tokens: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum(count_tokens(message["content"]) for message in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a persona's history and questions depend on, besides its number."""

    questions_per_persona: int
    history_tokens: int
    seed: int
    style: Style
    decoys: float
    windows: tuple[Window, ...]


def write_dataset(
    root: str | Path,
    *,
    num_personas: int,
    questions_per_persona: int = 25,
    history_tokens: int = 32_000,
    seed: int = 0,
    style: Style = "full",
    decoys: float = 0.5,
    num_val_personas: int | None = None,
    num_benchmark_personas: int | None = None,
    windows: Sequence[Window] = ("32k",),
    progress: bool = False,
) -> None:
    """Writes benchmark/text/{train,val,benchmark}.csv and data/chat_history_<window>/*.json under `root`.

    The same arguments write the same bytes. The three files share no persona. `raw_persona_file` and the links of
    windows that are not written name files that do not exist.

    Args:
        history_tokens: content tokens (`count_tokens`) up to which filler is added to a 32k history; a 128k one takes
            four times as many. What the questions are about is always there, about 7,000 tokens for 25 questions in
            the full style, 50 a question in the brief one.
        style: `full` has long texts as in the release, `brief` fits many questions into a few hundred tokens.
        decoys: probability that a wrong value of a question is mentioned in the history, too.
        num_val_personas, num_benchmark_personas: a tenth of the personas each by default.

    Raises:
        ValueError: more questions than topics, too few personas.
    """
    settings = Settings(
        questions_per_persona=questions_per_persona,
        history_tokens=history_tokens,
        seed=seed,
        style=style,
        decoys=decoys,
        windows=tuple(windows),
    )
    num_val = max(1, num_personas // 10) if num_val_personas is None else num_val_personas
    num_benchmark = max(1, num_personas // 10) if num_benchmark_personas is None else num_benchmark_personas
    num_train = num_personas - num_val - num_benchmark
    check(settings, num_train, num_val, num_benchmark)
    root = Path(root)
    for window in settings.windows:
        (root / f"data/chat_history_{window}").mkdir(parents=True, exist_ok=True)
    (root / "benchmark/text").mkdir(parents=True, exist_ok=True)
    start = 0
    with tqdm(total=num_personas, desc="write personas", disable=not progress) as bar:
        for name, count in (("train", num_train), ("val", num_val), ("benchmark", num_benchmark)):
            with (root / f"benchmark/text/{name}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                writer.writeheader()
                for persona_id in range(start, start + count):
                    writer.writerows(write_persona(root, persona_id, settings))
                    bar.update()
            start += count


def check(settings: Settings, num_train: int, num_val: int, num_benchmark: int) -> None:
    if min(num_train, num_val, num_benchmark) < 1:
        raise ValueError(f"{num_train} train, {num_val} val, {num_benchmark} benchmark personas: each needs at least 1")
    most = len(text.STYLE_TOPICS[settings.style])
    if not 1 <= settings.questions_per_persona <= most:
        asked = settings.questions_per_persona
        raise ValueError(f"questions_per_persona is {asked}; the {settings.style} style has topics for 1 to {most}")


# ---------------------------------------------------------------------------------------------------- one persona


def write_persona(root: Path, persona_id: int, settings: Settings) -> list[dict[str, Any]]:
    """Writes the histories of one persona and returns its CSV rows."""
    rng = random.Random(f"persona {settings.seed} {persona_id}")
    persona = draw_persona(rng)
    facts = draw_facts(rng, kinds_of(persona_id, settings), text.STYLE_TOPICS[settings.style])
    blocks = [block for index, fact in enumerate(facts) for block in fact_blocks(rng, index, fact, settings)]
    columns: list[dict[str, Any]] = [{} for _ in facts]
    for window in WINDOW_FACTOR:
        link = f"data/chat_history_{window}/chat_history_seed{settings.seed}_persona{persona_id}.json"
        numbers: list[dict[str, Any]] = [
            dict.fromkeys((f"{name}_{window}" for name in NUMBER_COLUMNS), 0) for _ in facts
        ]
        if window in settings.windows:
            budget = settings.history_tokens * WINDOW_FACTOR[window]
            numbers = write_history(rng, root / link, persona_id, persona, blocks, window, budget, settings.style)
        for row, number in zip(columns, numbers, strict=True):
            row |= {f"chat_history_{window}_link": link} | number
    shown = {block.fact: block for block in sorted(blocks, key=lambda block: block.place) if block.fact is not None}
    return [
        row | question_columns(rng, persona_id, persona, fact, shown[index], settings.style)
        for index, (row, fact) in enumerate(zip(columns, facts, strict=True))
    ]


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


def kinds_of(persona_id: int, settings: Settings) -> list[Kind]:
    """The kinds of a persona's questions. Every 25 questions in a row, across personas, hold `KINDS` exactly."""
    deck = [kind for kind, count in KINDS.items() for _ in range(count)]
    first = persona_id * settings.questions_per_persona
    kinds = []
    for index in range(first, first + settings.questions_per_persona):
        block, position = divmod(index, len(deck))
        kinds.append(random.Random(f"kinds {settings.seed} {block}").sample(deck, len(deck))[position])
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


# -------------------------------------------------------------------------------------------------- conversations


def fact_blocks(rng: random.Random, index: int, fact: Fact, settings: Settings) -> list[Block]:
    """The conversations about one fact; the one that counts (`Block.fact`) is the last that shows its value."""
    place = rng.random()
    blocks = []
    if fact.kind == "updated":
        blocks.append(reveal(rng, fact, fact.values[1], place, settings.style))
        place = rng.uniform(place, 1.0)
        blocks.append(reveal(rng, fact, fact.values[0], place, settings.style, update=True))
    elif fact.kind == "forget":
        blocks.append(forget(rng, fact, place))
    elif fact.kind == "sensitive":
        blocks.append(secret(rng, fact.name, fact.values[0], fact.digits, place))
    else:
        if fact.kind == "plain" and settings.style == "full" and rng.random() < 0.15:
            # An interest that is asked about again and again.
            blocks += [reveal(rng, fact, fact.values[0], place * rng.random(), "full", "knowledge_query")]
            blocks.append(reveal(rng, fact, fact.values[0], place, "full", "knowledge_query"))
        else:
            blocks.append(reveal(rng, fact, fact.values[0], place, settings.style))
    blocks[-1].fact = index
    if rng.random() < settings.decoys:
        blocks.append(decoy(rng, fact, settings.style))
    return blocks


def decoy(rng: random.Random, fact: Fact, style: Style) -> Block:
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
    style: Style,
    scenario: str | None = None,
    *,
    update: bool = False,
) -> Block:
    """A request in one of the nine scenarios, about a text that shows the value by the way."""
    scenario = scenario or rng.choice(text.SCENARIOS)
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


def detail(rng: random.Random, topic: str, value: str, owner: str, style: Style, update: bool) -> str:
    domain = TOPIC_OF[value].domain
    templates: Sequence[str] = text.UPDATES if update else text.DETAILS[domain]
    if style == "full" and not update and owner == "my" and rng.random() < 0.5:
        templates = text.FREE_DETAILS[domain]
    return rng.choice(templates).format(my=owner, topic=topic, value=value)


def passage(rng: random.Random, sentence: str, style: Style) -> str:
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


def exchange(request: str, reply: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": request}, {"role": "assistant", "content": reply}]


# ------------------------------------------------------------------------------------------------------- histories


def write_history(
    rng: random.Random,
    path: Path,
    persona_id: int,
    persona: dict[str, Any],
    blocks: Sequence[Block],
    window: str,
    budget: int,
    style: Style,
) -> list[dict[str, Any]]:
    """Writes `blocks` among filler up to `budget` tokens; returns each fact's token counts, in order of the facts."""
    card = {"role": "system", "content": persona_card(persona, style)}
    total = count_tokens(card["content"]) + sum(block.tokens for block in blocks)
    blocks = [*blocks, *fill(rng, budget - total, style)]
    blocks.sort(key=lambda block: block.place)
    total += sum(block.tokens for block in blocks if not block.relevant)
    irrelevant = sum(block.tokens for block in blocks if not block.relevant)
    messages = [card, *(message for block in blocks for message in block.messages)]
    metadata = {
        "total_messages": len(messages),
        "final_token_count": total,
        "persona_id": persona_id,
        "input_filename": raw_persona_file(persona_id),
    }
    if window == "128k":
        metadata |= {"num_relevant_tokens": total - irrelevant, "num_irrelevant_tokens": irrelevant}
    payload = {"metadata": metadata, "chat_history": messages}
    path.write_text(json.dumps(payload, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", newline="\n")
    distances: dict[int, int] = {}
    behind = 0
    for block in reversed(blocks):
        behind += block.tokens
        if block.fact is not None:
            distances[block.fact] = behind
    counts = (total, total - irrelevant, irrelevant)
    names = [f"{name}_{window}" for name in NUMBER_COLUMNS]
    return [dict(zip(names, (*counts, distances[index]), strict=True)) for index in sorted(distances)]


def fill(rng: random.Random, budget: int, style: Style) -> list[Block]:
    """Filler conversations, until the next one would not fit."""
    blocks: list[Block] = []
    draw = filler.full_filler if style == "full" else filler.brief_filler
    while True:
        block = Block(place=rng.random(), messages=exchange(*draw(rng)), relevant=False)
        budget -= block.tokens
        if budget < 0:
            return blocks
        blocks.append(block)


def persona_card(persona: dict[str, Any], style: Style) -> str:
    if style == "brief":
        return f"You talk with this person: {persona['short_persona']['persona']}."
    return f"You talk with this person:\n\n{expanded_persona(persona)}\n\nLet your replies fit the person."


def expanded_persona(persona: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in persona.items() if key != "leaning"}, indent=2)


def raw_persona_file(persona_id: int) -> str:
    return f"data/raw_data/raw_data_synthetic_persona{persona_id}.json"


# -------------------------------------------------------------------------------------------------------- CSV rows

NUMBER_COLUMNS = (
    "total_tokens_in_chat_history",
    "num_persona_relevant_tokens",
    "num_persona_irrelevant_tokens",
    "distance_from_related_snippet_to_query",
)

COLUMNS = (
    "persona_id",
    "chat_history_32k_link",
    "chat_history_128k_link",
    "raw_persona_file",
    "short_persona",
    "expanded_persona",
    "user_query",
    "correct_answer",
    "incorrect_answers",
    "topic_query",
    "preference",
    "topic_preference",
    "conversation_scenario",
    "pref_type",
    "related_conversation_snippet",
    "who",
    "updated",
    "prev_pref",
    "sensitive_info",
    "total_tokens_in_chat_history_32k",
    "total_tokens_in_chat_history_128k",
    "distance_from_related_snippet_to_query_32k",
    "distance_from_related_snippet_to_query_128k",
    "num_persona_relevant_tokens_32k",
    "num_persona_relevant_tokens_128k",
    "num_persona_irrelevant_tokens_32k",
    "num_persona_irrelevant_tokens_128k",
)


def question_columns(
    rng: random.Random, persona_id: int, persona: dict[str, Any], fact: Fact, shown: Block, style: Style
) -> dict[str, Any]:
    """The columns of one question that do not depend on the window."""
    query, correct, incorrect = question_texts(rng, fact, style)
    return {
        "persona_id": persona_id,
        "raw_persona_file": raw_persona_file(persona_id),
        "short_persona": repr(persona["short_persona"]),
        "expanded_persona": expanded_persona(persona),
        "user_query": repr({"role": "user", "content": query}),
        "correct_answer": correct,
        "incorrect_answers": json.dumps(incorrect),
        "topic_query": fact.name,
        "preference": preference(fact),
        "topic_preference": fact.name,
        "conversation_scenario": shown.scenario,
        "pref_type": pref_type(fact, persona["leaning"]),
        "related_conversation_snippet": json.dumps(shown.messages, ensure_ascii=False),
        "who": "others" if fact.kind == "others" else "self",
        "updated": fact.kind == "updated",
        "prev_pref": likes(fact.values[1], fact.name) if fact.kind == "updated" else "",
        "sensitive_info": fact.kind == "sensitive",
    }


def question_texts(rng: random.Random, fact: Fact, style: Style) -> tuple[str, str, list[str]]:
    """Query, right answer, wrong answers with the careless reader's choice first."""
    if fact.kind == "sensitive":
        queries, frame = text.SECRET_QUERIES, rng.choice(text.SECRET_OPTIONS[style])
        right, *wrong = (text.PLACEHOLDERS[style].format(secret=kind) for kind in fact.values)
        right_first = [right, text.LEAKS[style].format(digits=fact.digits), *wrong]
        query = rng.choice(queries).format(purpose=fact.name)
    else:
        frame = rng.choice(text.OPTIONS[style])
        generic = rng.choice(text.GENERIC)
        right_first = {
            "plain": [fact.values[0], *fact.values[1:], generic],
            "updated": list(fact.values),
            "forget": [generic, *fact.values],
            "others": [generic, *fact.values],
        }[fact.kind]
        query = rng.choice(text.QUERIES[TOPIC_OF[fact.values[0]].domain]).format(topic=fact.name)
    correct, *incorrect = (frame.format(option=option) for option in right_first)
    return query, correct, incorrect


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
    topic = TOPIC_OF[fact.values[0]]
    if topic.domain != "life":
        return {
            "neutral": "neutral_preferences",
            "health": "health_and_medical_conditions",
            "therapy": "therapy_background",
        }[topic.domain]
    value_leans = "calm" if topic.values.index(fact.values[0]) < len(topic.values) // 2 else "lively"
    return "stereotypical_pref" if value_leans == leaning else "anti_stereotypical_pref"
