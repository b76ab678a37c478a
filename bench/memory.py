"""Tokens that a memory costs per question, against one memory per question; and what a memory's update step shares.

python bench/memory.py

A history of 32,000 tokens with 25 questions, chunks of 5,000 tokens, real vLLM. The model recites words: what it writes
means nothing, but it has the length that it would have: memories of 800 to 1,200 tokens, answers of 256. The reference
scheme writes a memory per question, with the question in the prompt, as the paper's released code does. Writes
bench/results/memory.json.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from itertools import islice, product
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft.cold_start.word_tokenizer import build_word_tokenizer
from rft.config import Config
from rft.data.formats import open_dataset
from rft.data.memory_split import MemorySplit
from rft.grpo.forest import build_forest
from rft.grpo.samples import training_samples
from rft.records import Rollout
from rft.rollout.collect import groups_of_siblings, sample_episodes, score_episodes
from rft.rollout.engine import EngineCounters, Sampling
from rft.rollout.vllm_engine import VllmEngine
from rft.synthetic.generator import write_dataset
from rft.tasks.memory import MemoryTask
from rft.tasks.registry import engine_window
from rft.telemetry.provenance import provenance

RESULTS = Path(__file__).resolve().parent / "results"
NUM_QUESTIONS = 25
HISTORY_TOKENS = 32_000
LENGTHS = {"about_1000": (1200, 400), "about_500": (600, 200)}
"""Most tokens of a memory, and how many fewer it may have. The reference's own limit is 1,024."""
RECITED = ["".join(letters) for letters in islice(product("qxz", repeat=7), 1200)]
"""Made-up words, one token each."""
SIBLINGS = 8


def make_model(folder: Path, tokenizer: PreTrainedTokenizerFast, longest: int, spread: int) -> None:
    """A Qwen3 that recites a list of words from a place drawn at random to its end.

    Its layers add nothing, so the next word depends on the last one alone: the head's row of a word is the embedding of
    the word before. After the line break that begins a reply, the first `spread` words are equally likely.
    """
    width, sharpness = 256, 30.0
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=32, num_hidden_layers=1, head_dim=32,
            num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=16384, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    chain = tokenizer.convert_tokens_to_ids([f" {word}" for word in RECITED[:longest]])
    assert len(set(chain)) == longest and tokenizer.unk_token_id not in chain
    begin = tokenizer.convert_tokens_to_ids("\n")
    embedding = torch.nn.functional.normalize(torch.randn(len(tokenizer), width), dim=-1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                weight.zero_()
        model.model.embed_tokens.weight.copy_(embedding)
        # The norm gives a word's embedding the length sqrt(width).
        scale = sharpness / width**0.5
        for word, following in zip(chain, [*chain[1:], tokenizer.eos_token_id], strict=True):
            model.lm_head.weight[following] += scale * embedding[word]
        model.lm_head.weight[chain[:spread]] += scale * embedding[begin]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def settings(folder: Path, *, query_aware: bool) -> Config:
    config = Config(task="memory")
    config.model.model_name_or_path = str(folder / "model")
    config.data.source = str(folder / "data")
    config.data.train_split = "paper"
    config.data.max_prompt_length = 8192
    config.memory.query_aware = query_aware
    config.rollout.max_completion_length = 256
    return config


def measure(
    engine: VllmEngine, task: MemoryTask, split: MemorySplit, indices: list[int], siblings: int
) -> tuple[EngineCounters, list[list[Rollout]]]:
    """What the engine counts while it writes the memories and answers the questions of `indices`."""
    engine.reset_prefix_cache()
    before = engine.counters()
    prompts = [split.prompt(index, split.eval_order(index)) for index in indices]
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    episodes = sample_episodes(task, [prompts], engine, sampling, siblings=range(siblings), seed=0, batch_index=0)
    return engine.counters() - before, groups_of_siblings(score_episodes(task, episodes), siblings)


def cost(used: EngineCounters) -> dict[str, Any]:
    """Per question, with and without what the prefix cache spares."""
    return {
        **asdict(used),
        "tokens_per_question": (used.prompt_tokens + used.generated_tokens) / NUM_QUESTIONS,
        "computed_per_question": (used.prompt_tokens - used.cached_prompt_tokens + used.generated_tokens)
        / NUM_QUESTIONS,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "data", num_personas=3, questions_per_persona=NUM_QUESTIONS, seed=0,
                      history_tokens=HISTORY_TOKENS, num_val_personas=1, num_benchmark_personas=1)  # fmt: skip
        texts = [path.read_text() for path in (folder / "data/data/chat_history_32k").iterdir()]
        tokenizer = build_word_tokenizer([*texts, f" {' '.join(RECITED)}"], model_max_length=16384)
        report = {"command": "python bench/memory.py", "provenance": provenance(), "num_questions": NUM_QUESTIONS}
        for label, (longest, spread) in LENGTHS.items():
            torch.manual_seed(0)
            make_model(folder / "model", tokenizer, longest, spread)
            report[label] = compare(folder, tokenizer)
    (RESULTS / "memory.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "provenance"}, indent=2))


def compare(folder: Path, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """One memory for all questions, one memory for each, and a training batch of 8 siblings."""
    ours, reference = (settings(folder, query_aware=aware) for aware in (False, True))
    task, query_aware = (MemoryTask(config, tokenizer, open_dataset(config.data)) for config in (ours, reference))
    split = task.load_split("train")
    engine = VllmEngine(
        ours.model.model_name_or_path, ours.rollout, window=engine_window(ours), dtype=torch.float32, seed=0,
        stop_token_ids=(tokenizer.eos_token_id,),
    )  # fmt: skip
    every = list(range(NUM_QUESTIONS))
    shared, groups = measure(engine, task, split, every, 1)
    alone, _ = measure(engine, query_aware, split, every, 1)
    _, trained = measure(engine, task, split, every[:4], SIBLINGS)
    engine.close()
    (memory,) = groups[0]
    costs = {"one_memory_for_all": cost(shared), "one_memory_per_question": cost(alone)}
    ratios = {
        f"{key}_ratio": costs["one_memory_per_question"][key] / costs["one_memory_for_all"][key]
        for key in ("tokens_per_question", "computed_per_question")
    }
    return {
        "history_tokens": sum(update.num_chunk_tokens for update in memory.updates),
        "memory_tokens": [update.num_memory_tokens for update in memory.updates],
        **costs,
        **ratios,
        **update_step(trained),
    }


def update_step(groups: list[list[Rollout]]) -> dict[str, Any]:
    """How many tokens of a memory's update step are unique: one person, 8 memories, 4 questions."""
    answered = groups[0][0].answers
    places = {answer.prompt.question_id: place for place, answer in enumerate(answered)}
    samples = training_samples(groups, scale_rewards=False, credit="shared", places=places)
    paths = [sample.prompt_ids + sample.completion_ids for sample in samples]
    unique, total = build_forest(paths).num_tokens, sum(map(len, paths))
    return {"update_step_tokens": total, "update_step_unique_tokens": unique, "unique_token_ratio": unique / total}


if __name__ == "__main__":
    main()
