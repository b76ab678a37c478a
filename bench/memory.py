"""Tokens that a memory costs per question, against one memory per question; and what a memory's update step shares.

python bench/memory.py

A history of 32,000 tokens with 25 questions, chunks of 5,000 tokens, real vLLM. The model draws words from a fixed
distribution: what it writes means nothing, but it has the length that it would have: memories of about 1,000 tokens and
never more than 2,048, answers of at most 256. The reference scheme writes a memory per question, with the question in
the prompt, as the paper's released code does. Writes bench/results/memory.json.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rft.config import Config
from rft.data.memory_split import MemorySplit, load_memory_split
from rft.data.synthetic import write_dataset
from rft.data.word_tokenizer import build_word_tokenizer
from rft.grpo.forest import build_forest
from rft.grpo.samples import samples_of
from rft.models import load_tokenizer
from rft.rollout.collect import sample_groups
from rft.rollout.engine import EngineCounters, Sampling
from rft.rollout.vllm_local import VllmEngine
from rft.tasks.memory import MemoryTask
from rft.telemetry.provenance import provenance
from rft.types import Rollout

RESULTS = Path(__file__).resolve().parent / "results"
NUM_QUESTIONS = 25
HISTORY_TOKENS = 32_000
MEAN_LENGTH = 1000
"""Tokens after which a reply ends on average."""
SIBLINGS = 8


def make_model(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """A Qwen3 whose next word does not depend on the words before: its layers add nothing, and its embeddings agree in
    the one direction that the head reads."""
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, head_dim=32,
            num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=16384, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip
    words = len(tokenizer)
    logits = torch.zeros(words)
    logits[tokenizer.all_special_ids] = -30.0
    logits[tokenizer.convert_tokens_to_ids(["<think>", "</think>"])] = -30.0
    logits[tokenizer.eos_token_id] = torch.tensor(words / MEAN_LENGTH).log()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "embed_tokens.weight", "lm_head.weight")):
                weight.zero_()
        model.model.embed_tokens.weight[:, 0] = 1.0
        # The norm makes this one entry sqrt(32).
        model.lm_head.weight[:, 0] = logits / 32**0.5
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
    engine: VllmEngine, config: Config, split: MemorySplit, indices: list[int], siblings: int
) -> tuple[EngineCounters, list[list[Rollout]]]:
    """What the engine counts while it writes the memories and answers the questions of `indices`."""
    engine.reset_prefix_cache()
    before = engine.counters()
    task = MemoryTask(load_tokenizer(config.model), config, split.histories.chunks)
    prompts = [split.prompt(index, split.eval_order(index)) for index in indices]
    sampling = Sampling(temperature=1.0, top_p=1.0, top_k=0)
    groups = sample_groups(task, prompts, engine, sampling, num_generations=siblings, seed=0, batch_index=0)
    return engine.counters() - before, groups


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
        rng = random.Random(0)
        texts = [path.read_text() for path in (folder / "data/data/chat_history_32k").iterdir()]
        tokenizer = build_word_tokenizer(texts, model_max_length=16384)
        torch.manual_seed(rng.randrange(2**31))
        make_model(folder / "model", tokenizer)
        ours, reference = (settings(folder, query_aware=aware) for aware in (False, True))
        split = load_memory_split(ours, tokenizer, "train")
        engine = VllmEngine(
            ours.model.model_name_or_path, ours.rollout, window=ours.engine_window, dtype=torch.float32, seed=0,
            stop_token_ids=(tokenizer.eos_token_id,),
        )  # fmt: skip
        every = list(range(NUM_QUESTIONS))
        shared, groups = measure(engine, ours, split, every, 1)
        alone, _ = measure(engine, reference, split, every, 1)
        _, trained = measure(engine, ours, split, every[:4], SIBLINGS)
        engine.close()
    (memory,) = groups[0]
    report = {
        "command": "python bench/memory.py",
        "provenance": provenance(),
        "history_tokens": sum(update.num_chunk_tokens for update in memory.updates),
        "num_questions": NUM_QUESTIONS,
        "num_updates": len(memory.updates),
        "memory_tokens": [update.num_memory_tokens for update in memory.updates],
        "one_memory_for_all": cost(shared),
        "one_memory_per_question": cost(alone),
    }
    for key in ("tokens_per_question", "computed_per_question"):
        report[f"{key}_ratio"] = report["one_memory_per_question"][key] / report["one_memory_for_all"][key]
    report |= update_step(trained)
    (RESULTS / "memory.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "provenance"}, indent=2))


def update_step(groups: list[list[Rollout]]) -> dict[str, Any]:
    """How many tokens of a memory's update step are unique: one person, 8 memories, 4 questions."""
    answered = groups[0][0].answers
    places = {answer.prompt.question_id: place for place, answer in enumerate(answered)}
    samples = samples_of(groups, scale_rewards=False, credit="shared", places=places)
    paths = [sample.prompt_ids + sample.completion_ids for sample in samples]
    unique, total = build_forest(paths).num_tokens, sum(map(len, paths))
    return {"update_step_tokens": total, "update_step_unique_tokens": unique, "unique_token_ratio": unique / total}


if __name__ == "__main__":
    main()
