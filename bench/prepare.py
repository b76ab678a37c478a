"""Preparing histories x questions: each history tokenised once, against tokenising every row.

    python bench/prepare.py [--tokenizer FOLDER] [--histories 40] [--questions 25] [--tokens 32000]

Prints a table and writes bench/results/prepare.json. Without --tokenizer, a byte-level BPE tokenizer is trained here.
The two row-wise ways: `apply_chat_template` row by row (measured on --rows rows and scaled), and all rows rendered
first and given to the tokenizer in batches, as `prepare` does with histories. Ratios are of processor seconds, which
other work on the machine disturbs less than the clock.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rft.config import DataConfig
from rft.data.chat_template import ChatTemplate
from rft.data.dataset import Dataset
from rft.data.formats import open_dataset
from rft.data.prepare import PreparedSplit, prepare
from rft.data.prompts import McqWording, context_messages
from rft.data.readers.personamem_csv import COLUMNS
from rft.records import Message
from rft.telemetry.provenance import provenance

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results" / "prepare.json"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDING = McqWording()
MESSAGE_TOKENS = 135
"""Of a 32k history in PersonaMem-v2: 233 messages on average."""


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = random.Random(0)
        vocabulary = make_vocabulary(rng)
        tokenizer = load_tokenizer(arguments.tokenizer, vocabulary, rng)
        write_dataset(root, arguments, vocabulary, tokenizer, rng)
        result = measure(root, arguments, tokenizer)
    result |= {
        "tokenizer": f"{'given' if arguments.tokenizer else 'trained here'}, {len(tokenizer)} tokens",
        "cores": len(os.sched_getaffinity(0)),
        "provenance": provenance(),
        "command": "python bench/prepare.py "
        + " ".join(
            f"--{name} {'FOLDER' if name == 'tokenizer' else value}" for name, value in vars(arguments).items() if value
        ),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rounded(result), indent=2) + "\n", encoding="utf-8")
    print_table(result)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default=os.environ.get("RFT_QWEN3_TOKENIZER", ""))
    parser.add_argument("--histories", type=int, default=40)
    parser.add_argument("--questions", type=int, default=25)
    parser.add_argument("--tokens", type=int, default=32_000)
    parser.add_argument("--rows", type=int, default=200)
    return parser.parse_args()


# -------------------------------------------------------------------------------------------------------------- data


def make_vocabulary(rng: random.Random) -> list[str]:
    """Words of one to four syllables, the frequent ones short, as in a natural language."""
    syllables = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "s")]
    return ["".join(rng.choices(syllables, k=1 + rank // 800)) for rank in range(3200)]


def sentence(vocabulary: Sequence[str], rng: random.Random, num_words: int) -> str:
    words = [vocabulary[min(int(rng.paretovariate(0.6)), len(vocabulary)) - 1] for _ in range(num_words)]
    return " ".join(words).capitalize() + "."


def load_tokenizer(folder: str, vocabulary: Sequence[str], rng: random.Random) -> PreTrainedTokenizerBase:
    if folder:
        given: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        return given
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence(vocabulary, rng, 40) for _ in range(2000)), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.chat_template = CHATML
    return fast


def write_dataset(
    root: Path,
    arguments: argparse.Namespace,
    vocabulary: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    rng: random.Random,
) -> None:
    """benchmark.csv and its 32k histories, random words in the released layout."""
    probe = sentence(vocabulary, rng, 2000)
    words_per_token = 2000 / len(tokenizer(probe)["input_ids"])

    def text(num_tokens: int) -> str:
        return sentence(vocabulary, rng, round(num_tokens * words_per_token))

    folder = root / "data" / "chat_history_32k"
    folder.mkdir(parents=True)
    path = root / "benchmark" / "text" / "benchmark.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS), restval="0")
        writer.writeheader()
        for persona in range(arguments.histories):
            roles = ["user", "assistant"] * (arguments.tokens // MESSAGE_TOKENS // 2)
            messages = [{"role": role, "content": text(MESSAGE_TOKENS - 5)} for role in roles]
            metadata = {"total_messages": len(messages), "persona_id": persona}
            name = f"persona{persona}.json"
            (folder / name).write_text(json.dumps({"metadata": metadata, "chat_history": messages}), encoding="utf-8")
            for _ in range(arguments.questions):
                writer.writerow(
                    {
                        "persona_id": persona,
                        "chat_history_32k_link": f"data/chat_history_32k/{name}",
                        "user_query": str({"role": "user", "content": text(20)}),
                        "correct_answer": text(55),
                        "incorrect_answers": json.dumps([text(55) for _ in range(3)]),
                        "pref_type": "neutral_preferences",
                        "who": "self",
                        "related_conversation_snippet": "[]",
                        "updated": False,
                        "sensitive_info": False,
                    }
                )


# ------------------------------------------------------------------------------------------------------- measurement


def measure(root: Path, arguments: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    config = DataConfig(
        source=str(root), cache_dir=str(root / "cache"), max_prompt_length=10 * arguments.tokens, train_split="paper"
    )
    dataset = open_dataset(config)
    data, prepared = timed(lambda: prepare(config, dataset, tokenizer, WORDING, "benchmark"))
    _, hit = timed(lambda: prepare(config, dataset, tokenizer, WORDING, "benchmark"))
    chats = [chat_of(dataset, data, index) for index in range(len(data))]
    chat = ChatTemplate(tokenizer)

    chosen = range(0, len(data), max(1, len(data) // arguments.rows))
    plain, some_rows = timed(lambda: [whole(tokenizer, chats[index]) for index in chosen])
    for index, ids in zip(chosen, plain, strict=True):
        assert list(data.prompt(index, data.eval_order(index)).token_ids) == ids, "prepared differs from plain"
    row_by_row = {clock: seconds * len(data) / len(plain) for clock, seconds in some_rows.items()}
    _, batched = timed(lambda: encode_rows(tokenizer, chat, chats))
    texts = texts_of(chat, data, chats, arguments.questions)
    _, tokenizer_only = timed(lambda: [chat.encode(texts[i : i + 800]) for i in range(0, len(texts), 800)])
    return {
        "histories": arguments.histories,
        "questions": len(data),
        "prompt_tokens": data.manifest["tokens"]["prompt"],
        "seconds": {
            "prepare": prepared,
            "prepare, from the cache": hit,
            "tokenizer alone, histories and tails": tokenizer_only,
            "rows one by one": row_by_row,
            "rows in batches": batched,
        },
        "rows_measured_one_by_one": len(plain),
        "ratio_to_rows_one_by_one": row_by_row["cpu"] / prepared["cpu"],
        "ratio_to_rows_in_batches": batched["cpu"] / prepared["cpu"],
        "share_of_tokenizer": tokenizer_only["cpu"] / prepared["cpu"],
    }


def timed(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """The result, and the seconds it took: on the clock, and of this process on all its cores."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def chat_of(dataset: Dataset, data: PreparedSplit, index: int) -> list[Message]:
    question = data.questions[index]
    messages = context_messages(dataset.context(question.context_id), WORDING, "drop")
    return [*messages, Message(role="user", content=WORDING.ask(question, data.eval_order(index)))]


