"""What a question can be answered from: contexts as messages, whole or cut, and what else systems are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, lru_cache

from rft.data.chat_template import ChatTemplate
from rft.data.dataset import Dataset
from rft.data.prompts import context_messages
from rft.data.truncation import DoesNotFitError, TruncationPolicy, truncate
from rft.eval.config import ComparisonConfig
from rft.eval.question_form import QuestionForm
from rft.eval.retrieval import open_retriever
from rft.eval.shown import Shown
from rft.records import Context, Message, Question


class Material:
    """What systems show, made when it is asked for.

    Args:
        config: of the comparison.
        dataset: where contexts come from.
        questions: those that are asked.
        form: how they are asked.
        chat: the model's tokenizer, where contexts may have to be cut.
    """

    def __init__(
        self,
        config: ComparisonConfig,
        dataset: Dataset,
        questions: Sequence[Question],
        form: QuestionForm,
        chat: ChatTemplate | None = None,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.questions = questions
        self.form = form
        self.chat = chat
        self.asked_of: dict[str, list[Question]] = {}
        for question in questions:
            self.asked_of.setdefault(question.context_id, []).append(question)
        self.stranger_of = strangers(questions)
        # Questions of one context come next to each other.
        self.context = lru_cache(maxsize=4)(dataset.context)
        self.whole = lru_cache(maxsize=4)(self._whole)
        self.cut = lru_cache(maxsize=4)(self._cut)
        self.retriever = lru_cache(maxsize=None)(lambda name: open_retriever(name, config.compare, chat))

    def nothing(self) -> Shown:
        """The task's system line alone, where it has one."""
        return self.behind_system_line(Context(context_id="", messages=()), ())

    def behind_system_line(self, context: Context, messages: Sequence[Message]) -> Shown:
        """Chosen messages after the system line that the whole context would have."""
        own = context.messages[:1] if context.messages and context.messages[0].role == "system" else ()
        shown = Context(context_id=context.context_id, messages=(*own, *messages))
        return Shown(messages=tuple(context_messages(shown, self.form.wording, "drop")))

    def _whole(self, context_id: str) -> Shown:
        messages = context_messages(self.context(context_id), self.form.wording, self.config.data.persona_card)
        return Shown(messages=tuple(messages), context_id=context_id)

    def _cut(self, context_id: str, asked_of: str, limit: int, policy: TruncationPolicy) -> Shown:
        """A context without the messages that go over `limit` tokens together with the longest question about
        `asked_of`, which is another context where strangers are shown."""
        assert self.chat is not None, "checked at the start"
        messages = self.whole(context_id).messages
        asked = [self.form.asking(question) for question in self.asked_of[asked_of]]
        (tokens,) = self.chat.encode([self.chat.split(messages).history])
        try:
            found = truncate(self.chat, messages, asked, len(tokens), limit, policy)
        except DoesNotFitError as error:
            raise ValueError(f"{context_id}: {error}, the limit is {limit}; raise it") from None
        return Shown(messages=tuple(found.messages), messages_dropped=found.num_dropped, context_id=context_id)

    @cached_property
    def questions_to_fit(self) -> Sequence[Question]:
        """Those of the train split, for systems that are fitted to something; the asked ones where there is none.

        Raises:
            ValueError: the train split cannot be read.
        """
        if "train" not in self.dataset.splits:
            return self.questions
        try:
            return self.dataset.split("train").questions
        except ValueError as error:
            raise ValueError(
                f"majority_letter is fitted to the train split: {error}; or leave majority_letter out of system"
            ) from None


def strangers(questions: Sequence[Question]) -> dict[str, str]:
    """By context, the context of another cluster: a rotation in the order of a hash, so that it is always the same."""
    owners = {question.context_id: question.cluster for question in questions}
    ordered = sorted(owners, key=lambda context_id: hashlib.sha256(f"stranger {context_id}".encode()).digest())
    found = {}
    for place, context_id in enumerate(ordered):
        others = [*ordered[place + 1 :], *ordered[:place]]
        stranger = next((other for other in others if owners[other] != owners[context_id]), None)
        if stranger is not None:
            found[context_id] = stranger
    return found
