"""The cold start: supervised fine-tuning with trl's SFTTrainer, from one yaml file.

    accelerate launch rft/sft.py configs/sft_qwen3_4b.yaml
    python rft/sft.py configs/demo_sft.yaml train.seed=1

Reads every data set that training reads. Questions of one context may share a sequence; the loss is on the replies
alone. Exit status 2 and one line on a user's mistake, before any model loads.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

from rft.cold_start.config import SftConfig
from rft.cold_start.memory_sequences import MemorySequences
from rft.cold_start.sequences import McqSequences, Sequences, check_target
from rft.cold_start.tokenizer import load_or_build_tokenizer
from rft.config import Config, parse_config
from rft.data.chat_template import ChatTemplate
from rft.data.dataset import Dataset
from rft.data.formats import open_dataset
from rft.data.memory_split import ChunkedContexts, MemorySplit, load_memory_split
from rft.data.prepare import prepare
from rft.data.prompts import McqWording
from rft.extras import need
from rft.parallel import parallel_mode
from rft.process_exit import FINISHED, leave, refused
from rft.telemetry.trackers import check_trackers


def main(argv: list[str] | None = None) -> int:
    """Parses, prepares the data, trains, saves; returns the exit status."""
    parser = argparse.ArgumentParser(description="Supervised fine-tuning before GRPO.")
    parser.add_argument("config", help="a yaml file, such as configs/sft_qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    arguments = parser.parse_args(argv)
    try:
        config: SftConfig = parse_config(SftConfig, arguments.config, arguments.overrides)
        need("trl", "rft/sft.py")
        check_trackers("train.report_to", config.train.report_to)
        mode = parallel_mode(config, int(os.environ.get("WORLD_SIZE", "1")))
        dataset = open_dataset(config.data)
        check_target(config.target, dataset.split("train").questions)
        tokenizer = load_or_build_tokenizer(config, dataset)
        sequences = load_sequences(config, dataset, tokenizer)
        # A reply that cannot be written shows here, before any model loads.
        sequences.sequence(sequences.indices()[0])
    except ValueError as error:
        return refused(error)
    if os.environ.get("RANK", "0") == "0":
        print(f"parallel         {mode.describe()}")
    from rft.cold_start.train import train

    train(config, tokenizer, sequences, mode)
    return FINISHED


def load_sequences(config: SftConfig, dataset: Dataset, tokenizer: Any) -> Sequences:
    """The training split as sequences of `target.reply`.

    Raises:
        ValueError: data that cannot be used, a prompt that does not fit.
    """
    target, seed = config.target, config.train.seed
    if target.reply == "memory":
        memories = load_memories(config, dataset, tokenizer)
        return MemorySequences(memories, tokenizer, target.keep_share, seed, target.answers_per_history)
    prepared = prepare(config.data, dataset, tokenizer, McqWording(), "train")
    return McqSequences(prepared, tokenizer, target, seed)


def load_memories(config: SftConfig, dataset: Dataset, tokenizer: Any) -> MemorySplit:
    contexts = ChunkedContexts(dataset.context, ChatTemplate(tokenizer), config.memory.chunk_tokens)
    whole = Config(task="memory", data=config.data, memory=config.memory)
    return load_memory_split(whole, dataset, contexts, McqWording(), "train")


if __name__ == "__main__":
    leave(main())
