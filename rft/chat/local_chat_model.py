"""A checkpoint that answers chats through vLLM, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from transformers import PreTrainedTokenizerBase

from rft.chat.chat_model import ChatRequest, Tag
from rft.chat.endpoint import ChatReply
from rft.config import Config
from rft.data.chat_template import ChatParts, ChatTemplate
from rft.data.closing import Asking, Closing
from rft.records import Message, Role, TurnRequest
from rft.reward.thoughts import decode_reply, opens_thought
from rft.rollout.engine import Sampling
from rft.rollout.vllm_engine import VllmEngine


class LocalChatModel:
    """A checkpoint on this machine, with the same token ids as in training.

    Args:
        config: `model` and `rollout` say what and how.
        tokenizer: of the model.
        engine: one that holds the model's weights.
        temperature: 0 is greedy.
        batch_size: requests handed to the engine at once.
    """

    def __init__(
        self,
        config: Config,
        tokenizer: PreTrainedTokenizerBase,
        engine: VllmEngine,
        *,
        temperature: float,
        batch_size: int,
    ) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.engine = engine
        self.batch_size = batch_size
        self.sampling = Sampling(temperature=temperature, top_p=config.rollout.top_p, top_k=config.rollout.top_k)
        self.chat = ChatTemplate(tokenizer)
        self._context = lru_cache(maxsize=4)(self._encode_context)
        probe = self.chat.split([Message(role="system", content="")])
        self.thought_open = opens_thought(probe.footer)

    def replies(self, requests: Iterable[ChatRequest[Tag]]) -> Iterator[tuple[Tag, ChatReply]]:
        waiting = iter(requests)
        while batch := list(islice(waiting, self.batch_size)):
            turns = [
                TurnRequest(prompt_ids=self.prompt_ids(one), seed=one.seed, max_tokens=one.max_tokens) for one in batch
            ]
            for request, turn, completion in zip(batch, turns, self.engine.generate(turns, self.sampling), strict=True):
                yield (
                    request.tag,
                    ChatReply(
                        text=decode_reply(self.tokenizer, completion.token_ids),
                        cut_off=completion.finish_reason == "length",
                        prompt_tokens=len(turn.prompt_ids),
                        completion_tokens=len(completion.token_ids),
                        token_ids=completion.token_ids,
                        closed_by=self.closed_by(request.question),
                    ),
                )

    def closed_by(self, question: Asking) -> Role:
        """Role of a chat's last message: a template may take no system message there."""
        return "system" if isinstance(question, Closing) and self.chat.around_system is not None else "user"

    def prompt_ids(self, request: ChatRequest[Any]) -> tuple[int, ...]:
        context, parts = self._context(request.context)
        (question,) = self.chat.encode([parts.tail(request.question)])
        return context + tuple(question.tolist())

    def _encode_context(self, context: tuple[Message, ...]) -> tuple[tuple[int, ...], ChatParts]:
        parts = self.chat.split(context)
        return tuple(self.chat.encode([parts.history])[0].tolist()), parts

    def close(self) -> None:
        self.engine.close()
