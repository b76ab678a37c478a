"""LoCoMo (Maharana et al., arXiv 2402.17753) as released: one JSON list of conversations, each with its questions.

    locomo10.json       [{"sample_id": "conv-26",
                          "conversation": {"speaker_a": ..., "speaker_b": ..., "session_1_date_time": ...,
                                           "session_1": [{"speaker", "dia_id", "text"[, "blip_caption"]}, ...], ...},
                          "qa": [{"question", "answer" or "adversarial_answer", "evidence", "category"}, ...]}, ...]

The sessions of a conversation, in the order of their numbers, become one context: speaker_a is shown as the user and
speaker_b as the assistant, each with the name before the text; the caption of an image stands behind it in brackets.

Categories are numbered as the release's own evaluation treats them (task_eval/evaluation.py): 1 has several answers
that are split at commas, 2 is asked for with a date, 3 needs knowledge of the world, 4 is plain, 5 has no answer.

`data.options.num_options: 4` makes multiple choice of the open questions (locomo_options.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.prompts import LETTERS
from rft.data.readers.cells import CellError, encodable, text_of
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import find_release, read_list, release_name
from rft.data.readers.locomo_options import NOT_MENTIONED, with_options
from rft.data.readers.rows import read_rows
from rft.data.readers.sessions import date_session
from rft.data.readers.tags import yes_or_no
from rft.records import Context, Message, Question, Role

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}

TurnKey = tuple[int, int]
"""Session and turn, both from 1: (3, 11) for `D3:11`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """One conversation.

    Example:
        Conversation(context=Context(...), turns={(1, 1): Message(...)}, qa=[{"question": ..., ...}])
    """

    context: Context
    turns: Mapping[TurnKey, Message]
    """The messages of the context by what evidence calls them."""
    qa: list[Any]
    """Its questions, not checked yet."""


class Locomo(Dataset):
    """Questions about a long conversation of two people; an evaluation alone."""

    splits: ClassVar[tuple[str, ...]] = ("benchmark",)
    eval_split: ClassVar[str] = "benchmark"
    breakdowns: ClassVar[tuple[str, ...]] = ("category", "abstention")
    strata: ClassVar[tuple[str, ...]] = ("category",)

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, ("num_options",), "locomo")
        self.num_options = num_options_of(config.options)
        self.path = find_release(config.source, "locomo", follow_links=config.follow_links)

    @property
    def name(self) -> str:
        release = release_name("locomo", self.path)
        return release if self.num_options is None else f"{release}-{self.num_options}options"

    def split(self, name: str) -> Split:
        self.check_split(name)
        conversations, bad_conversations = self._conversations
        reader = QuestionReader(self.path)
        rows = [row for conversation in conversations for row in numbered_questions(conversation)]
        questions, bad_questions = read_rows(rows, reader.read, self.config.bad_rows)
        if not questions:
            raise ValueError(f"{self.path} holds no usable question; fetch it again")
        if self.num_options is not None:
            questions = with_options(questions, self.num_options)
        manifest = {
            "conversations": len(conversations),
            "evidence_not_found": reader.evidence_not_found,
            "rows_skipped": bad_conversations | bad_questions,
        }
        return Split(name=name, questions=tuple(questions), manifest=manifest)

    def context(self, context_id: str) -> Context:
        for conversation in self._conversations[0]:
            if conversation.context.context_id == context_id:
                return conversation.context
        raise RecordError("context_absent", f"{self.path} has no conversation {context_id}")

    def fingerprint(self) -> str:
        return files_fingerprint([self.path], [self.num_options, self.config.bad_rows])

    @cached_property
    def _conversations(self) -> tuple[list[Conversation], dict[str, int]]:
        """The conversations, and how many were skipped, by reason."""
        samples = enumerate(read_list(self.path, "conversations"))
        return read_rows(samples, ConversationReader(self.path).read, self.config.bad_rows)


def num_options_of(options: Mapping[str, Any]) -> int | None:
    """`data.options.num_options`; None where it is not set, and questions stay open."""
    found = options.get("num_options")
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 2 <= found <= len(LETTERS):
        raise ValueError(f"data.options.num_options must be a whole number from 2 to {len(LETTERS)}, not {found!r}")
    return found


# ---------------------------------------------------------------------------------------------------- conversations


