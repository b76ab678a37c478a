"""From a file to the messages of one user: reads any known format, puts conversations in time order, chooses one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rft.conversations.conversation import Conversation, counted, joined, shortened
from rft.conversations.files import Values, read_file
from rft.conversations.formats import Format, format_of
from rft.data.readers.cells import CellError
from rft.plain_text import without_control_sequences
from rft.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationFile:
    """What a file holds.

    Example:
        ConversationFile(path=Path("conversations.json"), format="ChatGPT export", conversations=[Conversation(...)],
                         odd=Counter(), several_users=False)
    """

    path: Path
    format: str
    conversations: list[Conversation]
    """In time order, those without any message left out."""
    odd: Counter[str]
    """What was odd about the file as a whole or is left out of it."""
    several_users: bool

    def chosen(self, wanted: str | None) -> list[Conversation]:
        """All of them, or the one that is wanted: by its id, its title, or its number in the list.

        Raises:
            ValueError: it is not there, or not the only one.
        """
        if wanted is None:
            if self.several_users and len(self.conversations) > 1:
                raise ValueError(
                    f"{self.path} ({self.format}) holds {len(self.conversations)} conversations of different people; "
                    f"choose one with --conversation, `list {self.path}` shows them"
                )
            return self.conversations
        return [self.conversations[self.place_of(wanted)]]

    def place_of(self, wanted: str) -> int:
        text = " ".join(wanted.split())
        for places in (
            [place for place, one in enumerate(self.conversations) if one.conversation_id == text],
            [place for place, one in enumerate(self.conversations) if (one.title or "").casefold() == text.casefold()],
        ):
            if len(places) > 1:
                numbers = ", ".join(str(place + 1) for place in places[:10])
                raise ValueError(f"{self.path} has {len(places)} conversations {wanted!r}; choose by number: {numbers}")
            if places and text:
                return places[0]
        if text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= len(self.conversations):
            return int(text) - 1
        raise ValueError(
            f"{self.path} has no conversation {shortened(wanted, 60)!r} among its {len(self.conversations)}; "
            f"`list {self.path}` shows them"
        )

    def messages(self, wanted: str | None = None) -> tuple[list[Message], str]:
        """The messages of what is chosen, one after another, and one line for a person."""
        chosen = self.chosen(wanted)
        messages, left_out = joined(chosen)
        return messages, self.line(len(chosen), len(messages), left_out + self.odd)

    def line(self, num_conversations: int, num_messages: int, left_out: Counter[str]) -> str:
        many = len(self.conversations) > 1
        of_all = f" of {len(self.conversations):,}" if num_conversations < len(self.conversations) else ""
        shown = f", {num_conversations:,}{of_all} conversations" if many else ""
        more = f"; left out: {counted(left_out)}" if counted(left_out) else ""
        plural = "" if num_messages == 1 else "s"
        return one_clean_line(f"{self.path}: {self.format}{shown}, {num_messages:,} message{plural}{more}")

    def summary(self) -> str:
        """One line about the whole file."""
        messages, left_out = joined(self.conversations)
        return self.line(len(self.conversations), len(messages), left_out + self.odd)

    def listing(self) -> list[str]:
        """One line for each conversation: number, date, messages, id and title."""
        return [
            f"{number:>4}  {date_of(one.time)}  {len(one.messages):>5} messages  "
            f"{without_control_sequences(shortened(one.conversation_id or '-', 40))}  "
            f"{without_control_sequences(shortened(one.title or '-', 70))}"
            for number, one in enumerate(self.conversations, 1)
        ]


def read_conversations(path: Path) -> ConversationFile:
    """Reads a file in any format of formats.py.

    Raises:
        ValueError: a file that cannot be read, in no known format, or without a message; one line.
    """
    found = read_file(path)
    try:
        known, conversations = read_values_of(found)
    except CellError as error:
        raise ValueError(one_clean_line(f"{path} {error}")) from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be read") from None
    odd = Counter(found.odd)
    for conversation in conversations:
        if not conversation.messages:
            odd += conversation.left_out
    told = [conversation for conversation in conversations if conversation.messages]
    empty = len(conversations) - len(told) - odd["entries that are no conversation"]
    if not told:
        left_out = f" (left out: {counted(odd)})" if counted(odd) else ""
        raise ValueError(
            one_clean_line(f"{path} ({known.name}) holds no message of a user or an assistant with text{left_out}")
        )
    odd["conversations without a message"] += max(0, empty)
    return ConversationFile(
        path=path,
        format=f"{known.name} ({found.note})" if found.note else known.name,
        conversations=in_time_order(told),
        odd=odd,
        several_users=known.several_users,
    )


def read_values_of(found: Values) -> tuple[Format, list[Conversation]]:
    """The conversations of a file's values, and how they are written.

    Raises:
        CellError: values of no known format, a message that cannot be read.
    """
    payload = found.values[0] if len(found.values) == 1 else found.values
    known, payload = format_of(payload)
    try:
        conversations = known.read(payload)
    except CellError as error:
        named = str(error)
        raise CellError(named if named.startswith("is ") else f"({known.name}): {named}") from None
    if len(found.values) > 1 and not found.note:
        known = replace(known, name=known.name.replace("list of messages", "messages") + " as JSON lines")
    return known, conversations


def in_time_order(conversations: Sequence[Conversation]) -> list[Conversation]:
    """Oldest first; one that does not say when it was stays behind the one before it in the file."""
    times: list[float] = []
    for conversation in conversations:
        before = times[-1] if times else float("-inf")
        times.append(before if conversation.time is None else conversation.time)
    order = sorted(range(len(times)), key=times.__getitem__)
    return [conversations[place] for place in order]


def date_of(time: float | None) -> str:
    if time is None:
        return "-" * 10
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")
    except (OverflowError, OSError, ValueError):
        return "-" * 10


def one_clean_line(text: str) -> str:
    """A message in one line that steers no terminal."""
    return " ".join(without_control_sequences(text).split())
