"""A model's chat template and tokenizer, arranged so that a history is tokenised once for all its questions.

A whole prompt is `history + header + question + footer`. The cut between history and header lies before the last
special token ahead of the question (`<|im_start|>` with Qwen). A tokenizer splits at special tokens first, so the
two sides can be tokenised apart and joined. Rendering the history alone would not do: some templates, Qwen3's among
them, write the last assistant message of a chat differently.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from rft.records import Message

TokenArray = npt.NDArray[np.int32]

PROBE = "@@the question goes here@@"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatParts:
    """The text of a chat around its last user message.

    Example:
        ChatParts(history="<|im_start|>system\\n...<|im_end|>\\n", header="<|im_start|>user\\n",
                  footer="<|im_end|>\\n<|im_start|>assistant\\n")
    """

    history: str
    header: str
    footer: str

    def tail(self, question: str) -> str:
        """What follows the history, up to where the reply begins."""
        return f"{self.header}{question}{self.footer}"


class ChatTemplate:
    """Renders chats, splits them and turns text into token ids; `fingerprint` changes when any of that does.

    Raises:
        ValueError: the tokenizer has no chat template, or no Rust backend.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = str(tokenizer.name_or_path)
        if not tokenizer.chat_template:
            raise ValueError(f"the tokenizer of '{self.name}' has no chat template; choose an instruct model")
        if not tokenizer.is_fast:
            raise ValueError(f"the tokenizer of '{self.name}' has no tokenizer.json; convert it to a fast tokenizer")
        self._tokenizer = tokenizer
        # A copy, because transformers switches truncation and padding of its own on and off.
        self._encoder = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._encoder.no_truncation()
        self._encoder.no_padding()
        self._markers = [token.content for token in tokenizer.added_tokens_decoder.values()]
        identity = [self._encoder.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map]
        self.fingerprint = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """Token ids of each text, nothing added; runs on all cores without holding the interpreter."""
        encodings = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]

    def cut(self, text: str, size: int) -> list[str]:
        """The text in pieces of at most `size` tokens, no character lost."""
        starts = [start for start, _ in self._encoder.encode(text, add_special_tokens=False).offsets]
        cuts, token = [0], size
        while token < len(starts):
            # A character of several tokens starts where the first of them does.
            cuts.append(starts[token])
            token = max(bisect_left(starts, starts[token]) + size, bisect_right(starts, starts[token]))
        return [text[begin:end] for begin, end in itertools.pairwise([*cuts, len(text)]) if end > begin]

    def split(self, messages: Sequence[Message]) -> ChatParts:
        """The parts of a chat made of `messages` and one more user message.

        Raises:
            ValueError: the template refuses the messages, leaves the question out or has no special token before it.
        """
        before, probe, footer = self._render([*messages, Message(role="user", content=PROBE)]).rpartition(PROBE)
        cut = max((before.rfind(marker) for marker in self._markers), default=-1)
        if not probe or cut < 0 or (cut == 0 and messages):
            raise self._unstable("puts no special token between the history and the question")
        return ChatParts(history=before[:cut], header=before[cut:], footer=footer)

    def check(self, messages: Sequence[Message], question: str) -> None:
        """Raises ValueError unless history and tail, tokenised apart, equal the whole chat tokenised at once."""
        parts = self.split(messages)
        history, tail = self.encode([parts.history, parts.tail(question)])
        chat = self._dicts([*messages, Message(role="user", content=question)])
        whole = self._tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False)
        if [*history.tolist(), *tail.tolist()] != list(whole):
            raise self._unstable("is not prefix-stable: history and question tokenised apart differ from the whole")

    def _render(self, messages: Sequence[Message]) -> str:
        try:
            text = self._tokenizer.apply_chat_template(
                self._dicts(messages), tokenize=False, add_generation_prompt=True
            )
        except jinja2.TemplateError as error:
            raise self._unstable(f"refuses a history ({' '.join(str(error).split())})") from None
        assert isinstance(text, str)
        return text

    def _dicts(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        return [{"role": message.role, "content": message.content} for message in messages]

    def _unstable(self, problem: str) -> ValueError:
        return ValueError(f"the chat template of '{self.name}' {problem}; use a model with a ChatML-like template")
