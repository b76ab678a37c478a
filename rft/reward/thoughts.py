"""One reader of thoughts, for training, evaluation, the judge and the memory: what a model thought, what it answered.

A thought is what stands between an opening tag and its closing tag. The tags are those that published models write:

    <think>, <thinking>, <thought>, <reasoning>, <reflection>, <scratchpad>, <analysis>, <inner_monologue>, ...
                                                  (ANGLE_NAMES) in any case, with spaces (`<think >`), with attributes
                                                  (`<think id="1">`), and with a name space before (<seed:think> of
                                                  Seed-OSS, <mm:think> of MiniMax)
    [THINK] ... [/THINK]                          Magistral
    ◁think▷ ... ◁/think▷                          Kimi-VL
    <|open|>think<|sep|> ... <|close|>think<|sep|>    Kimi K3
    <|channel|>analysis ... <|channel|>final      gpt-oss; without its special tokens: `analysis...assistantfinal...`
    <|channel>thought ... <channel|>              Gemma 4
    <unused94>thought ... <unused95>              MedGemma
    <|START_THINKING|> ... <|END_THINKING|>       Command A
    <|inner_prefix|> ... <|inner_suffix|>         Apertus
    <|begin_of_thought|> ... <|end_of_thought|>   Sky-T1, OpenThinker; <|think|>, <|thought_start|> likewise

- The answer is what follows the last closed thought.
- A thought closes by its own kind of tag; inside it other tags are text.
- A closing tag without an opening one: the prompt's template had opened the thought, so all before it is thought.
- A thought that never closes leaves no answer.
- The mark with which gpt-oss ends an answer is no part of it.

Model text is data: it is read once, in time linear in its length, and no text raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ANGLE_NAMES = (
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reflect",
    "reflection",
    "scratchpad",
    "analysis",
    "deliberation",
    "cot",
    "antthinking",
    "cot_budget_reflect",
    "reasoning_content",
    *(rf"{first}[_ -]?{second}" for first, second in (("thought", "process"), ("thinking", "process"))),
    *(
        rf"{first}[_ -]?{second}"
        for first in ("inner", "internal")
        for second in ("monologue", "thoughts?", "thinking")
    ),
    "monologue",
    "chain[_ -]of[_ -]thoughts?",
)
NAMES_IN_BARS = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|analysis)"


def angle_tags(name: str) -> tuple[str, str]:
    # The possessive `*+` gives no white space back, which keeps the search linear.
    inside = rf"(?:\w{{1,16}}:)?{name}"
    attributes = r"(?:\s++[\w-]{1,32}\s*+=[^<>]{0,200})?"
    return rf"[<＜]\s*+{inside}{attributes}\s*+[>＞]", rf"[<＜]\s*+/\s*+{inside}\s*+[>＞]"


HARMONY_HEADER = r"(?:[^<]{0,64}(?:<\|constrain\|>[^<]{0,16})?<\|message\|>)?"
"""What may stand between the name of a gpt-oss channel and its text."""

TAG_PAIRS = (
    *map(angle_tags, ANGLE_NAMES),
    (rf"\[\s*+{NAMES_IN_BARS}\s*+\]", rf"\[\s*+/\s*+{NAMES_IN_BARS}\s*+\]"),
    (r"◁\s*+think\s*+▷", r"◁\s*+/\s*+think\s*+▷"),
    (r"<\|open\|>think<\|sep\|>", r"<\|close\|>think<\|sep\|>"),
    (rf"<\|channel\|>\s*+(?:analysis|commentary)\b{HARMONY_HEADER}", rf"<\|channel\|>\s*+final\b{HARMONY_HEADER}"),
    (r"(?-i:\Aanalysis(?=[A-Z]))", r"(?-i:assistantfinal)"),
    (r"<\|channel>thought", r"<channel\|>"),
    (r"<unused94>(?:thought)?", r"<unused95>"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (rf"<[|｜]{NAMES_IN_BARS}[|｜]>", rf"<[|｜]/{NAMES_IN_BARS}[|｜]>"),
    (
        rf"<[|｜]?(?:begin|start)_?of_?{NAMES_IN_BARS}[|｜]?>",
        rf"<[|｜]?end_?of_?{NAMES_IN_BARS}[|｜]?>",
    ),
    (rf"<[|｜]{NAMES_IN_BARS}_(?:start|begin)[|｜]>", rf"<[|｜]{NAMES_IN_BARS}_end[|｜]>"),
)
"""Opening and closing tags, pair by pair."""

TAG = re.compile("|".join(f"({opening})|({closing})" for opening, closing in TAG_PAIRS), re.IGNORECASE)
"""A tag of any pair. Its `lastindex` says which: 2k + 1 opens pair k, 2k + 2 closes it."""

BEGINNING = re.compile(r"[<＜\[](?=\s*+/?\s*+[\w|｜])|◁|assistantfinal|analysis")
"""How every tag begins: found many times faster than TAG."""

ANY_PAIR = -1
"""The pair of a thought that the prompt's template opened: any closing tag ends it."""


