"""The cold start: supervised fine-tuning with trl's SFTTrainer, from one yaml file.

    accelerate launch rft/sft.py configs/sft_qwen3_4b.yaml
    python rft/sft.py configs/demo_sft.yaml train.seed=1

Questions of one history may share a sequence; the loss is on the replies alone. Exit status 2 and one line on a
user's mistake, before any model loads.
"""

from __future__ import annotations

import os
import sys

if not __package__:  # run as a script: its folder is first on the path, where types.py would hide Python's own
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rft.config import Config, DataConfig, MemoryConfig, ModelConfig, parse_config, section, to_dict
from rft.data import personamem, prompts, splits, traces
from rft.data.memory_demonstrations import MemorySequences
from rft.data.memory_demonstrations import training_texts as memory_texts
from rft.data.memory_split import load_memory_split
from rft.data.prepare import PreparedSplit, prepare
from rft.process_exit import leave
from rft.types import Question

IGNORED = -100
"""Label of a token that no loss is taken on."""


@section
class SftModelConfig:
    """The model to start from, or the shape of a new one."""

    model_name_or_path: str | None = "Qwen/Qwen3-4B-Instruct-2507"
    """None makes a new model of `config`, with a word-level tokenizer made from the training data."""
    model_revision: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    """Arguments of transformers' Qwen3Config for a new model, without the vocabulary."""
    qk_norm_start: float = 1.0
    """Where a new model's query and key norms start. They bound how sharp attention can be, so that a short training
    from scratch gains from a start above 1."""
    warm_start: str | None = None
    """A model of the same shape whose weights a new one starts from; words that both know keep their embeddings."""
    mimetic_start: bool = False
    """A new model starts with heads that look for the token they stand on and copy what they find."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    attn_implementation: str = "sdpa"


@section
class TargetConfig:
    """What the replies are, and how they are laid out."""

    reply: Literal["letter", "trace", "memory"] = "letter"
    """`letter`: the boxed letter and the option's text. `trace`: written-out reasoning, for synthetic data. `memory`:
    memories written chunk by chunk, and written-out answers from them, for synthetic data."""
    right_share_hard: float = 1.0
    """With `trace`: share of right demonstrations among the questions that a careless reader gets wrong."""
    keep_share: float = 1.0
    """With `memory`: share of the updates that carry the notes over; the others start anew with what they read."""
    answers_per_history: int | None = None
    """With `memory`: answers to learn from beside the updates; None is all questions of a history."""
    questions_per_sequence: int = 1
    """Questions of one history that follow each other in one sequence, each with its reply."""


@section
class SftTrainConfig:
    """Handed to trl's SFTConfig as it is."""

    seed: int = 0
    num_train_epochs: float = 1.0
    max_steps: int = -1
    learning_rate: float = 1e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: float = 0
    """Optimizer steps, or a share of them where below 1."""
    weight_decay: float = 0.0
    adam_beta2: float = 0.999
    max_grad_norm: float = 1.0
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    bf16: bool = False
    use_liger_kernel: bool = False
    logging_steps: int = 10
    save_steps: int = 50
    save_strategy: Literal["no", "steps", "epoch"] = "steps"
    report_to: Literal["wandb", "none"] = "none"


