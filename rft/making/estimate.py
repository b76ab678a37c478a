"""How many requests, tokens and how much money a config asks for, before anything is sent.

Lengths are taken from the config's own numbers of words and from the prompts; what models really write differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rft.assembly.blocks import count_tokens
from rft.making.checks import ANSWERS, is_judged
from rft.making.config import MakingConfig, PromptName
from rft.making.plan import Slot, plan_slots
from rft.making.rounds import candidates_of_first_round, wanted_cells, wanted_personas
from rft.making.spending import cost_of
from rft.making.talks import talk_ids

TOKENS = 1.4
"""Per word of plain text, in and around JSON."""
PERSONA_TOKENS, PREFERENCE_TOKENS, LINE_TOKENS = 250, 60, 70
"""Of a persona's card, of one preference with its opposite, of a persona's line in prompts."""
REWRITTEN = 0.5
"""Of the questions, those whose options are asked for in other lengths."""
SYSTEM_TOKENS, STATEMENT_TOKENS, SHORT_REPLY = 60, 20, 15
"""Of the system line, of one sentence about a person, of a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One stage with one model.

    Example:
        Part(stage="questions", model="writer", requests=1_250, prompt_tokens=412_000, completion_tokens=280_000)
    """

    stage: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int

    def cost(self, config: MakingConfig) -> float:
        return cost_of(config.models[self.model], self.prompt_tokens, self.completion_tokens)


def estimate(config: MakingConfig, prompts: Mapping[PromptName, str], slots: Sequence[Slot]) -> list[Part]:
    """
    Args:
        slots: that are tried.
    """
    lengths = {name: int(TOKENS * count_tokens(text)) + SYSTEM_TOKENS for name, text in prompts.items()}
    parts = [*people_parts(config, lengths), *candidate_parts(config, lengths, slots)]
    return parts + [check_part(config, lengths, slots, judge) for judge in config.stages.judges]


def part_of(config: MakingConfig, stage: str, model: str, requests: float, prompt: float, reply: float) -> Part:
    """
    Args:
        prompt: tokens of all prompts.
        reply: tokens of all replies, without thoughts.
    """
    thoughts = requests * config.models[model].thought_tokens / 2
    return Part(
        stage=stage,
        model=model,
        requests=round(requests),
        prompt_tokens=round(prompt),
        completion_tokens=round(reply + thoughts),
    )


def people_parts(config: MakingConfig, lengths: Mapping[PromptName, int]) -> list[Part]:
    stages, numbers = config.stages, set(wanted_personas(config))
    people = len(numbers)
    lists = Counter(
        (slot.persona, slot.source) for slot in plan_slots(config) if slot.source and slot.persona in numbers
    )
    items = sum(lists.values())
    told = [start for count in lists.values() for start in range(0, count, config.preferences_per_request)]
    prompts = (
        people * (lengths["personas"] + 30),
        len(told) * (lengths["preferences"] + LINE_TOKENS) + STATEMENT_TOKENS * sum(told),
    )
    parts = [
        part_of(config, "personas", stages.personas, people, prompts[0], PERSONA_TOKENS * people),
        part_of(config, "preferences", stages.preferences, len(told), prompts[1], PREFERENCE_TOKENS * items),
    ]
    if "conflicts" in config.filters.use:
        prompt = people * lengths["conflicts"] + STATEMENT_TOKENS * items
        parts.append(part_of(config, "conflicts", stages.preferences, people, prompt, 60 * people))
    return parts


def candidate_parts(config: MakingConfig, lengths: Mapping[PromptName, int], slots: Sequence[Slot]) -> list[Part]:
    stages, count = config.stages, len(slots)
    talks = sum(len(talk_ids(slot)) for slot in slots)
    turns = sum(len(talk_ids(slot)) * slot.num_turns for slot in slots)
    told = 2 * turns * TOKENS * config.conversation_words + 20 * talks
    options = options_tokens(config)
    parts = [
        part_of(config, "conversations", stages.conversations, talks,
                talks * (lengths["conversation"] + LINE_TOKENS + STATEMENT_TOKENS), told),
        part_of(config, "questions", stages.questions, count,
                count * (lengths["question"] + 2 * STATEMENT_TOKENS), count * (options + 30)),
    ]  # fmt: skip
    if "lengths" in config.filters.use:
        again = REWRITTEN * count
        prompt = again * (lengths["options"] + options)
        parts.append(part_of(config, "options", stages.questions, again, prompt, again * options))
    return parts


def check_part(config: MakingConfig, lengths: Mapping[PromptName, int], slots: Sequence[Slot], judge: str) -> Part:
    """What one judge reads."""
    talk, options = 2 * TOKENS * config.conversation_words * 4 / 3, options_tokens(config)
    shown: dict[PromptName, float] = {
        "hint": 2 * STATEMENT_TOKENS, "evidence": talk, "reflects": options, "blind": options, "options_only": options,
    }  # fmt: skip
    requests, prompt = 0, 0.0
    for name, tokens in shown.items():
        tries = config.filters.option_orders if name in ANSWERS else 1
        read = tries * sum(is_judged(config.filters, slot.cell, name) for slot in slots)
        requests += read
        prompt += read * (lengths[name] + tokens)
    return part_of(config, "checks", judge, requests, prompt, SHORT_REPLY * requests)


def options_tokens(config: MakingConfig) -> float:
    return 4 * TOKENS * config.option_words + 40


def estimate_as_text(config: MakingConfig, prompts: Mapping[PromptName, str]) -> str:
    """Two estimates: where nothing fails, and where every candidate is tried."""
    first = estimate(config, prompts, candidates_of_first_round(config))
    splits = set(wanted_cells(config))
    last = estimate(config, prompts, [slot for slot in plan_slots(config) if slot.split in splits])
    lines = [f"{'stage':14} {'model':12} {'requests':>9} {'prompt tokens':>14} {'reply tokens':>13} {'cost':>10}"]
    lines += [
        f"{one.stage:14} {one.model:12} {one.requests:9,} {one.prompt_tokens:14,} {one.completion_tokens:13,} "
        f"{one.cost(config):10.4f}"
        for one in first
    ]
    lines += [in_all("one round", config, first), in_all("all candidates, each once", config, last)]
    for key, most in (("max_cost", config.budget.max_cost), ("max_tokens", config.budget.max_tokens)):
        lines.append(f"budget.{key}: {'no limit' if most is None else f'{most:,}'}")
    return "\n".join(lines)


def in_all(what: str, config: MakingConfig, parts: Sequence[Part]) -> str:
    tokens = sum(one.prompt_tokens + one.completion_tokens for one in parts)
    cost = sum(one.cost(config) for one in parts)
    return f"{what}: about {sum(one.requests for one in parts):,} requests, {tokens:,} tokens, cost {cost:.2f}"
