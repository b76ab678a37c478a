"""The config of `rft/make_data.py llm`: which data, by which models, at which cost."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from rft.assembly.table import Window
from rft.config_schema import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
    Share,
    ShareOrZero,
    Text,
    section,
)
from rft.eval.config import EndpointConfig

PromptName = Literal[
    "personas",
    "preferences",
    "conflicts",
    "conversation",
    "conversation_others",
    "conversation_forget",
    "conversation_secret",
    "question",
    "question_updated",
    "question_others",
    "question_forget",
    "question_secret",
    "options",
    "hint",
    "evidence",
    "reflects",
    "blind",
    "options_only",
]

Filter = Literal["conflicts", "near_duplicate", "hint", "evidence", "reflects", "blind", "options_only", "lengths"]

Kind = Literal[
    "stereotypical_pref",
    "anti_stereotypical_pref",
    "neutral_preferences",
    "health_and_medical_conditions",
    "therapy_background",
    "ask_to_forget",
    "sensitive_info",
]
"""Of a question: the values of the column pref_type."""

ALL_FILTERS: tuple[Filter, ...] = (
    "conflicts",
    "near_duplicate",
    "hint",
    "evidence",
    "reflects",
    "blind",
    "options_only",
    "lengths",
)


@section
class SplitSize:
    """One table of the data set; no persona is in two of them."""

    personas: NonNegativeInt = 0
    questions: NonNegativeInt = 0
    """In all, not per persona."""


@section
class SplitsConfig:
    """How much is made."""

    train: SplitSize = field(default_factory=SplitSize)
    val: SplitSize = field(default_factory=SplitSize)
    benchmark: SplitSize = field(default_factory=SplitSize)


@section
class ModelSource:
    """One model that is asked, and what it costs."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """Where it is. `concurrency` is the most requests in flight; how many there are adapts to the endpoint."""
    price_in: NonNegativeFloat = 0.0
    """Money per million tokens of prompts."""
    price_out: NonNegativeFloat = 0.0
    """Money per million tokens of replies."""
    structured: Literal["json_schema", "json_schema_strict", "json_object", "none"] = "json_schema"
    """How JSON is asked for: by a schema with all its bounds (vLLM decodes within it), by one without the bounds of
    texts (OpenAI's strict mode), as any object, or in words alone. Every reply is checked either way."""
    thought_tokens: NonNegativeInt = 0
    """Added to the limit of each reply, for a model that thinks first."""


@section
class StagesConfig:
    """Which model does what, by its name in `models`."""

    personas: Text = "writer"
    preferences: Text = "writer"
    conversations: Text = "writer"
    questions: Text = "writer"
    judges: list[Text] = field(default_factory=lambda: ["writer"])
    """They check the questions; a question is dropped where more than half of those that gave a verdict say so."""


@section
class KindsConfig:
    """How often each kind of question occurs, as weights; the kinds are those of arXiv 2512.06688."""

    stereotypical_pref: NonNegativeFloat = 12.0
    anti_stereotypical_pref: NonNegativeFloat = 17.0
    neutral_preferences: NonNegativeFloat = 17.0
    health_and_medical_conditions: NonNegativeFloat = 11.0
    therapy_background: NonNegativeFloat = 12.0
    ask_to_forget: NonNegativeFloat = 21.0
    sensitive_info: NonNegativeFloat = 10.0
    others: ShareOrZero = 0.15
    """Of the first five kinds: how many are about somebody else."""
    updated: ShareOrZero = 0.25
    """Of the user's own among them, without therapy: how many replace an earlier preference."""


@section
class ExemptConfig:
    """Kinds of question that a filter does not judge; the report counts them."""

    hint: list[Kind] = field(default_factory=list)
    evidence: list[Kind] = field(default_factory=list)
    reflects: list[Kind] = field(default_factory=list)
    blind: list[Kind] = field(default_factory=lambda: ["sensitive_info"])
    """A secret's right option leaves a blank, which is right with and without the history."""
    options_only: list[Kind] = field(default_factory=lambda: ["sensitive_info"])


@section
class FiltersConfig:
    """What a question has to pass."""

    use: list[Filter] = field(default_factory=lambda: list(ALL_FILTERS))
    """Those that are applied (docs/making_data.md)."""
    exempt: ExemptConfig = field(default_factory=ExemptConfig)
    option_orders: PositiveInt = 2
    """Of blind and options_only: orders of the options that each judge sees."""
    most_blind_right: ShareOrZero = 0.5
    """Of blind: a question that is answered rightly in a larger share of the tries is dropped."""
    duplicate_ratio: Share = 0.9
    """Of near_duplicate: two questions whose texts are so alike (difflib's ratio) are one."""


@section
class BudgetConfig:
    """What may be spent. A run that is stopped here goes on when it is raised."""

    max_cost: PositiveFloat | None = None
    """Money, by the models' prices; no request is sent that could go beyond."""
    max_tokens: PositiveInt | None = None
    """Tokens of prompts and replies."""
    candidates_per_persona: PositiveInt = 60
    """Questions tried per persona at most, those that fail included."""
    attempts: PositiveInt = 3
    """Requests for the same thing, while what comes back cannot be used."""


@section
class HistoryConfig:
    """The chat histories."""

    windows: dict[Window, PositiveInt] = field(default_factory=lambda: {"32k": 32_000})
    """The layout's two names and the tokens up to which each is filled (`rft.assembly.blocks.count_tokens`)."""
    filler: Text | None = None
    """A JSON lines file of {"user": ..., "assistant": ...} that say nothing of the user; null has sums, lists, code."""


@section
class MakingConfig:
    """A data set in the layout of PersonaMem-v2, made by language models."""

    output_dir: Text = "made"
    """The data set is in its folder `dataset`, every request and its reply in `calls`."""
    seed: Seed = 0
    seed_sentences: Text | None = None
    """A text file, one person per line, or JSON lines with "persona"; null makes sentences from word lists."""
    domain: Text = "everyday life, in any field"
    """What users and assistant talk about; it stands in the prompts."""
    language: Text = "English"
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    models: dict[Text, ModelSource] = field(default_factory=dict)
    """By names of your own; `stages` says which does what."""
    stages: StagesConfig = field(default_factory=StagesConfig)
    kinds: KindsConfig = field(default_factory=KindsConfig)
    filters: FiltersConfig = field(default_factory=FiltersConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    prompts: dict[PromptName, Text] = field(default_factory=dict)
    """Files that replace prompts of rft/making/prompts.py."""
    preferences_per_request: PositiveInt = 10
    """How many preferences of a persona one request brings at most; those after it are told what is there already."""
    temperature: NonNegativeFloat | None = 1.0
    """Of what is written; checks are greedy. Null leaves it to the endpoint."""
    conversation_words: PositiveInt = 150
    """About how long a message of a conversation is, in words."""
    option_words: PositiveInt = 35
    """About how long an option is."""
    on_change: Literal["refuse", "restart"] = "refuse"
    """With another config than the one that output_dir was made with: name what changed, or make the stages that it
    touches anew; what was there is kept as calls/STAGE.jsonl.before."""
