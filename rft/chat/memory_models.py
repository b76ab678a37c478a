"""A memory in everyday use, one greedy reply at a time: from a checkpoint on this machine, or from an endpoint."""

from __future__ import annotations

from typing import Protocol

from rft.chat.endpoint import ChatReply, Endpoint
from rft.config import MemoryConfig, ModelConfig, RolloutConfig
from rft.data import prompts
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk
from rft.data.memory_prompts import update_tail
from rft.records import Completion, Message, TurnRequest, UpdateFailure
from rft.rollout.engine import GREEDY
from rft.tasks.memory import MemoryWriter


class MemoryModel(Protocol):
    """Writes memories and answers from them."""

    chat: ChatTemplate
    """Its tokenizer, or one that counts for it."""

    def update(self, chunk: Chunk, memory: str) -> tuple[str, UpdateFailure | None]:
        """The memory after a chunk; where the reply cannot be used the old one, and why."""
        ...

    def answer(self, memory: str, question: str) -> str: ...

    def close(self) -> None: ...


class LocalMemoryModel:
    """A checkpoint through vLLM: the same token ids as in training.

    Raises:
        ValueError: a model that cannot be read, or has no positions for the window.
    """

    def __init__(self, model: ModelConfig, memory: MemoryConfig, max_answer_length: int) -> None:
        from transformers import AutoConfig

        from rft.models import load_tokenizer
        from rft.rollout.vllm_local import open_engine

        try:
            settings = AutoConfig.from_pretrained(model.model_name_or_path, revision=model.model_revision)
            tokenizer = load_tokenizer(model)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"cannot read the model {model.model_name_or_path}: {first}") from None
        self.writer = MemoryWriter(tokenizer, memory)
        self.chat = self.writer.prompts.chat
        self.config = memory
        self.max_answer_length = max_answer_length
        empty = Chunk(text="", token_ids=(0,) * memory.chunk_tokens, first=0, last=0)
        longest = len(self.writer.prompts.update(empty, "", None)) + memory.max_memory_tokens
        window = max(longest + memory.max_update_length, longest + max_answer_length)
        if window > settings.max_position_embeddings:
            raise ValueError(
                f"a window of {window} tokens is longer than the {settings.max_position_embeddings} positions of "
                f"{model.model_name_or_path}; lower --chunk-tokens or --max-memory-tokens"
            )
        self.window = window
        rollout = RolloutConfig(vllm_max_num_seqs=1, vllm_enable_sleep_mode=False)
        self.engine = open_engine(model, rollout, tokenizer, window=window, seed=0)

    def update(self, chunk: Chunk, memory: str) -> tuple[str, UpdateFailure | None]:
        prompt_ids = self.writer.prompts.update(chunk, memory, None)
        update = self.writer.updated(
            prompt_ids, chunk, memory, self.complete(prompt_ids, self.config.max_update_length)
        )
        return update.memory, update.failure

    def answer(self, memory: str, question: str) -> str:
        (question_ids,) = self.writer.prompts.ids(question + self.writer.prompts.footer)
        prompt_ids = self.writer.prompts.answer(memory, question_ids)
        if len(prompt_ids) + self.max_answer_length > self.window:
            raise ValueError(f"memory and question come to {len(prompt_ids)} tokens; shorten them")
        completion = self.complete(prompt_ids, self.max_answer_length)
        return str(self.writer.tokenizer.decode(completion.token_ids, skip_special_tokens=True)).strip()

    def complete(self, prompt_ids: tuple[int, ...], max_tokens: int) -> Completion:
        return self.engine.generate([TurnRequest(prompt_ids=prompt_ids, seed=0, max_tokens=max_tokens)], GREEDY)[0]

    def close(self) -> None:
        self.engine.close()


class EndpointMemoryModel:
    """A model behind an endpoint. `tokenizer` cuts chunks and counts the memory's tokens, so any close one will do."""

    def __init__(self, endpoint: Endpoint, tokenizer: str, memory: MemoryConfig, max_answer_length: int) -> None:
        from rft.models import load_tokenizer

        try:
            loaded = load_tokenizer(ModelConfig(model_name_or_path=tokenizer))
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"cannot read a tokenizer from {tokenizer} ({first}); name one with --tokenizer") from None
        self.endpoint = endpoint
        self.writer = MemoryWriter(loaded, memory)
        self.chat = self.writer.prompts.chat
        self.config = memory
        self.max_answer_length = max_answer_length

    def update(self, chunk: Chunk, memory: str) -> tuple[str, UpdateFailure | None]:
        text = prompts.MEMORY_UPDATE_HEAD + chunk.text + update_tail(memory, None)
        reply = self.endpoint.reply(
            [Message(role="system", content=prompts.MEMORY_SYSTEM_PROMPT), Message(role="user", content=text)],
            self.config.max_update_length,
        )
        rewritten, failure = self.writer.read(reply.text, cut_off=reply.cut_off)
        return (memory if failure else rewritten), failure

    def answer(self, memory: str, question: str) -> str:
        return self.reply(memory, question).text.strip()

    def reply(self, memory: str, question: str) -> ChatReply:
        text = prompts.MEMORY_ANSWER_HEAD.format(memory=memory or prompts.NO_MEMORY) + question
        return self.endpoint.reply(
            [Message(role="system", content=prompts.SYSTEM_PROMPT), Message(role="user", content=text)],
            self.max_answer_length,
        )

    def close(self) -> None:
        self.endpoint.client.close()
