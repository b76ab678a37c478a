r"""LoCoMo-Plus (arXiv 2602.10715) as released: a JSON list of cues and triggers, beside the conversations of LoCoMo.

    locomo_plus.json    [{"relation_type": "causal", "cue_dialogue": "A: ...\nB: ...", "trigger_query": "A: ...",
                          "time_gap": "two weeks later", ...}, ...]
    locomo10.json       LoCoMo's release (locomo.py), in the same folder

Each cue is put into a conversation as a session of its own, and the trigger is what the user says at the end: nobody
asks, but a reply to it should show that the cue is remembered. There is no reference answer. A judge is told the cue
as what is known of the user, and reads whether the reply shows it.

As in the release's `unified_input.py` and `build_conv.py`: item i goes into conversation i modulo their number, A is
speaker_a, the trigger is said 7 days after the last session, and the cue `time_gap` before the trigger, with months of
30 and years of 365 days, or no days where the text names no number. Differently: days are read too; a literal backslash
and n before `B:`, which some cues have for a line end, is read as one; sessions keep their dates. A number that is part
of another, as in `twenty-one days` or `1.5 years`, is not taken for the whole of it. Where a conversation of LoCoMo
cannot be used, the items that go into it cannot either: the others stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, files_fingerprint
from rft.data.readers.cells import CellError, text_of
from rft.data.readers.data_files import SourceFolder
from rft.data.readers.format_options import check_options
from rft.data.readers.json_release import find_release, read_list, release_name
from rft.data.readers.locomo_conversations import ConversationReader, read_session, sessions_of
from rft.data.readers.rows import read_usable_rows
from rft.data.readers.sessions import date_session
from rft.records import Context, Message, Question, Role

CONVERSATIONS = "locomo10.json"

SESSION_TIME = "%I:%M %p on %d %B, %Y"
"""`1:56 pm on 8 May, 2023`."""

AFTER_LAST_SESSION = timedelta(days=7)

DAYS = {"day": 1, "week": 7, "month": 30, "year": 365}
NUMBERS = {word: number for number, word in enumerate(
    ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"), start=1
)} | {"a": 1, "an": 1}  # fmt: skip
TIME_GAP = re.compile(rf"(?<![\w.,/-])(?<!ty )([0-9]{{1,3}}|{'|'.join(NUMBERS)})\s*({'|'.join(DAYS)})s?\b")
"""`twenty one days` names no number either: `ty ` stands before it."""

SPEAKER = re.compile(r"(?:^|\\n|\n)\s*([AB]):")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One meeting of the two speakers.

    Example:
        Session(time=datetime(2023, 5, 8, 13, 56), messages=(Message(role="user", content="Mia: I hum jazz."), ...))
    """

    time: datetime
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Haystack:
    """A conversation of LoCoMo that cues are put into.

    Example:
        Haystack(sample_id="conv-26", names={"A": "Mia", "B": "Tom"}, sessions=(Session(...), ...))
    """

    sample_id: str
    names: Mapping[str, str]
    """Of the speakers, by what cues call them."""
    sessions: tuple[Session, ...]
    """By time."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Of the conversation (`Context.notes`)."""


