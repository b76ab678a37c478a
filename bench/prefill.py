"""Prompt tokens that a comparison computes per question, with the questions of a history together and one by one.

python bench/prefill.py

A history of 32,000 tokens with 25 questions, real vLLM, the comparison's own path (rft/eval/chat_answers.py); the model
is small and random, since tokens are counted and not seconds. Writes bench/results/prefill.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.chat.local_chat_model import LocalChatModel
from rft.cold_start.word_tokenizer import build_word_tokenizer
from rft.data.formats import open_dataset
from rft.eval.asked import left_to_ask
from rft.eval.chat_answers import answer_by_chat
from rft.eval.config import ComparisonConfig
from rft.eval.material import Material
from rft.eval.question_form import make_question_form
from rft.eval.systems import SYSTEMS
from rft.rollout.engine import EngineCounters
from rft.rollout.vllm_engine import VllmEngine
from rft.synthetic.generator import write_dataset
from rft.tasks.mcq import McqTask
from rft.tasks.registry import engine_window
from rft.telemetry.provenance import provenance

RESULTS = Path(__file__).resolve().parent / "results"
NUM_QUESTIONS = 25
HISTORY_TOKENS = 32_000


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "data", num_personas=4, questions_per_persona=NUM_QUESTIONS, seed=0,
                      history_tokens=HISTORY_TOKENS, num_val_personas=1, num_benchmark_personas=1)  # fmt: skip
        texts = [path.read_text() for path in (folder / "data/data/chat_history_32k").iterdir()]
        tokenizer = build_word_tokenizer(texts, model_max_length=65_536)
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, head_dim=32,
                num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=65_536, bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )  # fmt: skip
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        config = ComparisonConfig()
        config.model.model_name_or_path = str(folder / "model")
        config.data.source, config.data.train_split = str(folder / "data"), "paper"
        config.data.max_prompt_length, config.rollout.max_completion_length = 60_000, 8
        engine = VllmEngine(
            config.model.model_name_or_path, config.rollout, window=engine_window(config), dtype=torch.float32, seed=0,
            stop_token_ids=(tokenizer.eos_token_id,),
        )  # fmt: skip
        chat = LocalChatModel(config, tokenizer, engine, temperature=0.0, batch_size=NUM_QUESTIONS)
        dataset = open_dataset(config.data)
        questions = list(dataset.split("val").questions)
        form = make_question_form(config, McqTask(config, tokenizer, dataset))
        material = Material(config, dataset, questions, form)

        def ask(batches: list[list[Any]]) -> EngineCounters:
            before = engine.counters()
            for batch in batches:
                engine.reset_prefix_cache()
                asked = left_to_ask(batch, 1, done=[])
                answered = list(answer_by_chat(SYSTEMS["full_history"], material, asked, chat))
                assert len(answered) == len(batch)
            return engine.counters() - before

        together = ask([questions])
        one_by_one = ask([[question] for question in questions])
        engine.close()
    report: dict[str, Any] = {
        "command": "python bench/prefill.py",
        "provenance": provenance(),
        "num_questions": len(questions),
        "prompt_tokens_mean": together.prompt_tokens / len(questions),
        "prefill_per_question_together": computed(together) / len(questions),
        "prefill_per_question_one_by_one": computed(one_by_one) / len(questions),
    }
    report["ratio"] = report["prefill_per_question_one_by_one"] / report["prefill_per_question_together"]
    (RESULTS / "prefill.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "provenance"}, indent=2))


def computed(used: EngineCounters) -> int:
    return used.prompt_tokens - used.cached_prompt_tokens


if __name__ == "__main__":
    main()
