"""A model's chat template and tokenizer, arranged so that a history is tokenised once for all its questions.

A whole prompt is `history + header + question + footer`. The cut between history and header lies before the last
special token ahead of the question (`<|im_start|>` with Qwen). A tokenizer splits at special tokens first, so the
two sides can be tokenised apart and joined. Rendering the history alone would not do: some templates, Qwen3's among
them, write the last assistant message of a chat differently.

A question may be followed by a system message (`Closing`). Several templates refuse one there, or move it to the
beginning; then its text stands at the end of the user's message.

What a message says is text, also where it says `<|im_end|>`: `quote` breaks the control tokens in it, so that neither
template nor tokenizer sees one, and `encode` reads them as the characters they are made of. A text without any is
quoted as it is, and its tokens are the same.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import jinja2
import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from rft.data.closing import Asking, closing_text
from rft.records import Message

TokenArray = npt.NDArray[np.int32]

PROBE = "@@the question goes here@@"
SYSTEM_PROBE = "@@a system message goes here@@"

ESCAPE, BREAK = "\ufdd0", "\ufdd0\ufdd1"
"""Noncharacters of Unicode, which no text for exchange holds: BREAK stands behind the first character of a quoted
control token, and an ESCAPE that a text holds all the same is doubled."""

ESCAPED = re.compile("\ufdd0([\ufdd0\ufdd1])")

GUARD = "\ufdd2"
"""Stands for the control token before a piece of text: some tokenizers write the very beginning differently."""

THOUGHT_TOKEN = re.compile(r"</?think(?:ing)?>|\[/?THINK\]")
"""Tags that our own questions ask for and templates look for in a reply, so they are quoted where users speak only."""

TAG_LIKE = re.compile(r"[<\[|｜].*[>\]|｜]", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatParts:
    """The text of a chat around its last user message, for `ChatTemplate.encode`.

    Example:
        ChatParts(history="<|im_start|>system\\n...<|im_end|>\\n", header="<|im_start|>user\\n",
                  footer="<|im_end|>\\n<|im_start|>assistant\\n", quote=chat.quote)
    """

    history: str
    header: str
    footer: str
    quote: Callable[[str], str] = field(compare=False, repr=False)
    """`ChatTemplate.quote` of the template it comes from."""
    around_system: tuple[str, str] | None = None
    """What stands before and behind a system message that follows the question; None where the template takes none."""

    def tail(self, question: Asking) -> str:
        """What follows the history, up to where the reply begins."""
        if isinstance(question, str) or self.around_system is None:
            return f"{self.header}{self.quote(closing_text(question))}{self.footer}"
        before, behind = self.around_system
        return f"{self.header}{self.quote(question.user)}{before}{self.quote(question.system)}{behind}"


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
        self._control = {token for token in control_tokens(tokenizer) if token != tokenizer.unk_token}
        self._quoted = pattern_of(control_tokens(tokenizer))
        self._quoted_of_users = pattern_of([*control_tokens(tokenizer), *filter(is_thought, self._markers)])
        identity = [self._encoder.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map]
        self.fingerprint = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()

    def quote(self, text: str, *, of_user: bool = False) -> str:
        """The text as `encode` is to read it where it is what somebody says: control tokens in it are text.

        Args:
            text: without any BREAK yet.
            of_user: a user's own words, in which the tags of a thought are text too.
        """
        pattern = self._quoted_of_users if of_user else self._quoted
        if ESCAPE in text:
            text = text.replace(ESCAPE, ESCAPE + ESCAPE)
        while pattern.search(text):  # again, since tokens may overlap
            text = pattern.sub(lambda found: found[0][0] + BREAK + found[0][1:], text)
        return text

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """Token ids of each text, nothing added; runs on all cores without holding the interpreter."""
        encodings = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [
            np.asarray(self._encode_quoted(text) if ESCAPE in text else encoding.ids, dtype=np.int32)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def _encode_quoted(self, text: str) -> list[int]:
        """Token ids of a text in which something is quoted: its own control tokens part it, as they part any text."""
        encoding = self._encoder.encode(text, add_special_tokens=False)
        unknown = self._tokenizer.unk_token_id
        ids: list[int] = []
        begin = 0
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            content = self._added.get(token_id)
            if content is None or (token_id == unknown and text[start:end].strip() != content):
                continue
            ids += [*self._encode_text(text[begin:start], at_start=begin == 0), token_id]
            begin = end
        return ids + self._encode_text(text[begin:], at_start=begin == 0)

    def _encode_text(self, text: str, *, at_start: bool) -> list[int]:
        """Token ids of what stands between control tokens, each character of it as text."""
        ids = self._text_ids(unquoted(text), at_start=at_start)
        if BREAK in text and any(self._added.get(token_id) in self._control for token_id in ids):
            # A vocabulary of whole words knows the control token as a word: its parts are none.
            parts = ESCAPED.sub(lambda found: found[0] if found[1] == ESCAPE else GUARD, text).split(GUARD)
            ids = [
                token_id
                for number, part in enumerate(parts)
                for token_id in self._text_ids(unquoted(part), at_start=at_start and number == 0)
            ]
        return ids

    def _text_ids(self, text: str, *, at_start: bool) -> list[int]:
        if not text:
            return []
        encoding = self._text_encoder.encode(("" if at_start else GUARD) + text, add_special_tokens=False)
        ids: list[int] = encoding.ids
        return ids if at_start else ids[1:]

    @cached_property
    def _added(self) -> dict[int, str]:
        return {token_id: token.content for token_id, token in self._tokenizer.added_tokens_decoder.items()}

    @cached_property
    def _text_encoder(self) -> Tokenizer:
        """The tokenizer without any added token but GUARD."""
        stored = json.loads(self._encoder.to_str())
        encoder = Tokenizer.from_str(json.dumps({**stored, "added_tokens": []}))
        encoder.add_special_tokens([AddedToken(GUARD, special=True, normalized=False)])
        return encoder

    def ends(self, text: str, first: int, last: int) -> tuple[str, str]:
        """The beginning of what somebody says in at most `first` tokens, and its end in about `last`, no character
        parted and none in both."""
        starts = self._token_starts(text)
        begin = starts[first] if first < len(starts) else len(text)
        end = max(begin, starts[max(0, len(starts) - last)] if last > 0 and starts else len(text))
        return text[:begin], text[end:]

    def _token_starts(self, text: str) -> list[int]:
        """Where the tokens of a text begin, in characters."""
        encoder = self._text_encoder if self._quoted_of_users.search(text) else self._encoder
        return [start for start, _ in encoder.encode(text, add_special_tokens=False).offsets]

    def cut(self, text: str, size: int) -> list[str]:
        """What somebody says in pieces of at most `size` tokens, no character lost."""
        starts = self._token_starts(text)
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
        chat = [*self._dicts(messages), {"role": "user", "content": PROBE}]
        before, probe, footer = self._render(chat).rpartition(PROBE)
        cut = max((before.rfind(marker) for marker in self._markers), default=-1)
        if not probe or cut < 0 or (cut == 0 and messages):
            raise self._unstable("puts no special token between the history and the question")
        return ChatParts(
            history=before[:cut],
            header=before[cut:],
            footer=footer,
            quote=self.quote,
            around_system=self.around_system,
        )

    @cached_property
    def around_system(self) -> tuple[str, str] | None:
        """`ChatParts.around_system`: the same behind every history, and the reply begins as it does after a user."""
        turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]
        found = {self._around_system(history) for history in ([], turns, [{"role": "system", "content": "0"}, *turns])}
        return found.pop() if len(found) == 1 else None

    def _around_system(self, history: list[dict[str, str]]) -> tuple[str, str] | None:
        asked = [*history, {"role": "user", "content": PROBE}]
        try:
            alone = self._render(asked)
            text = self._render([*asked, {"role": "system", "content": SYSTEM_PROBE}])
        except ValueError:
            return None
        head, _, footer = alone.partition(PROBE)
        if not text.startswith(head + PROBE):
            return None
        before, probe, behind = text.removeprefix(head + PROBE).partition(SYSTEM_PROBE)
        return (before, behind) if probe and before and behind == footer else None

    def check(self, messages: Sequence[Message], question: str) -> None:
        """Raises ValueError unless history and tail, tokenised apart, equal the whole chat tokenised at once."""
        parts = self.split(messages)
        history, tail = self.encode([parts.history, parts.tail(question)])
        chat = [*self._dicts(messages), {"role": "user", "content": self.quote(question)}]
        if any(ESCAPE in message["content"] for message in chat):
            (whole,) = self.encode([self._render(chat)])  # the tokenizer's own way would make control tokens of text
        else:
            whole = self._tokenizer.apply_chat_template(
                chat, tokenize=True, add_generation_prompt=True, return_dict=False
            )
        if [*history.tolist(), *tail.tolist()] != list(whole):
            raise self._unstable("is not prefix-stable: history and question tokenised apart differ from the whole")

    def _render(self, chat: list[dict[str, str]]) -> str:
        try:
            text = self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise self._unstable(f"refuses a history ({' '.join(str(error).split())})") from None
        assert isinstance(text, str)
        return text

    def _dicts(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        return [
            {"role": message.role, "content": self.quote(message.content, of_user=message.role == "user")}
            for message in messages
        ]

    def _unstable(self, problem: str) -> ValueError:
        return ValueError(f"the chat template of '{self.name}' {problem}; use a model with a ChatML-like template")


def unquoted(text: str) -> str:
    """What was quoted, as it was."""
    return ESCAPED.sub(lambda found: ESCAPE if found[1] == ESCAPE else "", text) if ESCAPE in text else text


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What must not become a token where a message says it: special tokens, and tags that the chat template writes
    (`<｜User｜>` of DeepSeek is no special one). Other added tokens are words of the vocabulary."""
    template = str(tokenizer.chat_template)
    return [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if not is_thought(token.content)
        and (token.special or (TAG_LIKE.fullmatch(token.content) and token.content in template))
    ]


def is_thought(token: str) -> bool:
    return THOUGHT_TOKEN.fullmatch(token) is not None


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds any of the tokens, the longest where several begin; one of a single character cannot be broken."""
    found = sorted({token for token in tokens if len(token) > 1}, key=lambda token: (-len(token), token))
    return re.compile("|".join(map(re.escape, found)) if found else r"(?!)")
