"""How many requests, tokens and how much money a config asks for, before anything is sent.

Lengths are taken from the config's own numbers of words and from the prompts; what models really write differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rft.assembly.blocks import count_tokens
from rft.making.checks import MAX_TOKENS
from rft.making.config import MakingConfig, PromptName
from rft.making.plan import Slot, plan_slots
from rft.making.rounds import candidates_of_first_round, sum_personas
from rft.making.talks import talk_ids

TOKENS = 1.4
"""Per word of plain text, in and around JSON."""
PERSONA_TOKENS, PREFERENCE_TOKENS, LINE_TOKENS = 250, 60, 70
"""Of a persona's card, of one preference with its opposite, of a persona's line in prompts."""
REWRITTEN = 0.5
"""Of the questions, those whose options are asked for in other lengths."""
SHORT_REPLY = 15


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
        source = config.models[self.model]
        return (source.price_in * self.prompt_tokens + source.price_out * self.completion_tokens) / 1e6


def estimate(config: MakingConfig, prompts: Mapping[PromptName, str], slots: Sequence[Slot]) -> list[Part]:
    """
    Args:
        slots: that are tried.
    """
    lengths = {name: int(TOKENS * count_tokens(text)) + 60 for name, text in prompts.items()}
    stages, words = config.stages, TOKENS * config.conversation_words
    options = 4 * TOKENS * config.option_words + 40
    num_people = sum_personas(config)
    lists = Counter((slot.persona, slot.source) for slot in plan_slots(config) if slot.source)
    num_items = sum(lists.values())
    talks = sum(len(talk_ids(slot)) for slot in slots)
    turns = sum(len(talk_ids(slot)) * slot.num_turns for slot in slots)
    with_preference = sum(slot.source is not None for slot in slots)

    def part(stage: str, model: str, requests: float, prompt: float, reply: float) -> Part:
        return Part(
            stage=stage,
            model=model,
            requests=round(requests),
            prompt_tokens=round(prompt),
            completion_tokens=round(reply + requests * config.models[model].thought_tokens / 2),
        )

    personas = num_people * (lengths["personas"] + 30)
    preferences = len(lists) * (lengths["preferences"] + LINE_TOKENS)
    conflicts = num_people * lengths["conflicts"] + 20 * num_items
    conversations = talks * (lengths["conversation"] + LINE_TOKENS + 20)
    parts = [
        part("personas", stages.personas, num_people, personas, PERSONA_TOKENS * num_people),
        part("preferences", stages.preferences, len(lists), preferences, PREFERENCE_TOKENS * num_items),
        part("conversations", stages.conversations, talks, conversations, 2 * turns * words + 20 * talks),
        part("questions", stages.questions, len(slots), len(slots) * (lengths["question"] + 40),
             len(slots) * (options + 30)),
    ]  # fmt: skip
    if "conflicts" in config.filters.use:
        parts.append(part("conflicts", stages.preferences, num_people, conflicts, 60 * num_people))
    if "lengths" in config.filters.use:
        again = REWRITTEN * len(slots)
        parts.append(part("options", stages.questions, again, again * (lengths["options"] + options), again * options))
    for judge in stages.judges:
        requests, prompt = 0, 0.0
        shown = {"hint": 40.0, "evidence": 2 * words * 4 / 3, "reflects": options}
        for name in ("hint", "evidence", "reflects"):
            if name in config.filters.use:
                requests += with_preference
                prompt += with_preference * (lengths[name] + shown[name])
        for name in ("blind", "options_only"):
            if name in config.filters.use:
                count = len(slots) * config.filters.option_orders
                requests += count
                prompt += count * (lengths[name] + options)  # type: ignore[index]
        parts.append(part("checks", judge, requests, prompt, SHORT_REPLY * requests))
    assert SHORT_REPLY < MAX_TOKENS
    return parts


def estimate_as_text(config: MakingConfig, prompts: Mapping[PromptName, str]) -> str:
    """Two estimates: where nothing fails, and where every candidate is tried."""
    first = estimate(config, prompts, candidates_of_first_round(config))
    last = estimate(config, prompts, plan_slots(config))
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
