"""LoCoMo (Maharana et al., arXiv 2402.17753) as released: one JSON list of conversations, each with its questions.

    locomo10.json       [{"sample_id": "conv-26",
                          "conversation": {"speaker_a": ..., "speaker_b": ..., "session_1_date_time": ...,
                                           "session_1": [{"speaker", "dia_id", "text"[, "blip_caption"]}, ...], ...},
                          "qa": [{"question", "answer" or "adversarial_answer", "evidence", "category"}, ...]}, ...]

The sessions of a conversation, in the order of their numbers, become one context (locomo_conversations.py).

Categories are numbered as the release's own evaluation treats them (task_eval/evaluation.py): 1 has several answers
that are split at commas, 2 is asked for with a date, 3 needs knowledge of the world, 4 is plain, 5 has no answer.

`data.options.num_options: 4` makes multiple choice of the open questions (locomo_options.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.prompts import LETTERS
from rft.data.readers.cells import CellError, text_of, whole_number
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import find_release, read_list, release_name
from rft.data.readers.locomo_conversations import Conversation, ConversationReader, TurnKey, turn_keys
from rft.data.readers.locomo_options import NOT_MENTIONED, with_options
from rft.data.readers.rows import read_usable_rows
from rft.data.readers.tags import yes_or_no
from rft.records import Context, Question

CATEGORIES = {1: "multi_hop", 2: "temporal", 3: "open_domain", 4: "single_hop", 5: "adversarial"}


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
        questions, bad_questions = read_usable_rows(rows, reader.read, self.config.bad_rows, self.path, "question")
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
        reader = ConversationReader(self.path)
        return read_usable_rows(samples, reader.read, self.config.bad_rows, self.path, "conversation")


def num_options_of(options: Mapping[str, Any]) -> int | None:
    """`data.options.num_options`; None where it is not set, and questions stay open."""
    found = options.get("num_options")
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool) or not 2 <= found <= len(LETTERS):
        raise ValueError(f"data.options.num_options must be a whole number from 2 to {len(LETTERS)}, not {found!r}")
    return found


# -------------------------------------------------------------------------------------------------------- questions


def numbered_questions(conversation: Conversation) -> Iterator[tuple[Conversation, int, Any]]:
    for number, item in enumerate(conversation.qa):
        yield conversation, number, item


class QuestionReader:
    """Turns the questions of conversations into records, counting evidence that is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evidence_not_found = 0
        """Turns that evidence names and the conversation does not have, or not with text; texts that name no turn."""

    def read(self, row: tuple[Conversation, int, Any]) -> Question:
        """Raises RecordError when the question cannot be used."""
        conversation, number, item = row
        sample_id = conversation.context.context_id
        try:
            keys, num_unreadable = evidence_keys(item)
            question = read_question(conversation, number, item, keys)
        except CellError as error:
            place = f"{self.path} conversation {sample_id}, question {number} (counted from 0)"
            raise RecordError("question_format", f"{place} {error}") from None
        self.evidence_not_found += num_unreadable + sum(key not in conversation.turns for key in keys)
        return question


def read_question(conversation: Conversation, number: int, item: Mapping[str, Any], keys: list[TurnKey]) -> Question:
    """One open question.

    Raises:
        CellError: a key that is absent or holds something else.
    """
    sample_id = conversation.context.context_id
    category = CATEGORIES.get(whole_number(item.get("category")) or 0)
    if category is None:
        raise CellError(f"has the category {str(item.get('category'))[:40]!r} instead of one from 1 to 5")
    adversarial = category == "adversarial"
    has_tempting = adversarial and item.get("adversarial_answer") not in (None, "")
    tempting = text_of(item, "adversarial_answer") if has_tempting else None
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


def evidence_keys(item: Any) -> tuple[list[TurnKey], int]:
    """The turns that a question's evidence names, each once, and how many of its texts name none."""
    if not isinstance(item, dict):
        raise CellError("is no object")
    found = [] if item.get("evidence") is None else item["evidence"]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise CellError("has an evidence that is not a list of texts")
    named = [turn_keys(text) for text in found]
    return list(dict.fromkeys(key for keys in named for key in keys)), named.count([])
