"""A small data set in the released layout, and small real tokenizers with the chat templates of several families."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from rft.config import Config

WORDS = [
    "morning",
    "tea",
    "garden",
    "walk",
    "jazz",
    "novel",
    "bread",
    "river",
    "quiet",
    "friend",
    "lake",
    "café",
    "naïve",
]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<s>", "</s>", "[INST]", "[/INST]"]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    # Qwen3's way: the last assistant message of a chat gets an empty thought, so rendering a history alone differs.
    "thinking": CHATML.replace(
        "\n{{ m.content }}",
        "\n{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}",
    ),
    # A first token before everything, contents trimmed.
    "trimming": "<s>" + CHATML.replace("m.content", "m.content | trim"),
    # No token before a user's turn but the end of the assistant's.
    "instruct": (
        "<s>{% for m in messages %}{% if m.role == 'assistant' %} {{ m.content }}</s>"
        "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
    ),
}


def text(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(num_words)).capitalize() + "."


def make_row(persona_id: int, number: int, **changes: str) -> dict[str, str]:
    """One CSV row as the release writes it: Python-repr dicts, JSON texts, everything a string."""
    rng = random.Random(f"row {persona_id} {number}")
    name = f"chat_history_250913_163134_persona{persona_id}.json"
    row = {
        "persona_id": str(persona_id),
        "chat_history_32k_link": f"data/chat_history_32k/{name}",
        "chat_history_128k_link": f"data/chat_history_128k/{name}",
        "raw_persona_file": f"data/raw_data/raw_data_250819_225921_persona{persona_id}.json",
        "short_persona": str({"persona": 'A gardener\'s friend who says "hi"'}),
        "expanded_persona": json.dumps({"name": "Ada", "age": 38}, indent=2),
        "user_query": str({"role": "user", "content": f"Question {number}: {text(rng, 8)} What's next?"}),
        "correct_answer": text(rng, 12),
        "incorrect_answers": json.dumps([text(rng, 12) for _ in range(3)]),
        "topic_query": "Health",
        "preference": "Likes jazz",
        "topic_preference": "Music",
        "conversation_scenario": "translation",
        "pref_type": "neutral_preferences",
        "related_conversation_snippet": json.dumps([{"role": "user", "content": "I hum jazz."}]),
        "who": "self",
        "updated": "False",
        "prev_pref": "",
        "sensitive_info": "False",
    }
    for column in ("total_tokens_in_chat_history", "distance_from_related_snippet_to_query"):
        row |= {f"{column}_32k": "18861", f"{column}_128k": "64170"}
    for window in ("32k", "128k"):
        row |= {f"num_persona_relevant_tokens_{window}": "100", f"num_persona_irrelevant_tokens_{window}": "0"}
    return row | changes


def make_history(persona_id: int, num_messages: int = 12) -> dict[str, Any]:
    """A persona card, then turns of which two in a row are the user's."""
    rng = random.Random(f"history {persona_id}")
    messages = [{"role": "system", "content": "You help a user with this persona: Ada, 38."}]
    for index in range(num_messages - 1):
        role = "user" if index % 5 in (0, 2, 3) else "assistant"
        messages.append({"role": role, "content": text(rng, rng.randint(5, 30))})
    metadata = {"total_messages": len(messages), "final_token_count": 999, "persona_id": persona_id}
    return {"metadata": metadata, "chat_history": messages}


def write_csv(root: Path, name: str, rows: Sequence[dict[str, str]]) -> Path:
    path = root / "benchmark" / "text" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_history(root: Path, persona_id: int, history: dict[str, Any]) -> Path:
    path = root / make_row(persona_id, 0)["chat_history_32k_link"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(history, ensure_ascii=False), encoding="utf-8")
    return path


def write_dataset(root: Path, personas: dict[str, Sequence[int]], questions_per_persona: int = 3) -> Path:
    """CSV files with the given personas, and a history for each."""
    for name, persona_ids in personas.items():
        rows = [make_row(persona, i) for i in range(questions_per_persona) for persona in persona_ids]
        write_csv(root, name, rows)
        for persona in persona_ids:
            write_history(root, persona, make_history(persona))
    return root


def make_tokenizer(template: str, lstrip: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on the words of the data set."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = random.Random(0)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(token, special=True, lstrip=lstrip, normalized=False) for token in SPECIAL],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text(rng, 40) for _ in range(20)], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="</s>")
    fast.chat_template = template
    return fast


def make_config(root: Path, **data: Any) -> Config:
    settings = {"source": str(root), "cache_dir": str(root / "cache"), "num_val_clusters": 2}
    config: Config = TypeAdapter(Config).validate_python({"data": settings | data})
    return config