@section
class SftConfig:
    """A whole cold start."""

    output_dir: str = "checkpoints/sft"
    model: SftModelConfig = field(default_factory=SftModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    train: SftTrainConfig = field(default_factory=SftTrainConfig)


def main(argv: list[str] | None = None) -> int:
    """Parses, prepares the data, trains, saves; returns the exit status."""
    parser = argparse.ArgumentParser(description="Supervised fine-tuning on PersonaMem-v2.")
    parser.add_argument("config", help="a yaml file, such as configs/sft_qwen3_4b.yaml")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings laid over the file")
    arguments = parser.parse_args(argv)
    try:
        config: SftConfig = parse_config(SftConfig, arguments.config, arguments.overrides)
        tokenizer = load_or_build_tokenizer(config)
        sequences = load_sequences(config, tokenizer)
        # A reply that cannot be written shows here, before any model loads.
        sequences.sequence(sequences.indices()[0])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    train(config, tokenizer, sequences)
    return 0


# ------------------------------------------------------------------------------------------------------------ data


def load_sequences(config: SftConfig, tokenizer: Any) -> Sequences | MemorySequences:
    target, seed = config.target, config.train.seed
    if target.reply == "memory":
        whole = Config(task="memory", data=config.data, memory=config.memory)
        split = load_memory_split(whole, tokenizer, "train")
        return MemorySequences(split, tokenizer, target.keep_share, seed, target.answers_per_history)
    return Sequences(prepare(Config(data=config.data), tokenizer, "train"), tokenizer, target, seed)


def load_or_build_tokenizer(config: SftConfig) -> Any:
    """The model's tokenizer; for a new model one made from the training split."""
    name = config.model.model_name_or_path
    if name is not None:
        from rft.models import load_tokenizer

        try:
            return load_tokenizer(ModelConfig(model_name_or_path=name, model_revision=config.model.model_revision))
        except OSError as error:
            raise ValueError(f"model.model_name_or_path: cannot read {name}: {str(error).splitlines()[0]}") from None
    from rft.data.word_tokenizer import build_word_tokenizer

    length = config.model.config.get("max_position_embeddings", 32768)
    return build_word_tokenizer(training_texts(config), model_max_length=length)


def training_texts(config: SftConfig) -> Iterator[str]:
    """All that a model may read or write on the training split, history by history."""
    data = config.data
    root = personamem.resolve_source(data.source, data.revision, data.window)
    questions = splits.load_split(data, root, "train").questions
    if config.target.reply == "memory":
        yield from memory_texts(questions, lambda history_id: personamem.load_history(root, history_id)[0].messages)
        return
    seen: set[str] = set()
    for question in questions:
        if question.history_id not in seen:
            seen.add(question.history_id)
            history = personamem.read_history(root, question.history_id, question.persona_id)
            yield from (message.content for message in prompts.history_messages(history, data.persona_card))
        order = prompts.paper_option_order(question.row)
        yield prompts.question_message(question, order).content
        yield from (reply(config.target, question, order, right) for right in (True, False))


def reply(target: TargetConfig, question: Question, option_order: Sequence[int], right: bool) -> str:
    if target.reply == "trace":
        return traces.trace_target(question, option_order, right)
    return prompts.sft_target(question, option_order)


@dataclass(frozen=True, slots=True)
class Sequences:
    """Turns the indices of a history's questions into one sequence, when the trainer asks for it.

    Histories of 32k tokens stay on disk until then.
    """

    split: PreparedSplit
    tokenizer: Any
    target: TargetConfig
    seed: int

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        # datasets names a transform by the hash of its pickle; this one holds a whole split.
        return str, (type(self).__name__,)

    def indices(self) -> list[list[int]]:
        """Questions of one history in the data's order, cut into runs of `questions_per_sequence`."""
        by_history: dict[str, list[int]] = {}
        for index, question in enumerate(self.split.questions):
            by_history.setdefault(question.history_id, []).append(index)
        step = self.target.questions_per_sequence
        return [run[start : start + step] for run in by_history.values() for start in range(0, len(run), step)]

    def __call__(self, batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        """A transform of datasets: `{"indices": [...]}` to `{"input_ids": [...], "labels": [...]}`."""
        built = [self.sequence(indices) for indices in batch["indices"]]
        return {"input_ids": [ids for ids, _ in built], "labels": [labels for _, labels in built]}

    def sequence(self, indices: Sequence[int]) -> tuple[list[int], list[int]]:
        """Token ids, and labels that are -100 wherever no reply stands. A reply ends with the end token."""
        input_ids: list[int] = []
        labels: list[int] = []
        for index in indices:
            order = self.split.eval_order(index)
            prompt = self.split.prompt(index, order)
            asked = list(prompt.token_ids)
            if input_ids:
                # Later questions continue the chat: the line break that ends a turn, then their own message.
                asked = [*self.encode("\n"), *asked[prompt.num_history_tokens :]]
            question = self.split.questions[index]
            right = traces.demonstrates_right(question, self.target.right_share_hard, self.seed)
            answer = [*self.encode(reply(self.target, question, order, right)), self.tokenizer.eos_token_id]
            input_ids += [*asked, *answer]
            labels += [*([IGNORED] * len(asked)), *answer]
        return input_ids, labels

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


# -------------------------------------------------------------------------------------------------------- training


def train(config: SftConfig, tokenizer: Any, sequences: Sequences | MemorySequences) -> None:
    """Trains on `sequences` and saves model, tokenizer and resolved config in `output_dir`."""
    import datasets
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(
        output_dir=config.output_dir,
        max_length=None,
        remove_unused_columns=False,
        # The sequences come ready made, with labels.
        dataset_kwargs={"skip_prepare_dataset": True},
        **dataclasses.asdict(config.train),
    )
    trainer = SFTTrainer(
        model=load_or_build_model(config, tokenizer),
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"indices": sequences.indices()}).with_transform(sequences),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(config.output_dir)
    if trainer.accelerator.is_main_process:
        # A pickle that names this machine's paths; sft_config.json says the same and more.
        Path(config.output_dir, "training_args.bin").unlink(missing_ok=True)
        settings = json.dumps(to_dict(config), indent=2)
        Path(config.output_dir, "sft_config.json").write_text(settings + "\n", encoding="utf-8")


def load_or_build_model(config: SftConfig, tokenizer: Any) -> Any:
    import transformers

    if config.model.model_name_or_path is not None:
        from rft.models import load_policy

        shape = ModelConfig(
            model_name_or_path=config.model.model_name_or_path,
            model_revision=config.model.model_revision,
            dtype=config.model.dtype,
            attn_implementation=config.model.attn_implementation,
        )
        return load_policy(shape, gradient_checkpointing=False)
    transformers.set_seed(config.train.seed)
    model_config = transformers.Qwen3Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        **config.model.config,
    )
    model = transformers.Qwen3ForCausalLM(model_config)
    if config.model.warm_start is not None:
        start_warm(model, tokenizer, config.model.warm_start)
        return model
    for layer in model.model.layers:
        layer.self_attn.q_norm.weight.data.fill_(config.model.qk_norm_start)
        layer.self_attn.k_norm.weight.data.fill_(config.model.qk_norm_start)
        if config.model.mimetic_start:
            start_mimetic(layer.self_attn, model_config)
    return model


