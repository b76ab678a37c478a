"""A context in chunks: what a memory reads, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rft.data.chat_template import ChatTemplate
from rft.records import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive messages of a context as text.

    Example:
        Chunk(text="user: Could you ...\\nassistant: Sure ...\\n", token_ids=(872, 25, 16503), first=0, last=1)
    """

    text: str
    token_ids: tuple[int, ...]
    first: int
    """Index of the first message that is in it, whole or in part."""
    last: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A rendered message, or a part of one that is longer than a chunk."""

    text: str
    token_ids: tuple[int, ...]
    message: int


def cut_chunks(messages: Sequence[Message], chat: ChatTemplate, chunk_tokens: int) -> list[Chunk]:
    """Cuts a context into chunks of at most `chunk_tokens` tokens, as long as whole messages allow.

    A message of the user or the assistant is rendered as a line `role: content`; system messages are
    left out. A message longer than a chunk is cut where it must be.

    Raises:
        ValueError: there is nothing to read.
    """
    pieces = [
        piece
        for index, message in enumerate(messages)
        if message.role != "system"
        for piece in pieces_of(index, message, chat, chunk_tokens)
    ]
    if not pieces:
        raise ValueError("the context has no message of a user or an assistant; there is nothing to remember")
    groups: list[list[Piece]] = [[]]
    room = chunk_tokens
    for piece in pieces:
        if len(piece.token_ids) > room and groups[-1]:
            groups.append([])
            room = chunk_tokens
        groups[-1].append(piece)
        room -= len(piece.token_ids)
    return [
        Chunk(
            text="".join(piece.text for piece in group),
            token_ids=tuple(token for piece in group for token in piece.token_ids),
            first=group[0].message,
            last=group[-1].message,
        )
        for group in groups
    ]


def pieces_of(index: int, message: Message, chat: ChatTemplate, chunk_tokens: int) -> list[Piece]:
    line = f"{message.role}: {message.content}\n"
    (ids,) = chat.encode([chat.quote(line, of_user=True)])
    if len(ids) <= chunk_tokens:
        return [Piece(line, tuple(ids.tolist()), index)]
    # A tokenizer may need a token more for a part than for the same text within the whole.
    for size in range(chunk_tokens, 0, -1):
        texts = chat.cut(line, size)
        encoded = chat.encode([chat.quote(text, of_user=True) for text in texts])
        if all(len(ids) <= chunk_tokens for ids in encoded):
            return [Piece(text, tuple(ids.tolist()), index) for text, ids in zip(texts, encoded, strict=True)]
    raise ValueError(f"a single character takes more than memory.chunk_tokens = {chunk_tokens} tokens; raise it")


def last_message_of(evidence: Sequence[Message], messages: Sequence[Message]) -> int | None:
    """Index of the message of a context that completes `evidence`; None where a part of it is not there.

    The messages of `evidence` are looked for next to each other first, because a short one may occur often.
    """
    wanted, texts = [m.content for m in evidence], [m.content for m in messages]
    if not wanted or not set(wanted) <= set(texts):
        return None
    together = [i for i in range(len(texts) - len(wanted) + 1) if texts[i : i + len(wanted)] == wanted]
    if together:
        return together[-1] + len(wanted) - 1
    return max(index for index, text in enumerate(texts) if text in wanted)


def turn_that_reads(message: int, chunks: Sequence[Chunk]) -> int:
    """Index of the chunk with the end of a message, from the message's index in the context."""
    return max(turn for turn, chunk in enumerate(chunks) if chunk.first <= message <= chunk.last)