class LocomoPlus(Dataset):
    """Things a user says that only make sense to whoever remembers something; an evaluation alone, with a judge."""

    splits: ClassVar[tuple[str, ...]] = ("benchmark",)
    eval_split: ClassVar[str] = "benchmark"
    breakdowns: ClassVar[tuple[str, ...]] = ("relation_type",)
    strata: ClassVar[tuple[str, ...]] = ("relation_type",)

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        check_options(config.options, (), "locomo_plus")
        self.path = find_release(config.source, "locomo_plus", follow_links=config.follow_links)
        self.conversations_path = self.path.parent / CONVERSATIONS
        if not self.conversations_path.is_file():
            raise ValueError(
                f"{self.path.parent} holds no {CONVERSATIONS}, the conversations that cues are put into; fetch it from "
                f"LoCoMo's release and put it beside {self.path.name}"
            )
        SourceFolder(self.path.parent, follow_links=config.follow_links).check(self.conversations_path)

    @property
    def name(self) -> str:
        return release_name("locomo_plus", self.path)

    def split(self, name: str) -> Split:
        self.check_split(name)
        pairs, manifest = self._pairs
        return Split(name=name, questions=tuple(question for question, _ in pairs), manifest=manifest)

    def context(self, context_id: str) -> Context:
        if context_id not in self._contexts:
            raise RecordError("context_absent", f"{self.path} has no item {context_id}")
        return self._contexts[context_id]

    def fingerprint(self) -> str:
        return files_fingerprint([self.path, self.conversations_path], [self.config.bad_rows])

    @cached_property
    def _pairs(self) -> tuple[list[tuple[Question, Context]], dict[str, Any]]:
        """Each question with its context, and what was read and left out."""
        samples = read_list(self.conversations_path, "conversations")
        reader = HaystackReader(self.conversations_path)
        numbered, bad_conversations = read_usable_rows(
            enumerate(samples), reader.read, self.config.bad_rows, self.conversations_path, "conversation"
        )
        items = ItemReader(self.path, dict(numbered), len(samples))
        pairs, bad_items = read_usable_rows(
            enumerate(read_list(self.path, "items")), items.read, self.config.bad_rows, self.path, "item"
        )
        skipped = bad_conversations | bad_items
        return pairs, {"time_gaps_without_a_number": items.time_gaps_without_a_number, "rows_skipped": skipped}

    @cached_property
    def _contexts(self) -> dict[str, Context]:
        return {context.context_id: context for _, context in self._pairs[0]}


# ---------------------------------------------------------------------------------------------------- conversations