def split_thought(text: str, *, thought_open: bool = False) -> tuple[str, str | None]:
    """What was thought, with its tags, and what was answered; the answer is None where a thought is still open.

    Args:
        text: the whole reply.
        thought_open: the prompt's template ends inside a thought, so the reply begins there.

    Examples:
        split_thought("<think>They hum.</think> Jazz.") == ("<think>They hum.</think>", " Jazz.")
        split_thought("They hum.</think> Jazz.") == ("They hum.</think>", " Jazz.")
        split_thought("Jazz.") == ("", "Jazz.")
        split_thought("<think>They hum") == ("<think>They hum", None)
    """
    open_pair = ANY_PAIR if thought_open else None
    answer_begins = 0
    for tag in tags_in(text):
        pair, closes = pair_of(tag)
        if closes and open_pair in (None, ANY_PAIR, pair):
            open_pair, answer_begins = None, tag.end()
        elif not closes and open_pair in (None, ANY_PAIR):
            open_pair = pair
    if open_pair is not None:
        return text, None
    return text[:answer_begins], text[answer_begins:].removesuffix("<|return|>").removesuffix("<|end|>")


def answer_of(text: str) -> str:
    """What a reply says to its reader: what follows the last thought, or nothing where a thought is still open."""
    return split_thought(text)[1] or ""


def opens_thought(prompt: str) -> bool:
    """Whether a prompt ends with an opening tag, so that the reply begins inside a thought."""
    *_, last = (None, *tags_in(prompt))
    return last is not None and not pair_of(last)[1] and not prompt[last.end() :].strip()


def decode_reply(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """A reply as text, without special tokens. Those that are a thought's tags stay: without them a box in a thought
    would read like one in the answer."""
    tags = thought_token_ids(tokenizer)
    if not tags:
        return str(tokenizer.decode(token_ids, skip_special_tokens=True))
    special = set(tokenizer.all_special_ids) | special_token_ids(tokenizer)
    kept = [token for token in token_ids if token in tags or token not in special]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


@lru_cache(maxsize=8)
def thought_token_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Special tokens that are tags of a thought, such as [THINK] of Magistral."""
    added = tokenizer.added_tokens_decoder
    return frozenset(index for index in special_token_ids(tokenizer) if TAG.fullmatch(added[index].content))


def special_token_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    return frozenset(index for index, token in tokenizer.added_tokens_decoder.items() if token.special)


def tags_in(text: str) -> Iterator[re.Match[str]]:
    for place in BEGINNING.finditer(text):
        if tag := TAG.match(text, place.start()):
            yield tag


def pair_of(tag: re.Match[str]) -> tuple[int, bool]:
    """A tag's place in TAG_PAIRS, and whether it is the closing one."""
    assert tag.lastindex is not None, "every alternative is a group"
    pair, closes = divmod(tag.lastindex - 1, 2)
    return pair, closes == 1
