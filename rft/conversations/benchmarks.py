"""Data sets whose conversations a memory is tried on: their histories without their questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rft.conversations.conversation import Conversation, Transcript
from rft.conversations.turns import is_turn, items_of, read_each, read_turns, say_turn
from rft.data.readers.cells import CellError
from rft.data.readers.locomo_conversations import read_conversation
from rft.data.readers.sessions import date_session


def is_personamem_history(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("chat_history"), list)


def is_personamem(payload: Any) -> bool:
    return any(is_personamem_history(item) for item in items_of(payload)[:3])


def read_personamem(payload: Any) -> list[Conversation]:
    """PersonaMem-v2's histories, one file per persona."""

    def read(item: Mapping[str, Any]) -> Conversation:
        metadata = item.get("metadata")
        about = {"id": metadata.get("persona_id")} if isinstance(metadata, dict) else {}
        return read_turns(item["chat_history"], about)

    return read_each(payload, is_personamem_history, read)


def is_longmemeval_item(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("haystack_sessions"), list)


def is_longmemeval(payload: Any) -> bool:
    return any(is_longmemeval_item(item) for item in items_of(payload)[:3])


def read_longmemeval(payload: Any) -> list[Conversation]:
    """Each question has sessions of its own; the first message of a session says when it was."""

    def read(item: Mapping[str, Any]) -> Conversation:
        dates = item.get("haystack_dates")
        whole = Transcript()
        for number, session in enumerate(item["haystack_sessions"]):
            if not isinstance(session, list):
                raise CellError(f"session {number} is no list of messages")
            transcript = Transcript(turns=whole.turns)
            for turn in session:
                say_turn(transcript, turn)
            date = dates[number] if isinstance(dates, list) and number < len(dates) else None
            shown = date_session(date, transcript.messages) if isinstance(date, str) and date else transcript.messages
            whole.messages += [message for message in shown if message is not None]
            whole.left_out += transcript.left_out
            whole.turns = transcript.turns
        return whole.conversation(conversation_id=item.get("question_id"), title=item.get("question"))

    return read_each(payload, is_longmemeval_item, read)


def is_locomo_sample(item: Any) -> bool:
    stored = item.get("conversation") if isinstance(item, dict) else None
    return isinstance(stored, dict) and "speaker_a" in stored and not is_turn(stored)


def is_locomo(payload: Any) -> bool:
    return any(is_locomo_sample(item) for item in locomo_items(payload)[:3])


def locomo_items(payload: Any) -> list[Any]:
    """The samples of a file, also where it is the conversation of one."""
    alone = isinstance(payload, dict) and "speaker_a" in payload
    return [{"conversation": payload}] if alone else items_of(payload)


def read_locomo(payload: Any) -> list[Conversation]:
    """Two people, read as the data set's own reader does: speaker_a is the user, each message begins with a name."""

    def read(item: Mapping[str, Any]) -> Conversation:
        found = read_conversation({"sample_id": "conversation", **item, "qa": []})
        names = [item["conversation"].get(key) for key in ("speaker_a", "speaker_b")]
        transcript = Transcript(messages=list(found.context.messages))
        return transcript.conversation(conversation_id=item.get("sample_id"), title=" and ".join(map(str, names)))

    return read_each(locomo_items(payload), is_locomo_sample, read)
