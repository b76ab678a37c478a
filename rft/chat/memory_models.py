"""A memory in everyday use, one greedy reply at a time: from a checkpoint on this machine, or from an endpoint."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from rft.chat.endpoint import ChatReply, Endpoint
from rft.chat.failures import PASSING_FAILURES, FailedReply, ReplyFailure
from rft.config import MemoryConfig, ModelConfig, RolloutConfig
from rft.data import prompts
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import Chunk
from rft.data.memory_prompts import update_tail
from rft.records import Completion, Message, TurnRequest, UpdateFailure
from rft.reward.thoughts import decode_reply
from rft.rollout.engine import GREEDY
from rft.tasks.memory import MemoryWriter

if TYPE_CHECKING:
    from rft.rollout.vllm_engine import VllmEngine

Failure = UpdateFailure | ReplyFailure
"""Why a reply is no memory: what it says, or how it ended."""


class MemoryModel(Protocol):
    """Writes memories and answers from them."""

    config: MemoryConfig
    writer: MemoryWriter
    """With its tokenizer, or one that counts for it."""
    thought_open: bool
    """Its replies begin inside a thought."""

    def update(self, chunk: Chunk, memory: str) -> tuple[str, Failure | None]:
        """The memory after a chunk; where the reply cannot be used the old one, and why.

        Raises:
            ValueError: no reply came that says anything of the chunk, so that it has to be asked again.
        """
        ...

    def reply(self, memory: str, question: str) -> ChatReply:
        """Answers from a memory.

        Raises:
            ValueError: no reply came, or memory and question do not fit.
        """
        ...

    def close(self) -> None: ...


class LocalMemoryModel:
    """A checkpoint through vLLM: the same token ids as in training. Its engine starts with the first reply.

    Raises:
        ValueError: a model that cannot be read, or has no positions for the window.
    """

    def __init__(self, model: ModelConfig, memory: MemoryConfig, max_answer_length: int) -> None:
        from transformers import AutoConfig

        from rft.model_folder import check_model_place
        from rft.models import load_tokenizer

        try:
            check_model_place(model.model_name_or_path, model.model_revision)
            settings = AutoConfig.from_pretrained(model.model_name_or_path, revision=model.model_revision)
            tokenizer = load_tokenizer(model)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"cannot read the model {model.model_name_or_path}: {first}") from None
        self.model = model
        self.writer = MemoryWriter(tokenizer, memory)
        self.thought_open = self.writer.thought_open
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

    @cached_property
    def engine(self) -> VllmEngine:
        from rft.rollout.vllm_engine import open_engine

        rollout = RolloutConfig(vllm_max_num_seqs=1, vllm_enable_sleep_mode=False)
        return open_engine(self.model, rollout, self.writer.tokenizer, window=self.window, seed=0)

    def update(self, chunk: Chunk, memory: str) -> tuple[str, Failure | None]:
        prompt_ids = self.writer.prompts.update(chunk, memory, None)
        completion = self.complete(prompt_ids, self.config.max_update_length, "memory and chunk", "--chunk-tokens")
        update = self.writer.updated(prompt_ids, chunk, memory, completion)
        return update.memory, update.failure

    def reply(self, memory: str, question: str) -> ChatReply:
        prompts_of = self.writer.prompts
        (question_ids,) = prompts_of.ids(prompts_of.chat.quote(question) + prompts_of.footer)
        prompt_ids = prompts_of.answer(memory, question_ids)
        completion = self.complete(prompt_ids, self.max_answer_length, "memory and question", "--max-answer-length")
        return ChatReply(
            text=decode_reply(self.writer.tokenizer, completion.token_ids),
            cut_off=completion.finish_reason == "length",
            prompt_tokens=len(prompt_ids),
            completion_tokens=len(completion.token_ids),
            token_ids=completion.token_ids,
        )

    def complete(self, prompt_ids: tuple[int, ...], max_tokens: int, what: str, option: str) -> Completion:
        """One reply; `what` and `option` name what is too long where it does not fit.

        Raises:
            ValueError: it does not fit.
        """
        over = len(prompt_ids) + max_tokens - self.window
        if over > 0:
            raise ValueError(
                f"{what} come to {len(prompt_ids)} tokens, {over} more than fit into the window of {self.window} "
                f"before a reply of {max_tokens}; shorten the memory by as many, or lower {option}"
            )
        return self.engine.generate([TurnRequest(prompt_ids=prompt_ids, seed=0, max_tokens=max_tokens)], GREEDY)[0]

    def close(self) -> None:
        if "engine" in self.__dict__:
            self.engine.close()


class EndpointMemoryModel:
    """A model behind an endpoint. `tokenizer` cuts chunks and counts the memory's tokens, so any close one will do."""

    thought_open = False
    """A server takes the thought's opening away, or leaves it in the reply."""

    def __init__(self, endpoint: Endpoint, tokenizer: str, memory: MemoryConfig, max_answer_length: int) -> None:
        from rft.models import load_tokenizer

        try:
            loaded = load_tokenizer(ModelConfig(model_name_or_path=tokenizer))
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise ValueError(f"cannot read a tokenizer from {tokenizer} ({first}); name one with --tokenizer") from None
        self.endpoint = endpoint
        self.writer = MemoryWriter(loaded, memory)
        self.config = memory
        self.max_answer_length = max_answer_length

    @property
    def chat(self) -> ChatTemplate:
        return self.writer.prompts.chat

    def update(self, chunk: Chunk, memory: str) -> tuple[str, Failure | None]:
        text = prompts.MEMORY_UPDATE_HEAD + chunk.text + update_tail(memory, None)
        reply = self.endpoint.reply(
            [Message(role="system", content=prompts.MEMORY_SYSTEM_PROMPT), Message(role="user", content=text)],
            self.config.max_update_length,
        )
        if reply.failure in PASSING_FAILURES:
            raise FailedReply(reply.failure, reply.detail)
        if reply.failure is not None:
            return memory, reply.failure
        rewritten, failure = self.writer.read(reply.text, cut_off=reply.cut_off, thought_open=self.thought_open)
        return (memory if failure else rewritten), failure

    def reply(self, memory: str, question: str) -> ChatReply:
        text = prompts.MEMORY_ANSWER_HEAD.format(memory=memory or prompts.NO_MEMORY) + question
        return self.endpoint.reply(
            [Message(role="system", content=prompts.SYSTEM_PROMPT), Message(role="user", content=text)],
            self.max_answer_length,
        )

    def close(self) -> None:
        self.endpoint.client.close()
