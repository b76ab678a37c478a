"""A memory of one user, in a Markdown file that a person can read, edit and compare.

    python rft/memory_cli.py list conversations.json
    python rft/memory_cli.py build HISTORY.json MEMORY.md --model checkpoints/qwen3_4b_memory/best
    python rft/memory_cli.py update NEW_CONVERSATION.json MEMORY.md --model checkpoints/qwen3_4b_memory/best
    python rft/memory_cli.py ask MEMORY.md "Any ideas for my weekend?" --model NAME --endpoint http://localhost:8000/v1

A conversation is a JSON file, or the zip file of an export, in any of these formats, told by what it holds:

    exports     ChatGPT, Claude, DeepSeek, Grok, Le Chat, Open WebUI, LibreChat, LM Studio, Character.AI, SillyTavern,
                Gemini (Google Takeout, AI Studio), GitHub Copilot in VS Code, sessions of Claude Code and Codex
    messages    a list of {"role", "content"}, {"messages": [...]}, OpenAI fine-tuning files, bodies of the OpenAI
                (chat, responses, batches), Anthropic, Gemini, Bedrock and Cohere APIs, Assistants threads, LangChain,
                Vercel AI SDK, ShareGPT; as one JSON value or as JSON lines; lists of sessions; questions with answers
    data sets   histories of PersonaMem-v2, LongMemEval, LoCoMo

Parts of a message become text, pictures and files are named in brackets; thoughts, tool turns, system messages and
what was on other branches are left out and counted. Of a file with many conversations all are read in time order, or
the one that --conversation names.

A reply that is no memory (empty, cut off, filtered, a refusal, tags) never replaces one. A reply that keeps less than a
fifth of the words of a memory of 40 or more is not taken either, until the command is given again with --yes; what it
would drop is kept in MEMORY.md.bak. What was done before an interruption is in MEMORY.md.part, and the same command
goes on from there.

Exit status: 0 done; 1 nothing that can be used, or something for you to decide; 2 a mistake or an endpoint that does
not answer; 130 stopped by Ctrl-C. Whatever is not 0 says why in one line.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rft.chat.memory_files import MemoryFile
from rft.chat.memory_rewriting import UndecidedError, rewrite_memory
from rft.config import MemoryConfig, ModelConfig
from rft.conversations.reading import read_conversations
from rft.data import prompts
from rft.plain_text import without_control_sequences
from rft.process_exit import refused, status_of
from rft.records import Message
from rft.reward.thoughts import split_thought

if TYPE_CHECKING:
    from rft.chat.memory_models import MemoryModel


def main(argv: list[str] | None = None) -> int:
    """Parses, does what is asked; returns the exit status."""
    arguments = parse_memory_arguments(argv)
    try:
        arguments.run(arguments)
    except UndecidedError as reason:
        print(f"stopped: {one_line(str(reason))}", file=sys.stderr)
        return 1
    except ValueError as error:
        return refused(error)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C; the same command goes on where it was", file=sys.stderr)
        return 130
    return 0


def parse_memory_arguments(argv: list[str] | None) -> argparse.Namespace:
    about, _, more = (__doc__ or "").partition("\n\n")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, epilog=more, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="show the conversations of a file", epilog=more, formatter_class=raw)
    listing.set_defaults(run=list_conversations)
    listing.add_argument("conversation", type=Path, help="a file of conversations")
    for name, run, text in (
        ("build", build_memory, "write a new memory from a history"),
        ("update", update_memory, "add a new conversation to a memory"),
        ("ask", ask_memory, "answer from a memory"),
    ):
        command = commands.add_parser(name, help=text, description=text, epilog=more, formatter_class=raw)
        command.set_defaults(run=run)
        if name == "ask":
            command.add_argument("memory", type=Path, help="a memory file")
            command.add_argument("question")
            command.add_argument("--options", nargs="+", default=(), help="answers to choose from, up to four")
        else:
            command.add_argument("conversation", type=Path, help="a file of conversations")
            command.add_argument("memory", type=Path, help="the memory file to write")
            command.add_argument(
                "--conversation", dest="wanted", metavar="ID|TITLE|NUMBER", help="one of the file, as `list` shows it"
            )
            command.add_argument("--yes", action="store_true", help="go on with a reply that drops nearly everything")
        add_model_arguments(command)
    return parser.parse_args(argv)


def add_model_arguments(command: argparse.ArgumentParser) -> None:
    defaults = MemoryConfig()
    command.add_argument("--model", required=True, help="a checkpoint folder, a hub id, or its name there")
    command.add_argument("--revision", help="of a hub model")
    command.add_argument(
        "--endpoint",
        metavar="URL",
        help="an OpenAI-compatible endpoint, such as vllm serve; its key is read from OPENAI_API_KEY",
    )
    command.add_argument("--tokenizer", help="with --endpoint: what counts tokens, if not the model's name")
    command.add_argument(
        "--api-key-header",
        type=header_name,
        metavar="NAME",
        help="with --endpoint: the header of the key, such as api-key of Azure; default: Authorization",
    )
    for option, text in (
        ("--no-temperature", "it takes no temperature of 0, and samples as it likes"),
        ("--no-system-role", "it has none; that text stands at the beginning of the user's message"),
        ("--alternating-roles", "it needs user and assistant in turn"),
        ("--stream", "it only streams"),
    ):
        command.add_argument(option, action="store_true", help=f"with --endpoint: {text}; learned where it says so")
    command.add_argument("--chunk-tokens", type=positive_count, default=defaults.chunk_tokens)
    command.add_argument("--max-memory-tokens", type=positive_count, default=defaults.max_memory_tokens)
    command.add_argument(
        "--max-update-length",
        type=positive_count,
        help="of a reply, for models that think first; default: the memory's",
    )
    command.add_argument("--max-answer-length", type=positive_count, default=1024)


ENDPOINT_OPTIONS = ("api_key_header", "no_temperature", "no_system_role", "alternating_roles", "stream", "tokenizer")


def header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a header")
    return text


def positive_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


# ---------------------------------------------------------------------------------------------------------- commands


def list_conversations(arguments: argparse.Namespace) -> None:
    found = read_conversations(arguments.conversation)
    print(found.summary())
    print("\n".join(found.listing()))


def build_memory(arguments: argparse.Namespace) -> None:
    memory_file = MemoryFile(arguments.memory)
    refuse_existing(memory_file)
    messages = read_messages(arguments)
    memory_file.check_writable()
    with memory_file.locked(tell):
        refuse_existing(memory_file)  # another command may have written it in the meantime
        write_memory(arguments, memory_file, messages)


def update_memory(arguments: argparse.Namespace) -> None:
    memory_file = MemoryFile(arguments.memory)
    memory_file.read()
    messages = read_messages(arguments)
    memory_file.check_writable()
    with memory_file.locked(tell):
        write_memory(arguments, memory_file, messages, memory_file.read())


def refuse_existing(memory_file: MemoryFile) -> None:
    if memory_file.exists():
        raise ValueError(f"{memory_file.path} exists; `update` adds to it, or remove it first")


def read_messages(arguments: argparse.Namespace) -> list[Message]:
    """The messages of the conversations that are chosen; says which format they are in and what is left out."""
    messages, line = read_conversations(arguments.conversation).messages(arguments.wanted)
    print(line)
    return messages


def write_memory(
    arguments: argparse.Namespace, memory_file: MemoryFile, messages: Sequence[Message], before: str = ""
) -> None:
    model = open_memory_model(arguments)
    try:
        done, note = rewrite_memory(
            memory_file,
            model,
            messages,
            before,
            model_name=(arguments.model, arguments.revision),
            may_drop=arguments.yes,
            tell=tell,
        )
    finally:
        model.close()
    print(done)
    if note:
        tell(note)


def ask_memory(arguments: argparse.Namespace) -> None:
    question = question_text(arguments.question, arguments.options)
    memory = MemoryFile(arguments.memory).read()
    model = open_memory_model(arguments)
    try:
        reply = model.reply(memory, question)
    finally:
        model.close()
    if reply.failure is not None:
        raise UndecidedError(f"no answer ({reply.failure}): {reply.detail}")
    _, answer = split_thought(reply.text, thought_open=model.thought_open)
    shown = without_control_sequences(answer or "").strip()
    if not shown:
        why = "it is empty" if answer is not None or not reply.text.strip() else "it is a thought without an end"
        limit = f", cut off at --max-answer-length {arguments.max_answer_length}" if reply.cut_off else ""
        raise UndecidedError(f"no answer: the model replied, but {why}{limit}")
    print(shown)
    if reply.cut_off:
        tell(f"the answer was cut off at --max-answer-length {arguments.max_answer_length}")


def question_text(question: str, options: Sequence[str]) -> str:
    if not options:
        return question
    if len(options) > len(prompts.LETTERS):
        raise ValueError(f"{len(options)} options; at most {len(prompts.LETTERS)} have a letter")
    return prompts.ask(question, options)


# ------------------------------------------------------------------------------------------------------------- models


def open_memory_model(arguments: argparse.Namespace) -> MemoryModel:
    # Only here, so that a mistake at the command line costs no half minute of imports.
    from rft.chat.endpoint import Endpoint
    from rft.chat.memory_models import EndpointMemoryModel, LocalMemoryModel
    from rft.chat.server_habits import Habits

    memory = MemoryConfig(
        chunk_tokens=arguments.chunk_tokens,
        max_memory_tokens=arguments.max_memory_tokens,
        max_update_length=arguments.max_update_length or arguments.max_memory_tokens,
    )
    if arguments.endpoint and arguments.revision:
        raise ValueError("--revision is about a hub model, and --endpoint names a server; leave one of them out")
    if arguments.endpoint:
        habits = Habits(
            temperature=not arguments.no_temperature,
            system_role=not arguments.no_system_role,
            alternating_roles=arguments.alternating_roles,
            stream=arguments.stream,
        )
        endpoint = Endpoint(arguments.endpoint, arguments.model, api_key_header=arguments.api_key_header, habits=habits)
        return EndpointMemoryModel(
            endpoint, arguments.tokenizer or arguments.model, memory, arguments.max_answer_length
        )
    unused = [f"--{name.replace('_', '-')}" for name in ENDPOINT_OPTIONS if getattr(arguments, name)]
    if unused:
        raise ValueError(f"{', '.join(unused)} is about an endpoint; name it with --endpoint, or leave it out")
    model = ModelConfig(model_name_or_path=arguments.model, model_revision=arguments.revision)
    return LocalMemoryModel(model, memory, arguments.max_answer_length)


def tell(line: str) -> None:
    """One line for the person at the terminal."""
    print(one_line(line), file=sys.stderr, flush=True)


def one_line(text: str) -> str:
    return " ".join(without_control_sequences(text).split())


if __name__ == "__main__":
    sys.exit(status_of(main))
