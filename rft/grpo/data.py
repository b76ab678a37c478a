"""What is ready before any model loads: the tokenizer, the data set, the task, and the questions as prompts."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data.curriculum import stage_configs
from rft.data.dataset import Dataset
from rft.data.formats import open_dataset
from rft.grpo.forest_attention import check_supported
from rft.models import check_dense, check_positions, load_tokenizer
from rft.tasks.registry import engine_window, task_class
from rft.tasks.task import PromptSplit, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a run trains on and is evaluated with.

    Example:
        Data(tokenizer=tokenizer, dataset=dataset, task=task, stages=[task.load_split("train")],
             evaluation=task.load_split("val"))
    """

    tokenizer: PreTrainedTokenizerBase
    dataset: Dataset
    task: Task
    stages: list[PromptSplit]
    """The questions that are trained on: one split for each stage of `data.curriculum`, then the one with the whole
    window."""
    evaluation: PromptSplit

    @property
    def train(self) -> PromptSplit:
        """The training questions with the whole window."""
        return self.stages[-1]

    def fingerprint(self) -> str | None:
        """Changes with every question that is trained on, its context, and their order. None where a task of one's own
        does not say."""
        return self.train.manifest.get("fingerprint")


def load_data(config: Config) -> Data:
    """Reads, checks and tokenizes both splits (from the cache where nothing changed).

    Raises:
        ValueError: a model or data set that cannot be read, a prompt that does not fit, a window longer than the
            model's positions.
    """
    check_model(config)
    tokenizer = load_tokenizer(config.model)
    dataset = open_dataset(config.data)
    task = task_class(config)(config, tokenizer, dataset)
    stages = [load_stage(stage, task, tokenizer, dataset) for stage in stage_configs(config)]
    evaluation = task.load_split(config.eval.split or dataset.eval_split)
    for split in (stages[-1], evaluation):
        task.score.check_questions(split.questions)
    return Data(tokenizer=tokenizer, dataset=dataset, task=task, stages=stages, evaluation=evaluation)


def load_stage(stage: Config, task: Task, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> PromptSplit:
    """The training split under the config of one stage.

    Raises:
        ValueError: see `load_data`; a stage with fewer questions than a batch.
    """
    if stage is task.config:
        return task.load_split("train")
    split = type(task)(stage, tokenizer, dataset).load_split("train")
    if len(split) < stage.rollout.questions_per_batch:
        raise ValueError(
            f"data.curriculum: {len(split)} questions can be asked within {stage.data.max_prompt_length} tokens, fewer "
            f"than rollout.questions_per_batch = {stage.rollout.questions_per_batch}; let the stage have a longer "
            "window, or set data.length_policy to truncate_middle or truncate_oldest"
        )
    return split


def check_model(config: Config) -> None:
    """Refuses a window the model has no positions for, and shared prefixes where its attention cannot have them."""
    settings = check_positions(config.model, engine_window(config))
    check_dense(settings, config.model.model_name_or_path)
    if config.train.shared_prefix:
        check_supported(settings)
