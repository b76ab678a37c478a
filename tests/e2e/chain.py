"""A tiny model that needs no training: its next word depends on the last one alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft.cold_start.word_tokenizer import END, build_word_tokenizer

WIDTH, SHARPNESS = 128, 30.0


def make_chain_model(folder: Path, texts: Iterable[str], follows: Mapping[str, Sequence[str]]) -> Path:
    """Saves a Qwen3 and a tokenizer that knows the words of `texts`.

    Its layers add nothing, so that only the last word counts: one of its followers comes next, each equally likely.

    Args:
        follows: words (a space before a word belongs to it) that may follow a word; a reply begins after a line break.
            What has no followers ends the reply.
    """
    torch.manual_seed(0)
    followers = {word for words in follows.values() for word in words}
    tokenizer = build_word_tokenizer([*texts, "\n".join(followers)], model_max_length=2048)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=1, head_dim=32,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    embedding = torch.nn.functional.normalize(torch.randn(len(tokenizer), WIDTH), dim=-1)
    chain = {**{word: [END] for word in followers}, **follows}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                weight.zero_()
        model.model.embed_tokens.weight.copy_(embedding)
        for word, words in chain.items():
            # The norm gives a word's embedding the length sqrt(WIDTH).
            for following in words:
                row = model.lm_head.weight[index_of(tokenizer, following)]
                row += SHARPNESS / WIDTH**0.5 * embedding[index_of(tokenizer, word)]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def index_of(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    index: int = tokenizer.convert_tokens_to_ids(word)
    assert index != tokenizer.unk_token_id, word
    return index
