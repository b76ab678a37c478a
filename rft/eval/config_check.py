"""What cannot work in a comparison, told before anything is read or loaded."""

from __future__ import annotations

from rft.eval.config import ComparisonConfig
from rft.eval.endpoints import key_problem
from rft.eval.results import RULES_LABEL
from rft.eval.systems import choose_systems
from rft.extras import need
from rft.reward.functions import check_reward
from rft.tasks.mcq import McqTask
from rft.tasks.registry import task_class
from rft.tasks.task import Problem, Task


def check_comparison(config: ComparisonConfig) -> None:
    """Refuses what the config alone shows to be impossible.

    Raises:
        ValueError: one line that names the keys and the fix.
    """
    problems = [*sampling_problems(config), *task_problems(config), *system_problems(config), *key_problems(config)]
    for broken, message in problems:
        if broken:
            raise ValueError(message)
    if not config.uses_endpoint:
        need("vllm", "an evaluation without compare.endpoint.model")
    if config.compare.answers == "choice":
        check_reward(config.reward)


def sampling_problems(config: ComparisonConfig) -> list[Problem]:
    compare = config.compare
    return [
        (
            compare.num_samples > 1 and compare.temperature == 0,
            "compare.num_samples > 1 with compare.temperature = 0 asks for the same answer again; raise one of them",
        ),
        (
            compare.temperature is None and not config.uses_endpoint,
            "compare.temperature: null leaves it to an endpoint; name compare.endpoint.model, or set a temperature",
        ),
    ]


def task_problems(config: ComparisonConfig) -> list[Problem]:
    compare, task = config.compare, task_class(config)
    asks_for_letters = issubclass(task, McqTask)
    open_ended = compare.answers == "open"
    functions = [config.reward.function] if isinstance(config.reward.function, str) else config.reward.function or []
    needs_own_score = not open_ended and compare.protocol == "boxed" and (not functions or "task" in functions)
    return [
        (
            open_ended and not asks_for_letters,
            f"compare.answers=open hides the options of multiple choice, and task {config.task} is scored by "
            "reward.function; set compare.answers=choice, or task=mcq to have a judge read open answers",
        ),
        (
            compare.protocol == "final_answer" and not asks_for_letters,
            f"compare.protocol=final_answer is another wording of multiple choice, and task {config.task} has its own; "
            "set compare.protocol=boxed",
        ),
        (
            compare.protocol == "leaderboard" and not asks_for_letters,
            f"compare.protocol=leaderboard asks for a letter or an open answer, and task {config.task} has its own "
            "wording; set compare.protocol=boxed, or task=mcq",
        ),
        (
            compare.protocol == "leaderboard" and compare.temperature not in (0, None),
            "compare.protocol=leaderboard is greedy; set compare.temperature=0, or compare.protocol=final_answer",
        ),
        (
            compare.protocol == "leaderboard" and open_ended and compare.judge.repeats > 1,
            "compare.protocol=leaderboard has each answer judged once; set compare.judge.repeats=1, or "
            "compare.protocol=boxed",
        ),
        (
            needs_own_score and task.own_score is Task.own_score,
            f"task {config.task} has no reward of its own; set reward.function to package.module:name",
        ),
        (
            open_ended and compare.judge.endpoint.model is None,
            "compare.answers=open needs a judge; set compare.judge.endpoint.model",
        ),
        # A config that several ranks can train with, one can.
        *task.problems(config, 1),
    ]


def system_problems(config: ComparisonConfig) -> list[Problem]:
    compare, systems = config.compare, choose_systems(config.system)
    has_memory = any(system.kind == "memory" for system in systems)
    return [
        (
            has_memory and config.uses_endpoint and (config.memory.query_aware or compare.num_samples > 1),
            "system memory behind an endpoint is query-blind and greedy; set memory.query_aware=false and "
            "compare.num_samples=1",
        ),
        (
            compare.retrieval_overlap >= compare.retrieval_window,
            f"compare.retrieval_overlap = {compare.retrieval_overlap} must be below compare.retrieval_window = "
            f"{compare.retrieval_window}; lower it",
        ),
        (
            "/" in (compare.label or "") or config.label in ("", ".", "..", RULES_LABEL),
            f"compare.label names a folder, and '{compare.label or config.label}' will not do; set it to a name of the "
            "model",
        ),
    ]


def key_problems(config: ComparisonConfig) -> list[Problem]:
    """Endpoints without the key that they need."""
    endpoints = {
        "compare.endpoint": config.compare.endpoint,
        "compare.judge.endpoint": config.compare.judge.endpoint,
    }
    found = [key_problem(endpoint, key) for key, endpoint in endpoints.items()]
    return [(problem is not None, str(problem)) for problem in found]
