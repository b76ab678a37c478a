r"""A small word-level tokenizer made from the data at hand, for models that are trained from scratch.

A token is a word, a digit, a punctuation mark or a line break; a word carries the space before it, so that joining
the tokens of a text gives the text back. An option's label `(a)`, a boxed letter and the
number `1.` that begins a line of a list are one token each. Words
that were not seen become `<|unk|>`. The chat template is Qwen's in its plainest form: each message alone decides how
it is written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORD = r" ?\\boxed\{[a-d]\}| ?\([a-d]\)| ?\\?[^\W\d]+|\d\.(?= )| ?\d| ?[^\w\s]|\n|\s"

UNKNOWN, END_OF_TEXT, START, END = "<|unk|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, START, END, UNKNOWN)
THOUGHT = ("<think>", "</think>")

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_word_tokenizer(texts: Iterable[str], model_max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer that knows every word of `texts` and what chats and options are written with.

    Words get their ids by falling frequency, then by the alphabet: the same texts give the same tokenizer.
    """
    counts: Counter[str] = Counter()
    split_off = re.compile("|".join(map(re.escape, THOUGHT)))
    for text in texts:
        for part in split_off.split(text):
            counts.update(re.findall(WORD, part))
    always = ["system", "user", "assistant", "\n", " ", *"0123456789", *(f"{digit}." for digit in range(10))]
    words = [*always, *(word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*SPECIAL, *THOUGHT, *words]))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), behavior="isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    # Not special, as in Qwen3: they are part of the reply's text.
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in THOUGHT])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNKNOWN,
        pad_token=END_OF_TEXT,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=model_max_length,
    )