class ConversationReader:
    """Turns the samples of the list into conversations, remembering their ids so that repeats are found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[str, int] = {}

    def read(self, numbered: tuple[int, Any]) -> Conversation:
        """Raises RecordError when the sample cannot be used."""
        number, sample = numbered
        place = f"{self.path} conversation {number} (counted from 0)"
        try:
            conversation = read_conversation(sample)
        except CellError as error:
            raise RecordError("conversation_format", f"{place} {error}") from None
        sample_id = conversation.context.context_id
        first = self.seen.setdefault(sample_id, number)
        if first != number:
            raise RecordError("duplicate", f"{place} repeats sample_id {sample_id} of conversation {first}")
        return conversation


def read_conversation(sample: Any) -> Conversation:
    """One sample, its questions as they are.

    Raises:
        CellError: a key that is absent or holds something else.
    """
    if not isinstance(sample, dict):
        raise CellError("is no object")
    sample_id = text_of(sample, "sample_id")
    stored, qa = sample.get("conversation"), sample.get("qa")
    if not isinstance(stored, dict):
        raise CellError("has no object under conversation")
    if not isinstance(qa, list):
        raise CellError("has no list under qa")
    roles: dict[str, Role] = {text_of(stored, "speaker_a"): "user", text_of(stored, "speaker_b"): "assistant"}
    if len(roles) < 2:
        raise CellError("has the same name for speaker_a and speaker_b")
    messages: list[Message] = []
    turns: dict[TurnKey, Message] = {}
    for name, date, session in sessions_of(stored):
        try:
            shown = date_session(date, [read_turn(turn, roles) for turn in session])
            keys = [turn_keys(text_of(turn, "dia_id")) for turn in session]
        except CellError as error:
            raise CellError(f"{name}: {error}") from None
        messages += [message for message in shown if message]
        turns |= {found[0]: message for message, found in zip(shown, keys, strict=True) if message and found}
    if not messages:
        raise CellError("has no message with text")
    context = Context(context_id=sample_id, cluster=sample_id, messages=tuple(messages))
    return Conversation(context=context, turns=turns, qa=qa)


def sessions_of(stored: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Name, date and turns of each session, in the order of their numbers. Dates of sessions that are not there are
    left out."""
    numbers = sorted(int(key.removeprefix("session_")) for key in stored if re.fullmatch(r"session_[0-9]{1,9}", key))
    for number in numbers:
        name = f"session_{number}"
        if not isinstance(stored.get(name), list):
            raise CellError(f"has no list under {name}")
        yield name, text_of(stored, f"{name}_date_time"), stored[name]


def read_turn(turn: Any, roles: Mapping[str, Role]) -> Message | None:
    """One turn with its speaker's name; None where it has neither text nor the caption of an image."""
    if not isinstance(turn, dict):
        raise CellError("a turn is no object")
    speaker = text_of(turn, "speaker")
    if speaker not in roles:
        raise CellError(f"a turn is spoken by {speaker!r}, but the speakers are {' and '.join(roles)}")
    parts = [turn.get("text") or "", turn.get("blip_caption") or ""]
    if not all(isinstance(part, str) for part in parts):
        raise CellError("a turn's text or blip_caption is not text")
    text, caption = (encodable(part).strip() for part in parts)
    shown = [text] if text else []
    shown += [f"[image: {caption}]"] if caption else []
    return Message(role=roles[speaker], content=f"{speaker}: {' '.join(shown)}") if shown else None


def turn_keys(text: str) -> list[TurnKey]:
    """The turns that a text names: `D3:11`, and as the release also has it `D8:6; D9:17`, `D:11:26`, `D30:05`."""
    return [(int(session), int(turn)) for session, turn in re.findall(r"D:?([0-9]{1,9}):([0-9]{1,9})", text)]


# -------------------------------------------------------------------------------------------------------- questions


def numbered_questions(conversation: Conversation) -> Iterator[tuple[Conversation, int, Any]]:
    for number, item in enumerate(conversation.qa):
        yield conversation, number, item


class QuestionReader:
    """Turns the questions of conversations into records, counting evidence that is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evidence_not_found = 0
        """Turns that evidence names and the conversation does not have, or not with text."""

    def read(self, row: tuple[Conversation, int, Any]) -> Question:
        """Raises RecordError when the question cannot be used."""
        conversation, number, item = row
        sample_id = conversation.context.context_id
        try:
            keys = evidence_keys(item)
            question = read_question(conversation, number, item, keys)
        except CellError as error:
            place = f"{self.path} conversation {sample_id}, question {number} (counted from 0)"
            raise RecordError("question_format", f"{place} {error}") from None
        self.evidence_not_found += sum(key not in conversation.turns for key in keys)
        return question


def read_question(conversation: Conversation, number: int, item: Mapping[str, Any], keys: list[TurnKey]) -> Question:
    """One open question.

    Raises:
        CellError: a key that is absent or holds something else.
    """
    sample_id = conversation.context.context_id
    category = CATEGORIES.get(item["category"]) if isinstance(item.get("category"), int) else None
    if category is None:
        raise CellError(f"has the category {item.get('category')!r} instead of one from 1 to 5")
    adversarial = category == "adversarial"
    tempting = text_of(item, "adversarial_answer") if adversarial and item.get("adversarial_answer") else None
    return Question(
        question_id=f"locomo/{sample_id}/{number}",
        context_id=sample_id,
        cluster=sample_id,
        query=text_of(item, "question"),
        correct_answer=NOT_MENTIONED if adversarial else text_of(item, "answer"),
        evidence=tuple(conversation.turns[key] for key in keys if key in conversation.turns),
        tags={"category": category, "abstention": yes_or_no(adversarial)},
        columns={"adversarial_answer": tempting},
    )


def evidence_keys(item: Any) -> list[TurnKey]:
    """The turns that a question's evidence names, each once."""
    if not isinstance(item, dict):
        raise CellError("is no object")
    found = item.get("evidence") or []
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise CellError("has an evidence that is not a list of texts")
    return list(dict.fromkeys(key for text in found for key in turn_keys(text)))
