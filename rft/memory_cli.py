"""A memory of one user, in a Markdown file that a person can read, edit and compare.

    python rft/memory_cli.py build HISTORY.json MEMORY.md --model checkpoints/qwen3_4b_memory/best
    python rft/memory_cli.py update NEW_CONVERSATION.json MEMORY.md --model checkpoints/qwen3_4b_memory/best
    python rft/memory_cli.py ask MEMORY.md "Any ideas for my weekend?" --model NAME --endpoint http://localhost:8000/v1

A conversation is a JSON list of {"role", "content"} messages, or a history file of PersonaMem-v2. Exit status 2 and
one line on a user's mistake.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rft.chat.memory_models import EndpointMemoryModel, LocalMemoryModel, MemoryModel
from rft.config import MemoryConfig, ModelConfig
from rft.data import prompts
from rft.data.chunks import cut_chunks
from rft.data.readers.cells import CellError, to_messages
from rft.records import Message


def main(argv: list[str] | None = None) -> int:
    """Parses, does what is asked; returns the exit status."""
    arguments = parse_memory_arguments(argv)
    try:
        arguments.run(arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse_memory_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Builds, updates and asks a memory of one user.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    defaults = MemoryConfig()
    for name, run, text in (
        ("build", build_memory, "write a new memory from a history"),
        ("update", update_memory, "add a new conversation to a memory"),
        ("ask", ask_memory, "answer from a memory"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        if name == "ask":
            command.add_argument("memory", type=Path, help="a memory file")
            command.add_argument("question")
            command.add_argument("--options", nargs="+", default=(), help="answers to choose from, up to four")
        else:
            command.add_argument("conversation", type=Path, help="a JSON file")
            command.add_argument("memory", type=Path, help="the memory file to write")
        command.add_argument("--model", required=True, help="a checkpoint folder, a hub id, or its name there")
        command.add_argument("--revision", help="of a hub model")
        command.add_argument("--endpoint", metavar="URL", help="an OpenAI-compatible endpoint, such as vllm serve")
        command.add_argument("--tokenizer", help="with --endpoint: what counts tokens, if not the model's name")
        command.add_argument("--chunk-tokens", type=positive_count, default=defaults.chunk_tokens)
        command.add_argument("--max-memory-tokens", type=positive_count, default=defaults.max_memory_tokens)
        command.add_argument(
            "--max-update-length",
            type=positive_count,
            help="of a reply, for models that think first; default: the memory's",
        )
        command.add_argument("--max-answer-length", type=positive_count, default=1024)
    return parser.parse_args(argv)


def positive_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


# ---------------------------------------------------------------------------------------------------------- commands


def build_memory(arguments: argparse.Namespace) -> None:
    if arguments.memory.exists():
        raise ValueError(f"{arguments.memory} exists; `update` adds to it, or remove it first")
    write_memory_file(arguments, read_conversation(arguments.conversation), "")


def update_memory(arguments: argparse.Namespace) -> None:
    write_memory_file(arguments, read_conversation(arguments.conversation), read_memory_file(arguments.memory))


def write_memory_file(arguments: argparse.Namespace, messages: Sequence[Message], memory: str) -> None:
    """Reads the conversation chunk by chunk; the file changes once, at the end."""
    model = open_memory_model(arguments)
    try:
        memory, num_chunks, failures = rewrite_memory(model, messages, memory, arguments.chunk_tokens)
        num_tokens = len(model.chat.encode([memory])[0])
    finally:
        model.close()
    temporary = arguments.memory.with_name(f".{arguments.memory.name}.tmp")
    temporary.write_text(f"{memory}\n" if memory else "", encoding="utf-8")
    os.replace(temporary, arguments.memory)
    print(f"{arguments.memory}: {num_tokens} tokens after {num_chunks} updates")
    for reason, count in sorted(failures.items()):
        print(f"{count} of the updates could not be used ({reason}); the memory before them stayed", file=sys.stderr)


def rewrite_memory(
    model: MemoryModel, messages: Sequence[Message], memory: str, chunk_tokens: int
) -> tuple[str, int, Counter[str]]:
    """The memory after a conversation, the number of updates, and of those that failed by reason."""
    from tqdm import tqdm

    chunks = cut_chunks(messages, model.chat, chunk_tokens)
    failures: Counter[str] = Counter()
    for chunk in tqdm(chunks, desc="memory", unit="chunk"):
        memory, failure = model.update(chunk, memory)
        if failure:
            failures[str(failure)] += 1
    return memory, len(chunks), failures


def ask_memory(arguments: argparse.Namespace) -> None:
    question = question_text(arguments.question, arguments.options)
    memory = read_memory_file(arguments.memory)
    model = open_memory_model(arguments)
    try:
        print(model.answer(memory, question))
    finally:
        model.close()


def question_text(question: str, options: Sequence[str]) -> str:
    if not options:
        return question
    if len(options) > len(prompts.LETTERS):
        raise ValueError(f"{len(options)} options; at most {len(prompts.LETTERS)} have a letter")
    return prompts.ask(question, options)


# ------------------------------------------------------------------------------------------------- models and files


def open_memory_model(arguments: argparse.Namespace) -> MemoryModel:
    from rft.chat.endpoint import Endpoint

    memory = MemoryConfig(
        chunk_tokens=arguments.chunk_tokens,
        max_memory_tokens=arguments.max_memory_tokens,
        max_update_length=arguments.max_update_length or arguments.max_memory_tokens,
    )
    if arguments.endpoint:
        endpoint = Endpoint(arguments.endpoint, arguments.model)
        return EndpointMemoryModel(
            endpoint, arguments.tokenizer or arguments.model, memory, arguments.max_answer_length
        )
    model = ModelConfig(model_name_or_path=arguments.model, model_revision=arguments.revision)
    return LocalMemoryModel(model, memory, arguments.max_answer_length)


def read_conversation(path: Path) -> list[Message]:
    try:
        payload = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON in UTF-8: {error}") from None
    messages = payload.get("chat_history") if isinstance(payload, dict) else payload
    try:
        return [message for message in to_messages(messages) if message is not None]
    except CellError as error:
        raise ValueError(f"{path} {error}") from None


def read_memory_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8") from None


if __name__ == "__main__":
    sys.exit(main())
