"""The token ids of a memory's updates and of the answers from it."""

from __future__ import annotations

from rft.data import prompts
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk
from rft.records import Message


class MemoryPrompts:
    """Token ids of updates and answers. What siblings share comes first, each part tokenised apart."""

    def __init__(self, chat: ChatTemplate) -> None:
        self.chat = chat
        update = chat.split([Message(role="system", content=prompts.MEMORY_SYSTEM_PROMPT)])
        answer = chat.split([Message(role="system", content=prompts.SYSTEM_PROMPT)])
        self.footer = update.footer
        (self.update_head,) = self.ids(update.history + update.header + prompts.MEMORY_UPDATE_HEAD)
        before, self.after_memory = prompts.MEMORY_ANSWER_HEAD.split("{memory}")
        (self.answer_head,) = self.ids(answer.history + answer.header + before)

    def update(self, chunk: Chunk, memory: str, query: str | None) -> tuple[int, ...]:
        """Asks for the memory after `chunk`; with `query` the question it is for stands behind the memory."""
        shown = self.chat.quote(memory, of_user=True)
        tail = update_tail(shown, None if query is None else self.chat.quote(query, of_user=True))
        return self.update_head + chunk.token_ids + self.ids(tail + self.footer)[0]

    def answer(self, memory: str, question_ids: tuple[int, ...]) -> tuple[int, ...]:
        """Asks a question, whose own token ids come last, from `memory`."""
        shown = self.chat.quote(memory, of_user=True) or prompts.NO_MEMORY
        return self.answer_head + self.ids(shown + self.after_memory)[0] + question_ids

    def ids(self, *texts: str) -> list[tuple[int, ...]]:
        return [tuple(ids.tolist()) for ids in self.chat.encode(texts)]


def update_tail(memory: str, query: str | None) -> str:
    """What follows the chunk in an update's message."""
    tail = prompts.MEMORY_UPDATE_TAIL.format(memory=memory or prompts.NO_MEMORY)
    return tail if query is None else tail + prompts.MEMORY_QUESTION.format(query=query)