def start_warm(model: Any, tokenizer: Any, name: str) -> None:
    """Copies the weights of `name`; the embedding of a word it does not know stays as it is.

    Raises:
        ValueError: the shapes differ.
    """
    import torch
    import transformers

    source = transformers.AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).state_dict()
    known = transformers.AutoTokenizer.from_pretrained(name).get_vocab()
    shared = [(index, known[word]) for word, index in tokenizer.get_vocab().items() if word in known]
    here, there = (torch.tensor(column) for column in zip(*shared, strict=True))
    with torch.no_grad():
        for key, weight in model.state_dict().items():
            by_word = key in ("model.embed_tokens.weight", "lm_head.weight")
            fixed = 1 if by_word else 0
            given = source.get(key)
            if given is None or given.shape[fixed:] != weight.shape[fixed:]:
                raise ValueError(f"model.warm_start: {name} has another shape at {key}; give model.config the same")
            if by_word:
                weight[here] = given[there]
            else:
                weight.copy_(given)


def start_mimetic(attention: Any, shape: Any) -> None:
    """Half-way to a trained layer: in the first query head of each group Q = K and O = V^T.

    A head with Q = K attends to tokens like its own, and with O = V^T it writes what it read. Looking words up in a
    text needs both, and from a random start they appear only after a long plateau. After "Mimetic Initialization of
    Self-Attention Layers" (arXiv 2305.09828), which sets the products QK^T and VO near multiples of the identity.
    """
    heads, groups, size, width = (
        shape.num_attention_heads,
        shape.num_key_value_heads,
        shape.head_dim,
        shape.hidden_size,
    )
    query = attention.q_proj.weight.data.view(groups, heads // groups, size, width)
    output = attention.o_proj.weight.data.view(width, groups, heads // groups, size)
    query[:, 0] = attention.k_proj.weight.data.view(groups, size, width)
    output[:, :, 0] = attention.v_proj.weight.data.view(groups, size, width).permute(2, 0, 1)


if __name__ == "__main__":
    leave(main())