class HaystackReader:
    """Turns LoCoMo's samples into sessions with times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.conversations = ConversationReader(path)

    def read(self, numbered: tuple[int, Any]) -> tuple[int, Haystack]:
        """The sample with its number. Raises RecordError when it cannot be used."""
        number, sample = numbered
        context = self.conversations.read(numbered).context
        try:
            return number, read_haystack(context, sample["conversation"])
        except CellError as error:
            place = f"{self.path} conversation {number} (counted from 0)"
            raise RecordError("conversation_format", f"{place} {error}") from None


def read_haystack(context: Context, stored: Mapping[str, Any]) -> Haystack:
    """The sessions of a conversation that `read_conversation` has made `context` of.

    Raises:
        CellError: the time of a session is written in another way.
    """
    names = {"A": text_of(stored, "speaker_a"), "B": text_of(stored, "speaker_b")}
    roles: dict[str, Role] = {names["A"]: "user", names["B"]: "assistant"}
    sessions = []
    for name, date, turns in sessions_of(stored):
        shown = [message for _, message in read_session(name, date, turns, roles)]
        try:
            time = datetime.strptime(date.strip(), SESSION_TIME)
        except ValueError:
            raise CellError(f"{name}_date_time is {date[:40]!r}, not like 1:56 pm on 8 May, 2023") from None
        sessions.append(Session(time=time, messages=tuple(message for message in shown if message)))
    sessions.sort(key=lambda session: session.time)
    return Haystack(sample_id=context.context_id, names=names, sessions=tuple(sessions), notes=context.notes)


# ------------------------------------------------------------------------------------------------------------ items


class ItemReader:
    """Turns cues and triggers into questions with contexts, counting time gaps that name no number.

    Args:
        haystacks: by their numbers, those that can be used.
        num_conversations: of the release, those that cannot be used included.
    """

    def __init__(self, path: Path, haystacks: Mapping[int, Haystack], num_conversations: int) -> None:
        self.path = path
        self.haystacks = haystacks
        self.num_conversations = num_conversations
        self.time_gaps_without_a_number = 0

    def read(self, numbered: tuple[int, Any]) -> tuple[Question, Context]:
        """Raises RecordError when the item cannot be used."""
        number, item = numbered
        place = f"{self.path} item {number} (counted from 0)"
        conversation = number % self.num_conversations
        if conversation not in self.haystacks:
            raise RecordError(
                "conversation_absent", f"{place} goes into conversation {conversation}, which is left out"
            )
        try:
            if not isinstance(item, dict):
                raise CellError("is no object")
            days = days_of(text_of(item, "time_gap"))
            pair = read_item(number, item, self.haystacks[conversation], days or 0)
        except CellError as error:
            raise RecordError("item_format", f"{place} {error}") from None
        self.time_gaps_without_a_number += days is None
        return pair


def read_item(number: int, item: Mapping[str, Any], haystack: Haystack, days: int) -> tuple[Question, Context]:
    """One trigger, and its conversation with the cue in it.

    Args:
        days: from the cue to the trigger.

    Raises:
        CellError: a key that is absent or holds something else; a trigger of more than one turn.
    """
    cue, trigger = (turns_of(text_of(item, key), key, haystack.names) for key in ("cue_dialogue", "trigger_query"))
    if [message.role for message in trigger] != ["user"]:
        raise CellError("trigger_query is not one turn of A")
    try:
        said_at = haystack.sessions[-1].time + AFTER_LAST_SESSION
        cue_at = said_at - timedelta(days=days)
    except OverflowError:
        raise CellError(f"time_gap leads {days} days back, where there is no date") from None
    shown = tuple(message for message in date_session(written_time(cue_at), cue) if message)
    # Stable, so that the cue comes behind a session of the same time.
    sessions = sorted([*haystack.sessions, Session(time=cue_at, messages=shown)], key=lambda session: session.time)
    context_id = f"{haystack.sample_id}/{number}"
    known = "\n".join(message.content for message in cue)
    question = Question(
        question_id=f"locomo_plus/{number}",
        context_id=context_id,
        cluster=haystack.sample_id,
        query=f"[{written_time(said_at)}] {trigger[0].content}",
        correct_answer=known,
        evidence=shown,
        tags={"relation_type": text_of(item, "relation_type")},
        columns={"preference": known},
    )
    messages = tuple(message for session in sessions for message in session.messages)
    context = Context(context_id=context_id, cluster=haystack.sample_id, messages=messages, notes=haystack.notes)
    return question, context


def turns_of(text: str, key: str, names: Mapping[str, str]) -> list[Message]:
    """The turns of a text such as `A: ...` and `B: ...` on two lines, each with its speaker's name; a line that begins
    with neither goes on with the turn before it.

    Raises:
        CellError: the text does not begin with a speaker, or a turn is empty.
    """
    before, *found = SPEAKER.split(text)
    if not found or before.strip():
        raise CellError(f"{key} does not begin with A: or B:")
    roles: dict[str, Role] = {"A": "user", "B": "assistant"}
    turns = [(speaker, said.strip()) for speaker, said in zip(found[::2], found[1::2], strict=True)]
    if not all(said for _, said in turns):
        raise CellError(f"{key} has a turn without text")
    return [Message(role=roles[speaker], content=f"{names[speaker]}: {said}") for speaker, said in turns]


def days_of(time_gap: str) -> int | None:
    """The days of a text such as `about two weeks later`; None where it names no number of days, weeks, months or
    years."""
    found = TIME_GAP.search(time_gap.lower())
    if found is None:
        return None
    number = found[1]
    return (int(number) if number.isdecimal() else NUMBERS[number]) * DAYS[found[2]]


def written_time(time: datetime) -> str:
    """As LoCoMo writes it: `1:56 pm on 8 May, 2023`."""
    return f"{time:%I:%M %p}".lstrip("0").lower() + f" on {time.day} {time:%B, %Y}"