def whole(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    chat = [{"role": message.role, "content": message.content} for message in messages]
    return list(tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False))


def encode_rows(tokenizer: PreTrainedTokenizerBase, chat: ChatTemplate, chats: Sequence[Sequence[Message]]) -> None:
    for start in range(0, len(chats), 32):
        chat.encode([rendered(tokenizer, messages) for messages in chats[start : start + 32]])


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    chat = [{"role": message.role, "content": message.content} for message in messages]
    return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def texts_of(chat: ChatTemplate, data: PreparedSplit, chats: Sequence[Sequence[Message]], questions: int) -> list[str]:
    """Everything that `prepare` gives to the tokenizer."""
    texts = []
    for start in range(0, len(data), questions):
        parts = chat.split(chats[start][:-1])
        texts += [parts.history, *(parts.tail(messages[-1].content) for messages in chats[start : start + questions])]
    return texts


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 2) if isinstance(value, float) else value


def print_table(result: dict[str, Any]) -> None:
    print(f"{result['histories']} histories, {result['questions']} questions, {result['tokenizer']}")
    print(f"{'seconds':40s} {'wall':>8s} {'cpu':>8s}")
    for name, seconds in result["seconds"].items():
        print(f"{name:40s} {seconds['wall']:8.2f} {seconds['cpu']:8.2f}")
    for name in ("ratio_to_rows_one_by_one", "ratio_to_rows_in_batches", "share_of_tokenizer"):
        print(f"{name.replace('_', ' ') + ' (cpu)':40s} {result[name]:8.2f}")


if __name__ == "__main__":
    main()
