"""The conversations of LoCoMo's release (arXiv 2402.17753, locomo.py): numbered sessions become one context.

speaker_a is shown as the user and speaker_b as the assistant, each with the name before the text; the caption of an
image stands behind it in brackets. Turns with neither are left out, and that is counted, as are turns that share a
dia_id: evidence means the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError, encodable, text_of
from rft.data.readers.sessions import date_session, places_note
from rft.plain_text import has_text
from rft.records import Context, Message, Role

SESSION = re.compile(r"session_([0-9]{1,9})")

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
    said = [turn for name, date, session in sessions_of(stored) for turn in read_session(name, date, session, roles)]
    messages = tuple(message for _, message in said if message)
    if not messages:
        raise CellError("has no message with text")
    turns, notes = index_turns(sample_id, said)
    context = Context(context_id=sample_id, cluster=sample_id, messages=messages, notes=notes)
    return Conversation(context=context, turns=turns, qa=qa)


def sessions_of(stored: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Name, date and turns of each session, in the order of their numbers. Dates of sessions that are not there are
    left out.

    Raises:
        CellError: no turns or no date; two sessions of one number; turns that belong to no session.
    """
    names: dict[int, str] = {}
    for name, value in stored.items():
        if (found := SESSION.fullmatch(name)) is not None:
            if (other := names.setdefault(int(found[1]), name)) != name:
                raise CellError(f"has both {other} and {name}")
        elif isinstance(value, list) and any(isinstance(turn, dict) and "text" in turn for turn in value):
            raise CellError(f"has turns under {name[:40]!r}, which is not like session_1")
    for _, name in sorted(names.items()):
        if not isinstance(stored[name], list):
            raise CellError(f"has no list under {name}")
        yield name, text_of(stored, f"{name}_date_time"), stored[name]


def read_session(
    name: str, date: str, session: Sequence[Any], roles: Mapping[str, Role]
) -> list[tuple[str, Message | None]]:
    """The dia_id of each turn, and its message or None; of a session without turns its name."""
    if not session:
        return [(name, None)]
    try:
        shown = date_session(date, [read_turn(turn, roles) for turn in session])
        return [(text_of(turn, "dia_id"), message) for turn, message in zip(session, shown, strict=True)]
    except CellError as error:
        raise CellError(f"{name}: {error}") from None


def index_turns(
    sample_id: str, said: Iterable[tuple[str, Message | None]]
) -> tuple[dict[TurnKey, Message], dict[str, str]]:
    """The messages by their turns, and notes on turns that cannot be found by evidence."""
    turns: dict[TurnKey, Message] = {}
    silent, repeated = [], []
    for dia_id, message in said:
        key = next(iter(turn_keys(dia_id)), None)
        if message is None:
            silent.append(dia_id)
        elif key is not None and turns.setdefault(key, message) is not message:
            repeated.append(dia_id)
    notes = {}
    if silent:
        notes["messages_without_text"] = places_note(
            sample_id, "sessions without turns, and turns without text or caption, are left out", silent
        )
    if repeated:
        notes["turn_ids_repeated"] = places_note(sample_id, "turns have the dia_id of an earlier one", repeated)
    return turns, notes


def read_turn(turn: Any, roles: Mapping[str, Role]) -> Message | None:
    """One turn with its speaker's name; None where it has neither text nor the caption of an image."""
    if not isinstance(turn, dict):
        raise CellError("a turn is no object")
    speaker = text_of(turn, "speaker")
    if speaker not in roles:
        raise CellError(f"a turn is spoken by {speaker!r}, but the speakers are {' and '.join(roles)}")
    parts = [turn.get("text"), turn.get("blip_caption")]
    if not all(isinstance(part, str | None) for part in parts):
        raise CellError("a turn's text or blip_caption is not text")
    text, caption = (encodable(part).strip() if part and has_text(part) else "" for part in parts)
    shown = [text] if text else []
    shown += [f"[image: {caption}]"] if caption else []
    return Message(role=roles[speaker], content=f"{speaker}: {' '.join(shown)}") if shown else None


def turn_keys(text: str) -> list[TurnKey]:
    """The turns that a text names: `D3:11`, and as the release also has it `D8:6; D9:17`, `D:11:26`, `D30:05`."""
    return [(int(session), int(turn)) for session, turn in re.findall(r"D:?([0-9]{1,9}):([0-9]{1,9})", text)]
