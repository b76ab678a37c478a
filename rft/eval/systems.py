"""What is compared: each system decides what a question is answered from, the question itself stays the same.

A system is one `System` in `SYSTEMS`, and all that the program knows of it is in that record. Controls see nothing of
what the question is about: a result that they come near to says little about reading the context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rft.data import prompts
from rft.eval.config import CompareConfig
from rft.eval.shown import Shown
from rft.records import Question

if TYPE_CHECKING:
    from rft.eval.material import Material  # seconds to import, and a page of results needs the names alone

SystemKind = Literal["chat", "memory", "rule"]
"""`chat`: a model is shown something and asked. `memory`: a model reads the context in chunks, keeps a memory, and
answers from it (tasks/memory.py). `rule`: no model at all."""

Rule = Callable[[Sequence[str]], int]
"""From the options in the order shown to the index of the chosen one."""

Need = Callable[["Material", Question], str | None]
"""What a question lacks for a system, in words that follow `needs`; None where it lacks nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One way to answer questions.

    Example:
        System(name="full_history", about="the whole context", shows=whole_context, settings=("data.persona_card",))
    """

    name: str
    about: str
    """What a question is answered from."""
    kind: SystemKind = "chat"
    shows: Callable[[Material, Question], Shown] | None = None
    """Of a chat: what stands before the question."""
    rule: Callable[[Material], Rule] | None = None
    """Of a rule: made once, from whatever it has to be fitted to."""
    hides_query: bool = False
    is_control: bool = False
    in_default: bool = False
    """Whether the set `default` has it although it is no control."""
    needs: tuple[Need, ...] = ()
    """What every question must have."""
    needs_tokenizer: bool = False
    """Whether tokens are counted even where an endpoint answers, whatever the config."""
    settings: tuple[str, ...] = ()
    """Config keys that its answers depend on, besides those that all answers do (answer_folder.py)."""
    texts: tuple[str, ...] = ()
    """Words of ours that its model reads, besides those around the question."""
    prepare: Callable[[Material], object] | None = None
    """Reads what may turn out not to be there, so that it is told before any model loads."""

    def __post_init__(self) -> None:
        assert (self.kind == "chat") == (self.shows is not None), "a chat shows something"
        assert (self.kind == "rule") == (self.rule is not None), "a rule chooses"


# --------------------------------------------------------------------------------------------- what systems may need


def lack_of_options(material: Material, question: Question) -> str | None:
    if material.form.shown_order(question):
        return None
    return f"options, and {question.question_id} is asked without any"


def lack_of_evidence(material: Material, question: Question) -> str | None:
    return None if question.evidence else f"evidence, and {question.question_id} names none"


def lack_of_profile(material: Material, question: Question) -> str | None:
    if material.context(question.context_id).profile is not None:
        return None
    return f"the user's profile (persona card), and {question.context_id} has none"


def lack_of_another_cluster(material: Material, question: Question) -> str | None:
    """Another user, where contexts belong to users."""
    if question.context_id in material.stranger_of:
        return None
    return (
        "questions of at least two clusters (users, documents), and those chosen are of one; raise eval.num_questions"
    )


# ----------------------------------------------------------------------------------------------- what chats may show


def whole_context(material: Material, question: Question) -> Shown:
    return material.whole(question.context_id)


def end_of_context(material: Material, question: Question) -> Shown:
    limit = material.config.compare.max_context_tokens
    return material.cut(question.context_id, question.context_id, limit, "truncate_oldest")


def found_by(retriever: str) -> Callable[[Material, Question], Shown]:
    """What a search for the query finds (retrieval.py)."""

    def show(material: Material, question: Question) -> Shown:
        context = material.context(question.context_id)
        messages = [message for message in context.messages if message.role != "system"]
        found = material.retriever(retriever).find(question.context_id, messages, question.query)
        return material.behind_system_line(context, found)

    return show


def evidence_alone(material: Material, question: Question) -> Shown:
    return material.behind_system_line(material.context(question.context_id), question.evidence)


def profile_alone(material: Material, question: Question) -> Shown:
    card = material.context(question.context_id).profile
    assert card is not None, "checked at the start"
    return Shown(messages=(*material.nothing().messages, card))


def no_context(material: Material, question: Question) -> Shown:
    return material.nothing()


def context_of_another(material: Material, question: Question) -> Shown:
    return material.whole(material.stranger_of[question.context_id])


# ------------------------------------------------------------------------------------------------------------- rules


def longest_option(shown: Sequence[str]) -> int:
    """Index of the longest option, the first of several."""
    return max(range(len(shown)), key=lambda index: len(shown[index]))


def shortest_option(shown: Sequence[str]) -> int:
    return min(range(len(shown)), key=lambda index: len(shown[index]))


def most_frequent_letter(questions: Sequence[Question], order_of: Callable[[Question], tuple[int, ...]]) -> int:
    """Index of the letter that is right most often, the first of several."""
    counts = Counter(order_of(question).index(0) for question in questions)
    return min(counts, key=lambda index: (-counts[index], index))


def majority_rule(material: Material) -> Rule:
    """Always the letter that is right most often; where fewer options are shown, the last of them."""
    with_options = [question for question in material.questions_to_fit if question.incorrect_answers]
    letter = most_frequent_letter(with_options or material.questions, material.form.order_of)
    return lambda shown: min(letter, len(shown) - 1)


# ----------------------------------------------------------------------------------------------------------- systems

WHOLE_CONTEXT_SETTINGS = ("data.persona_card", "data.length_policy", "data.max_prompt_length")
RETRIEVAL_SETTINGS = (
    "compare.retrieval_window", "compare.retrieval_overlap", "compare.retrieval_top_k", "compare.retrieval_max_tokens",
    "compare.tokenizer",
)  # fmt: skip
MEMORY_SETTINGS = (
    "memory.chunk_tokens", "memory.max_memory_tokens", "memory.max_update_length", "memory.query_aware",
    "compare.tokenizer",
)  # fmt: skip
MEMORY_TEXTS = (
    prompts.MEMORY_SYSTEM_PROMPT, prompts.MEMORY_UPDATE_HEAD, prompts.MEMORY_UPDATE_TAIL, prompts.MEMORY_QUESTION,
    prompts.SYSTEM_PROMPT, prompts.MEMORY_ANSWER_HEAD, prompts.NO_MEMORY,
)  # fmt: skip

ALL_SYSTEMS = (
    System(
        name="full_history",
        about="the whole context",
        shows=whole_context,
        in_default=True,
        settings=WHOLE_CONTEXT_SETTINGS,
    ),
    System(
        name="truncated_history",
        about="the end of the context, as much as compare.max_context_tokens allow",
        shows=end_of_context,
        needs_tokenizer=True,
        settings=(*WHOLE_CONTEXT_SETTINGS, "compare.max_context_tokens", "compare.tokenizer"),
    ),
    System(
        name="memory",
        about="a memory written chunk by chunk, and nothing else",
        kind="memory",
        needs_tokenizer=True,
        settings=MEMORY_SETTINGS,
        texts=MEMORY_TEXTS,
    ),
    System(
        name="bm25",
        about="the windows of the context that share rare words with the query",
        shows=found_by("bm25"),
        settings=RETRIEVAL_SETTINGS,
        prepare=lambda material: material.retriever("bm25"),
    ),
    System(
        name="embeddings",
        about="the windows of the context whose sentence embeddings are nearest to the query's",
        shows=found_by("embeddings"),
        settings=(*RETRIEVAL_SETTINGS, "compare.embedding_model"),
        prepare=lambda material: material.retriever("embeddings"),
    ),
    System(
        name="evidence_only",
        about="the messages that hold the answer: what a perfect search would find",
        shows=evidence_alone,
        in_default=True,
        needs=(lack_of_evidence,),
    ),
    System(
        name="persona_card",
        about="the profile that the context was written from",
        shows=profile_alone,
        needs=(lack_of_profile,),
    ),
    System(
        name="no_history",
        about="nothing",
        shows=no_context,
        is_control=True,
    ),
    System(
        name="options_only",
        about="nothing, and the query is hidden too",
        shows=no_context,
        hides_query=True,
        is_control=True,
        needs=(lack_of_options,),
    ),
    System(
        name="other_history",
        about="the context of another cluster, such as another user",
        shows=context_of_another,
        is_control=True,
        needs=(lack_of_another_cluster,),
        settings=WHOLE_CONTEXT_SETTINGS,
    ),
    System(
        name="longest_option",
        about="the longest option is chosen",
        kind="rule",
        rule=lambda material: longest_option,
        is_control=True,
        needs=(lack_of_options,),
    ),
    System(
        name="shortest_option",
        about="the shortest option is chosen",
        kind="rule",
        rule=lambda material: shortest_option,
        is_control=True,
        needs=(lack_of_options,),
    ),
    System(
        name="majority_letter",
        about="the letter that is right most often in the train split is chosen",
        kind="rule",
        rule=majority_rule,
        is_control=True,
        needs=(lack_of_options,),
        prepare=lambda material: material.questions_to_fit,
    ),
)

SYSTEMS = {system.name: system for system in ALL_SYSTEMS}

SYSTEM_SETS = {
    "controls": tuple(system.name for system in ALL_SYSTEMS if system.is_control),
    "default": tuple(system.name for system in ALL_SYSTEMS if system.in_default or system.is_control),
    "all": tuple(SYSTEMS),
}
"""Names for several systems."""


# -------------------------------------------------------------------------------------------------------- choosing


def choose_systems(asked: str | Sequence[str]) -> list[System]:
    """The systems behind names and names of sets, `full_history,controls`, each once.

    Raises:
        ValueError: an unknown name.
    """
    found = [system for name in names_in(asked) for system in SYSTEM_SETS.get(name, (name,))]
    unknown = [name for name in found if name not in SYSTEMS]
    if unknown:
        raise ValueError(f"unknown system '{unknown[0]}'; choose of {', '.join((*SYSTEMS, *SYSTEM_SETS))}")
    return [SYSTEMS[name] for name in dict.fromkeys(found)]


def counts_tokens(system: System, compare: CompareConfig) -> bool:
    """Whether tokens are counted for a system even where an endpoint answers."""
    searches = RETRIEVAL_SETTINGS[0] in system.settings
    return system.needs_tokenizer or (searches and compare.retrieval_max_tokens is not None)


def names_in(asked: str | Sequence[str]) -> list[str]:
    return [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)


def fitting_systems(asked: str | Sequence[str], material: Material) -> tuple[list[System], list[str]]:
    """The chosen systems that the questions have everything for, and a line for each that is left out.

    Only what a set stands for is left out; what is named by itself is refused.

    Raises:
        ValueError: a system that is named needs what a question lacks; no system is left.
    """
    fitting, left_out = [], []
    for system in choose_systems(asked):
        lack = first_lack(system, material)
        if lack is None:
            fitting.append(system)
            continue
        if system.name in names_in(asked):
            raise ValueError(f"system {system.name} needs {lack}; leave the system out")
        left_out.append(f"system {system.name} is left out: it needs {lack}")
    if not fitting:
        raise ValueError(f"no system is left to be compared: {left_out[0]}; name others with system=")
    return fitting, left_out


def first_lack(system: System, material: Material) -> str | None:
    """What the first question lacks that cannot be asked in this system; None where all can."""
    lacks = (need(material, question) for question in material.questions for need in system.needs)
    return next((lack for lack in lacks if lack is not None), None)
