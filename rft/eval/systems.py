"""What is compared: each system decides what a question is answered from, the question itself stays the same.

    full_history        the whole history
    truncated_history   the end of it, evaluate.max_context_tokens long
    memory              a memory written chunk by chunk (tasks/memory.py), and nothing else
    bm25, embeddings    the windows of the history that a search for the query finds (retrieval.py)
    evidence_only       the messages that show the preference: what a perfect search would find
    persona_card        the profile that the history was written from
    no_history          nothing
    options_only        nothing, and the query is hidden too
    other_history       the history of another persona
    longest_option, shortest_option, majority_letter     no model at all

The last six are controls. A result that they come near to says little about personalization.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from rft.data import prompts
from rft.data.benchmarks import Benchmark
from rft.data.chat_template import ChatTemplate
from rft.data.truncation import TruncationPolicy, truncate
from rft.eval.retrieval import Retriever
from rft.records import History, Message, Question

MEMORY = "memory"

Context = tuple[Message, ...]
"""What stands before the question: a system line, and what the system shows of the user. Equal for questions that can
share it, so that an engine computes it once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A context, and how many messages had to be left out of it.

    Example:
        Shown(messages=(Message(role="system", content="..."), ...), messages_dropped=0, history_id="data/...json")
    """

    messages: Context
    messages_dropped: int = 0
    history_id: str | None = None
    """Whose history it is, where it is one."""


class Material:
    """What contexts are made of.

    Args:
        benchmark: questions and histories.
        questions: those that are asked.
        persona_card: `drop` or `keep`, for systems that show a history.
        question_text: a question as it will be asked, where histories may have to be cut to leave room for it.
        chat: the model's tokenizer, where histories may have to be cut.
        retrievers: by system.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        questions: Sequence[Question],
        *,
        persona_card: str,
        question_text: Callable[[Question], str] | None = None,
        chat: ChatTemplate | None = None,
        retrievers: dict[str, Retriever] | None = None,
    ) -> None:
        self.benchmark = benchmark
        self.persona_card = persona_card
        self.question_text = question_text or self._boxed
        self.chat = chat
        self.retrievers = retrievers or {}
        self.asked_of: dict[str, list[Question]] = {}
        for question in questions:
            self.asked_of.setdefault(question.history_id, []).append(question)
        self.stranger_of = strangers(questions)
        # Questions of one history come next to each other.
        self.history = lru_cache(maxsize=4)(benchmark.history)
        self.whole = lru_cache(maxsize=4)(self._whole)
        self.cut = lru_cache(maxsize=4)(self._cut)

    def _whole(self, history_id: str) -> Shown:
        messages = prompts.history_messages(self.history(history_id), self.persona_card)
        return Shown(messages=tuple(messages), history_id=history_id)

    def _boxed(self, question: Question) -> str:
        return prompts.question_message(question, self.benchmark.option_order(question)).content

    def _cut(self, history_id: str, asked_of: str, limit: int, policy: TruncationPolicy) -> Shown:
        """A history without the messages that go over `limit` tokens together with the longest question about
        `asked_of`, which is another history where strangers are shown."""
        assert self.chat is not None, "checked at the start"
        messages = self.whole(history_id).messages
        asked = [self.question_text(question) for question in self.asked_of[asked_of]]
        (tokens,) = self.chat.encode([self.chat.split(messages).history])
        found = truncate(self.chat, messages, asked, len(tokens), limit, policy)
        if found is None:
            raise ValueError(f"{history_id}: its questions alone are longer than {limit} tokens; raise the limit")
        return Shown(messages=tuple(found.messages), messages_dropped=found.num_dropped, history_id=history_id)


def strangers(questions: Sequence[Question]) -> dict[str, str]:
    """By history, the history of another persona: a rotation in the order of a hash, so that it is always the same."""
    owners = {question.history_id: question.persona_id for question in questions}
    ordered = sorted(owners, key=lambda history_id: hashlib.sha256(f"stranger {history_id}".encode()).digest())
    found = {}
    for place, history_id in enumerate(ordered):
        others = [*ordered[place + 1 :], *ordered[:place]]
        stranger = next((other for other in others if owners[other] != owners[history_id]), None)
        if stranger is not None:
            found[history_id] = stranger
    return found


