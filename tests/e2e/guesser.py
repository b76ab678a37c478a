"""A tiny model that answers every question with a boxed letter drawn at random: chance, with room to learn."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft.data import prompts
from tests.unit.data.builder import TEMPLATES, make_history, make_tokenizer, text

STEPS = 120


def make_guesser(folder: Path) -> Path:
    """Saves a model that ends an assistant's turn with one of four boxed letters, and its tokenizer."""
    for part in guesser():
        part.save_pretrained(folder)
    return folder


@cache
def guesser() -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerFast]:
    """Trains a 2-layer Qwen3 for some seconds, once for all files of tests that this process runs."""
    torch.manual_seed(0)
    rng = random.Random(0)
    tokenizer = make_tokenizer(TEMPLATES["chatml"])
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=32, max_position_embeddings=2048,
            tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id, initializer_range=0.05,
        )
    )  # fmt: skip
    teach_to_guess(model, tokenizer, rng)
    return model, tokenizer


def teach_to_guess(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> None:
    """Trains a new model until it ends an assistant's turn with one of the boxed letters."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        for _ in range(4):
            asked, answer = example(tokenizer, rng)
            labels = [-100] * len(asked) + answer
            model(input_ids=torch.tensor([asked + answer]), labels=torch.tensor([labels])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def example(tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> tuple[list[int], list[int]]:
    """Token ids of a question as training asks it, and of an answer with a letter drawn at random."""
    options = "\n".join(f"({letter}) {text(rng, 8)}" for letter in prompts.LETTERS[:4])
    boxes = " or ".join(f"\\boxed{{{letter}}}" for letter in prompts.LETTERS[:4])
    question = prompts.MCQ_TEMPLATE.format(query=text(rng, 6), options=options, boxes=boxes)
    messages = make_history(rng.randrange(1000), rng.randint(2, 12))["chat_history"]
    chat = [*messages[1:], {"role": "user", "content": question}]
    asked: list[int] = tokenizer(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))[
        "input_ids"
    ]
    answer: list[int] = tokenizer(f"\\boxed{{{rng.choice(prompts.LETTERS[:4])}}}<|im_end|>")["input_ids"]
    return asked, answer
