"""Which class is which `task`, and what the rest of the program asks of a task before it is made."""

from __future__ import annotations

from rft.config import Config
from rft.plugins import choose
from rft.tasks.mcq import McqTask
from rft.tasks.memory import MemoryTask
from rft.tasks.qa import QaTask
from rft.tasks.task import Task

TASKS: dict[str, type[Task]] = {"mcq": McqTask, "qa": QaTask, "memory": MemoryTask}


def task_class(config: Config) -> type[Task]:
    """The class of `config.task`.

    Raises:
        ValueError: an unknown name, or no subclass of Task behind a dotted one.
    """
    found = choose("task", config.task, TASKS)
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise ValueError(f"task: {config.task} is no subclass of rft.tasks.task.Task")
    return found


def longest_completion(config: Config) -> int:
    """Most tokens that one reply can have."""
    return task_class(config).longest_completion(config)[0]


def longest_path(config: Config) -> int:
    """Most tokens of a prompt and its reply."""
    return config.data.max_prompt_length + longest_completion(config)


def engine_window(config: Config) -> int:
    """Tokens that the engine must hold for one prompt and its reply."""
    return config.rollout.vllm_max_model_length or longest_path(config)