# ---------------------------------------------------------------------------------------------- systems with a model


def no_history(material: Material, question: Question) -> Shown:
    return Shown(messages=(Message(role="system", content=prompts.SYSTEM_PROMPT),))


def full_history(material: Material, question: Question) -> Shown:
    return material.whole(question.history_id)


def other_history(material: Material, question: Question) -> Shown:
    if question.history_id not in material.stranger_of:
        raise ValueError("system other_history needs questions of at least two personas; raise eval.num_questions")
    return material.whole(material.stranger_of[question.history_id])


def evidence_only(material: Material, question: Question) -> Shown:
    if not question.evidence:
        raise ValueError(f"system evidence_only: {question.question_id} names no evidence; leave the system out")
    return with_system_line(question.evidence)


def persona_card(material: Material, question: Question) -> Shown:
    return with_system_line([card_of(material.history(question.history_id))])


def card_of(history: History) -> Message:
    first = history.messages[0]
    if first.role != "system":
        raise ValueError(f"system persona_card: {history.history_id} has no card; leave the system out")
    return first


def with_system_line(messages: Sequence[Message]) -> Shown:
    return Shown(messages=(Message(role="system", content=prompts.SYSTEM_PROMPT), *messages))


def retrieved(name: str) -> Callable[[Material, Question], Shown]:
    def show(material: Material, question: Question) -> Shown:
        history = material.history(question.history_id)
        messages = [message for message in history.messages if message.role != "system"]
        return with_system_line(material.retrievers[name].find(question.history_id, messages, question.query))

    return show


CONTEXTS: dict[str, Callable[[Material, Question], Shown]] = {
    "full_history": full_history,
    "truncated_history": full_history,  # cut where the limit is known (ask.py)
    "bm25": retrieved("bm25"),
    "embeddings": retrieved("embeddings"),
    "evidence_only": evidence_only,
    "persona_card": persona_card,
    "no_history": no_history,
    "options_only": no_history,
    "other_history": other_history,
}

NO_QUERY = frozenset({"options_only"})
"""Systems that hide the query."""


# ------------------------------------------------------------------------------------------- systems without a model


def longest_option(options: Sequence[str]) -> int:
    """Index of the longest option, the first of several."""
    return max(range(len(options)), key=lambda index: len(options[index]))


def shortest_option(options: Sequence[str]) -> int:
    return min(range(len(options)), key=lambda index: len(options[index]))


def majority_letter(questions: Sequence[Question], order_of: Callable[[Question], tuple[int, ...]]) -> int:
    """Index of the letter that is right most often, the first of several."""
    counts = Counter(order_of(question).index(0) for question in questions)
    return min(counts, key=lambda index: (-counts[index], index))


BY_LENGTH: dict[str, Callable[[Sequence[str]], int]] = {
    "longest_option": longest_option,
    "shortest_option": shortest_option,
}

RULES = (*BY_LENGTH, "majority_letter")

CONTROLS = ("no_history", "options_only", "other_history", *RULES)

SYSTEMS = (*CONTEXTS, MEMORY, *RULES)

SETS = {
    "controls": CONTROLS,
    "default": ("full_history", "evidence_only", *CONTROLS),
    "all": SYSTEMS,
}
"""Names for several systems."""


def choose_systems(asked: str | Sequence[str]) -> list[str]:
    """The systems behind names and names of sets, `full_history,controls`, each once.

    Raises:
        ValueError: an unknown name.
    """
    names = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    found = [system for name in names for system in SETS.get(name, (name,))]
    unknown = [name for name in found if name not in SYSTEMS]
    if unknown:
        raise ValueError(f"unknown system '{unknown[0]}'; choose of {', '.join((*SYSTEMS, *SETS))}")
    return list(dict.fromkeys(found))
