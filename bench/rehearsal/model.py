"""The rehearsal's model: a Qwen3 with its real vocabulary and positions, narrow and shallow, that answers by guessing.

Rewards have to differ between siblings, or nothing is trained. So the model is taught, on the spot and in seconds, to
begin a reply with some words and to end it with a boxed letter drawn at random. What it says next depends on its last
token alone, so it says the same behind a prompt of any length.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft.cold_start.word_tokenizer import END, build_word_tokenizer
from rft.data.prompts import LETTERS

VOCAB_SIZE = 151_936
"""Qwen3's."""
MAX_POSITIONS = 262_144
"""Qwen3-4B-Instruct-2507's."""
BOXES = [f"\\boxed{{{letter}}}" for letter in LETTERS[:4]]
WORDS = [" of", " the", " and", " a", " to", " is", " in", " it"]
"""What a reply is made of before its letter."""
SHARE_OF_BOXES = 1 / 6
"""Probability that the letter comes next, so that five words come before it on average."""
STEPS = 300
NUM_OTHERS = 2000
"""Tokens of the rest of the vocabulary that a step of the teaching looks at."""


def make_model(folder: Path, texts: Sequence[str], num_layers: int, vocab_size: int = VOCAB_SIZE) -> None:
    """Writes the model and a word-level tokenizer that knows every word of `texts`, in transformers' format."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer([*texts, "".join(WORDS), "".join(BOXES)], vocab_size)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocab_size, hidden_size=64, intermediate_size=128, num_hidden_layers=num_layers, head_dim=32,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=MAX_POSITIONS,
            rope_parameters={"rope_type": "default", "rope_theta": 5e6}, tie_word_embeddings=True,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    teach_to_guess(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tokenizer(texts: Sequence[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """As many tokens as the model has: words that nobody uses fill the vocabulary."""
    num_known = len(build_word_tokenizer(texts, MAX_POSITIONS))
    return build_word_tokenizer([*texts, "".join(islice(unused_words(), vocab_size - num_known))], MAX_POSITIONS)


def unused_words() -> Iterator[str]:
    return (" zq" + "".join(letters) for letters in product(string.ascii_lowercase, repeat=4))


def teach_to_guess(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Trains the MLPs until they answer each last token with the probabilities of `next_tokens`."""
    table = next_tokens(tokenizer)
    vocab_size = model.config.vocab_size
    replied = sorted({token for follows in table.values() for token in follows})
    with torch.no_grad():
        # Rows much longer than all others: 150,000 tokens together must not get a share worth naming.
        model.get_input_embeddings().weight[replied] *= 15
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight *= 0.1
    rows = torch.tensor(list(table))
    wanted = torch.tensor([[follows.get(token, 0.0) for token in replied] for follows in table.values()])
    model.requires_grad_(False)
    trained = [p for name, p in model.named_parameters() if ".mlp." in name or name == "model.norm.weight"]
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    embeddings = model.get_input_embeddings().weight
    for _ in range(STEPS):
        others = torch.randint(vocab_size, (NUM_OTHERS,))
        tokens = torch.cat([torch.randint(vocab_size, (len(rows), 7)), rows.unsqueeze(1)], dim=1)
        hidden = model.model(input_ids=tokens).last_hidden_state[:, -1]
        # Each of the others stands for many: their share of the sum over the whole vocabulary is that much larger.
        every = hidden @ embeddings[others].T + math.log(vocab_size / NUM_OTHERS)
        logps = torch.cat([hidden @ embeddings[replied].T, every], dim=1).log_softmax(dim=1)[:, : len(replied)]
        (-(wanted * logps).sum(dim=1).mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.requires_grad_(True)


def next_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, dict[int, float]]:
    """Last token -> the tokens that may follow, with their probabilities."""
    start, end, *rest = tokenizer.convert_tokens_to_ids(["\n", END, *WORDS, *BOXES])
    words, boxes = rest[: len(WORDS)], rest[len(WORDS) :]
    any_word = dict.fromkeys(words, 1 / len(words))
    any_box = dict.fromkeys(boxes, 1 / len(boxes))
    goes_on = {word: (1 - SHARE_OF_BOXES) * share for word, share in any_word.items()}
    goes_on |= {box: SHARE_OF_BOXES * share for box, share in any_box.items()}
    return {start: any_word} | dict.fromkeys(words, goes_on) | {box: {end: 1.0} for box in boxes}
