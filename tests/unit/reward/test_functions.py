"""Reward functions of the user's: what they are given, what they may return, and how mistakes are named."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import RewardConfig
from rft.records import Attempt, Question, Score
from rft.reward.functions import RewardFunctions, check_reward, reward_part_metrics
from rft.reward.mcq import FailureReason


def attempt(number: int = 0, text: str = "four", **question: Any) -> Attempt:
    return Attempt(
        question=Question(
            **{
                "question_id": f"q{number}",
                "context_id": "lease",
                "cluster": "ann",
                "query": "2 + 2?",
                "correct_answer": "4",
                "incorrect_answers": ("5",),
                **question,
            }
        ),
        option_order=(1, 0),
        asked="2 + 2? Say it.",
        text=text,
        token_ids=(7, 8, 2),
    )


def own(attempts: Sequence[Attempt]) -> list[Score]:
    """The task's own: 1 for `four`, and a failure for no text."""
    return [
        Score(reward=float(a.text == "four"), parsed=a.text or None, failure=None if a.text else FailureReason.EMPTY)
        for a in attempts
    ]


Write = Callable[[str], str]
modules = iter(range(10_000))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a module of the user's; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        name = f"my_rewards_{next(modules)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def functions(module: Write, source: str, *names: str, **config: Any) -> RewardFunctions:
    """The functions of a module with this source; `task` is the task's own scorer."""
    name = module(source)
    paths = [path if path == "task" else f"{name}:{path}" for path in names]
    return RewardFunctions(RewardConfig(function=paths, **config), own)


CONSTANT = """
def value(x):
    def constant(completions, **kwargs):
        return [x for _ in completions]
    constant.__name__ = f"constant_{x}"
    return constant
one, two, none, nan = value(1), value(2), value(None), value(float("nan"))
"""

SEEN = """
seen = []
def look(**kwargs):
    seen.append(kwargs)
    return [0.0] * len(kwargs["completions"])
"""


def seen_by(scorer: RewardFunctions, attempts: Sequence[Attempt]) -> dict[str, Any]:
    scorer(attempts)
    (function,) = scorer.functions
    assert function.call is not None
    seen: list[dict[str, Any]] = function.call.__globals__["seen"]  # type: ignore[attr-defined]
    return seen[-1]


# ------------------------------------------------------------------------------------------ what functions are given


def test_arguments_are_those_of_trl_and_a_list_per_column(module: Write) -> None:
    scorer = functions(module, SEEN, "look")
    given = seen_by(scorer, [attempt(0, "four", tags={"kind": "sum"}), attempt(1, "five", columns={"solution": [4]})])
    assert given["prompts"] == [[{"role": "user", "content": "2 + 2? Say it."}]] * 2
    assert given["completions"] == [
        [{"role": "assistant", "content": "four"}],
        [{"role": "assistant", "content": "five"}],
    ]
    assert given["completion_ids"] == [[7, 8, 2]] * 2
    assert given["question_id"] == ["q0", "q1"]
    assert given["context_id"] == ["lease"] * 2
    assert given["cluster"] == ["ann"] * 2
    assert given["query"] == ["2 + 2?"] * 2
    assert given["answer"] == ["4"] * 2
    assert given["incorrect_answers"] == [["5"]] * 2
    assert given["option_order"] == [[1, 0]] * 2
    assert given["kind"] == ["sum", None]
    assert given["solution"] == [None, [4]]
    assert given["trainer_state"] is scorer.trainer_state
    assert given["trainer_state"].global_step == 0
    assert {"log_metric", "log_extra"} <= set(given)


def test_prompts_and_completions_as_text(module: Write) -> None:
    given = seen_by(functions(module, SEEN, "look", completions="text"), [attempt()])
    assert (given["prompts"], given["completions"]) == (["2 + 2? Say it."], ["four"])


def test_a_column_wins_over_a_field_of_the_question_and_this_over_a_tag(module: Write) -> None:
    tags, columns = {"answer": "tag", "query": "tag", "level": "tag"}, {"answer": "column", "level": 3}
    given = seen_by(functions(module, SEEN, "look"), [attempt(tags=tags, columns=columns)])
    assert (given["answer"], given["query"], given["level"]) == (["column"], ["2 + 2?"], [3])


@pytest.mark.parametrize(
    "name", ["prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"]
)
@pytest.mark.parametrize("kind", ["columns", "tags"])
def test_a_column_with_the_name_of_another_argument_is_refused(module: Write, name: str, kind: str) -> None:
    scorer = functions(module, SEEN, "look")
    taken = attempt(**{kind: {name: "x"}})
    for refuse in (lambda: scorer([attempt(), taken]), lambda: scorer.check_questions([taken.question])):
        with pytest.raises(ValueError, match=f"question q0 has a tag or column '{name}'"):
            refuse()


def test_a_column_that_a_function_needs_and_no_question_has_is_found_early(module: Write) -> None:
    scorer = functions(module, "def exact(completions, solution, **kwargs): ...", "exact")
    scorer.check_questions([attempt(columns={"solution": "4"}).question])
    with pytest.raises(ValueError, match="reward function exact: missing a required argument: 'solution'; .* answer"):
        scorer.check_questions([attempt().question])


def test_no_attempts_no_call(module: Write) -> None:
    assert functions(module, "def fails(**kwargs): raise KeyError", "fails", "task")([]) == []


# ------------------------------------------------------------------------------------------------- what they return


def test_the_reward_is_the_weighted_sum_of_what_is_returned(module: Write) -> None:
    scorer = functions(module, CONSTANT, "one", "two", "none", weights=[1.0, 0.25, 8.0])
    (score,) = scorer([attempt()])
    assert score == Score(reward=1.5, parts={"constant_1": 1.0, "constant_2": 2.0})


def test_without_weights_each_counts_once(module: Write) -> None:
    assert functions(module, CONSTANT, "one", "two")([attempt()])[0].reward == 3.0


def test_none_and_nan_leave_an_attempt_out(module: Write) -> None:
    scores = functions(module, CONSTANT, "none", "nan")([attempt(0), attempt(1)])
    assert scores == [Score(reward=None)] * 2


def test_the_task_s_own_scorer_takes_part_by_name(module: Write) -> None:
    scorer = functions(module, CONSTANT, "one", "task", weights=[0.5, 2.0])
    right, wrong = scorer([attempt(0, "four"), attempt(1, "")])
    assert right == Score(reward=2.5, parsed="four", parts={"constant_1": 1.0, "task": 1.0})
    assert wrong == Score(reward=0.5, failure=FailureReason.EMPTY, parts={"constant_1": 1.0, "task": 0.0})


def test_the_task_s_own_scorer_alone() -> None:
    for config in (RewardConfig(function="task"), RewardConfig()):
        (score,) = RewardFunctions(config, own)([attempt()])
        assert score == Score(reward=1.0, parsed="four", parts={"task": 1.0})


def test_what_the_task_s_own_scorer_leaves_out_is_no_part(module: Write) -> None:
    name = module(CONSTANT)
    scorer = RewardFunctions(RewardConfig(function=["task", f"{name}:one"]), lambda attempts: [Score(reward=None)])
    assert scorer([attempt()]) == [Score(reward=1.0, parts={"constant_1": 1.0})]


def test_numbers_of_numpy_and_torch_and_booleans_are_numbers(module: Write) -> None:
    source = """
import fractions
import numpy as np
import torch
def scalars(completions, **kwargs):
    quarter = fractions.Fraction(1, 4)
    return [True, np.float32(0.5), np.bool_(True), torch.tensor(2.0), torch.tensor(3), np.float64("nan"), quarter]
def array(completions, **kwargs): return np.arange(len(completions))
def tensor(completions, **kwargs): return torch.arange(len(completions)) / 2
def generator(completions, **kwargs): return (float(i) for i, _ in enumerate(completions))
"""
    scorer = functions(module, source, "scalars", "array", "tensor", "generator", "generator")
    parts = [score.parts for score in scorer([attempt(i) for i in range(7)])]
    assert [part.get("scalars") for part in parts] == [1.0, 0.5, 1.0, 2.0, 3.0, None, 0.25]
    assert all(isinstance(value, float) for part in parts for value in part.values())
    assert parts[3] == {"scalars": 2.0, "array": 3.0, "tensor": 1.5, "generator": 3.0, "generator_2": 3.0}


def test_names_are_unique_and_as_trl_says_them(module: Write) -> None:
    source = """
import functools
def f(scale=1, **kwargs): return [scale] * len(kwargs["completions"])
def task(**kwargs): return [0] * len(kwargs["completions"])
class Judge:
    def __call__(self, **kwargs): return f(**kwargs)
half = functools.partial(f, scale=0.5)
judge = Judge()
"""
    scorer = functions(module, source, "f", "half", "judge", "task", "f")
    assert [function.name for function in scorer.functions] == ["f", "f_2", "Judge", "task", "f_3"]
    name = module(source)
    scorer = RewardFunctions(RewardConfig(function=[f"{name}:task", "task"]), own)
    assert [function.name for function in scorer.functions] == ["task_2", "task"]


@given(st.lists(st.lists(st.none() | st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=4), st.data())
def test_any_values_are_summed_as_documented(values: list[list[float | None]], data: st.DataObject) -> None:
    import sys
    import types

    weights = data.draw(st.lists(st.floats(-10, 10), min_size=len(values), max_size=len(values)))
    made = types.ModuleType("drawn_rewards")
    for index, column in enumerate(values):
        setattr(made, f"f{index}", lambda column=column, **kwargs: column)
    sys.modules["drawn_rewards"] = made
    paths = [f"drawn_rewards:f{index}" for index in range(len(values))]
    scores = RewardFunctions(RewardConfig(function=paths, weights=weights), own)([attempt(i) for i in range(3)])
    for row, score in zip(zip(*values, strict=True), scores, strict=True):
        terms = [weight * value for weight, value in zip(weights, row, strict=True) if value is not None]
        assert (score.reward is None) == (not terms)
        assert len(score.parts) == len(terms)
        if score.reward is not None:
            assert score.reward == pytest.approx(sum(terms))


# ----------------------------------------------------------------------------------------------- async functions

ASYNC = """
import asyncio
meeting = None
loops = []
async def first(completions, **kwargs):
    global meeting
    meeting = meeting or asyncio.Barrier(2)
    loops.append(asyncio.get_running_loop())
    await asyncio.wait_for(meeting.wait(), 20)
    return [1.0] * len(completions)
class Second:
    async def __call__(self, completions, **kwargs):
        return [value * 2 for value in await first(completions)]
second = Second()
async def fails(completions, **kwargs):
    await asyncio.sleep(0)
    raise LookupError("no judge")
async def leaves(completions, **kwargs):
    raise SystemExit(3)
"""


def test_async_functions_run_at_the_same_time_and_in_one_loop(module: Write) -> None:
    scorer = functions(module, ASYNC, "first", "second", "task")
    for _ in range(2):
        (score,) = scorer([attempt()])
        assert score.parts == {"first": 1.0, "Second": 2.0, "task": 1.0}
    loops = scorer.functions[0].call.__globals__["loops"]  # type: ignore[union-attr]
    assert len(set(loops)) == 1, "clients that a function keeps would be bound to a closed loop"


def test_async_functions_run_where_a_loop_is_running_already(module: Write) -> None:
    scorer = functions(module, ASYNC, "first", "second")

    async def caller() -> list[Score]:
        return scorer([attempt()])

    assert asyncio.run(caller())[0].reward == 3.0


@pytest.mark.parametrize(("name", "error"), [("fails", LookupError), ("leaves", SystemExit)])
def test_an_async_function_that_raises_is_named(module: Write, name: str, error: type[BaseException]) -> None:
    with pytest.raises(
        RuntimeError, match=f"reward function {name} raised {error.__name__} .* at question q0"
    ) as caught:
        functions(module, ASYNC, name)([attempt()])
    assert isinstance(caught.value.__cause__, error)


# ------------------------------------------------------------------------------------------------ what goes wrong

RAISES = """
calls = []
def raises(completions, question_id, **kwargs):
    calls.append(len(completions))
    if "q2" in question_id:
        raise KeyError("no such\\nthing")
    return [1.0] * len(completions)
def only_together(completions, **kwargs):
    assert len(completions) == 1, "one at a time"
    return [1.0]
def needs_solution(completions, solution, **kwargs):
    return [len(s) for s in solution]
"""


def one_line(error: BaseException) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_a_function_that_raises_is_named_with_the_question(module: Write) -> None:
    scorer = functions(module, RAISES, "raises")
    with pytest.raises(RuntimeError) as caught:
        scorer([attempt(i) for i in range(5)])
    assert one_line(caught.value).startswith("reward function raises raised KeyError (")
    assert one_line(caught.value).endswith("at question q2")
    assert isinstance(caught.value.__cause__, KeyError)
    assert scorer.functions[0].call.__globals__["calls"] == [5, 1, 1, 1]  # type: ignore[union-attr]


def test_a_function_that_raises_for_the_batch_alone_is_named_with_its_questions(module: Write) -> None:
    with pytest.raises(RuntimeError, match="at the questions q0, q1, q2, q3, q4 and 2 more, but at none of them alone"):
        functions(module, RAISES, "only_together")([attempt(i) for i in range(7)])


def test_a_single_attempt_has_the_columns_of_its_batch(module: Write) -> None:
    """Else the search for the question would find one where a column is absent."""
    attempts = [attempt(0, columns={"solution": "4"}), attempt(1), attempt(2, columns={"solution": "4"})]
    with pytest.raises(RuntimeError, match=r"TypeError .*at question q1"):
        functions(module, RAISES, "needs_solution")(attempts)


def test_what_the_task_s_own_scorer_raises_passes_through(module: Write) -> None:
    def refuse(attempts: Sequence[Attempt]) -> list[Score]:
        raise ValueError("this task has no reward of its own")

    with pytest.raises(ValueError, match="no reward of its own"):
        RewardFunctions(RewardConfig(function="task"), refuse)([attempt()])


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("[1.0]", "returned 1 values for 2 completions, at the questions q0, q1"),
        ("[1.0] * 3", "returned 3 values for 2 completions"),
        ("None", "returned NoneType (None) instead of a list of 2 values"),
        ("1.0", "returned float (1.0) instead of a list of 2 values"),
        ("[1.0, 'good\\nor not']", "returned str ('good\\nor not') at question q1, which is neither a number nor None"),
        ("[[1.0], 2.0]", "returned list ([1.0]) at question q0"),
        ("'ab'", "returned str ('a') at question q0"),
        ("[1.0, float('inf')]", "returned float (inf) at question q1, which is not finite"),
        ("[-float('inf'), 1]", "at question q0, which is not finite"),
        ("[10 ** 400, 1]", "at question q0, which is not finite"),
        ("[1.0, 1e308]", "at question q1, which is not finite with its weight 100.0"),
        ("[1j, 1]", "neither a number nor None"),
    ],
)
def test_what_is_no_reward_is_named_with_function_and_question(module: Write, returned: str, words: str) -> None:
    scorer = functions(module, f"def bad(**kwargs): return {returned}", "bad", weights=[100.0])
    with pytest.raises(RuntimeError) as caught:
        scorer([attempt(0), attempt(1)])
    assert one_line(caught.value).startswith("reward function bad returned ")
    assert words in one_line(caught.value)


SOURCE = """
import torch
def good(**kwargs): return [0.0]
def maker(max_length, punishment): return good
class Judge:
    def __call__(self, **kwargs): return [0.0]
model = torch.nn.Linear(1, 1)
number = 3
"""


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"function": []}, "reward.function is an empty list"),
        ({"function": ["good", "good"], "weights": [1.0]}, "reward.weights has 1 numbers for 2 functions"),
        ({"function": "good", "weights": [1.0, 2.0]}, "reward.weights has 2 numbers for 1 functions"),
        ({"function": ["task", "task"]}, "names 'task' 2 times"),
        ({"weights": [1.0]}, "reward.weights needs reward.function"),
        ({"function": "absent"}, "has no absent"),
        ({"function": "model"}, "is a model; reward models are not supported"),
        ({"function": "number"}, "is a int; name a function"),
        ({"function": "Judge"}, "is a class; name a function"),
        ({"function": "maker"}, "does not take **kwargs"),
        ({"function": ["good", "some-lab/reward-model"]}, "neither 'task' nor of the form package.module:name"),
        ({"function": "reward-model"}, "reward models are not supported"),
        ({"function": "no_such_module:f"}, "cannot import no_such_module"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_work_is_refused_in_one_line(module: Write, config: dict[str, Any], words: str) -> None:
    name = module(SOURCE)
    kinds = {"good", "maker", "Judge", "model", "number", "absent"}
    named = [config["function"]] if isinstance(config.get("function"), str) else config.get("function")
    if named is not None:
        config = config | {"function": [f"{name}:{path}" if path in kinds else path for path in named]}
    for refuse in (check_reward, lambda reward: RewardFunctions(reward, own)):
        with pytest.raises(ValueError) as caught:
            refuse(RewardConfig(**config))
        assert words in one_line(caught.value)


@pytest.mark.parametrize("weight", [math.inf, -math.inf, math.nan])
def test_a_weight_that_is_not_finite_is_no_config(weight: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        RewardConfig(function="task", weights=[weight])


def test_what_can_work_is_not_refused(module: Write) -> None:
    check_reward(RewardConfig())
    check_reward(RewardConfig(function=["task", f"{module(SOURCE)}:good"], weights=[1.0, 0.0]))


# -------------------------------------------------------------------------------------------------------- metrics


def test_logged_metrics_are_averaged_and_taken_once(module: Write) -> None:
    source = """
import torch
def logs(completions, log_metric, log_extra, **kwargs):
    log_extra("remark", ["x"] * len(completions))
    for value in (1, 2.0, torch.tensor(6.0)):
        log_metric("judge/minutes", value)
    return [0.0] * len(completions)
"""
    scorer = functions(module, source, "logs")
    scorer([attempt()])
    assert scorer.pop_metrics() == {"judge/minutes": 3.0}
    assert scorer.pop_metrics() == {}


def test_metrics_of_parts_have_trl_s_names() -> None:
    scores = [
        Score(reward=1.0, parts={"exact": 1.0, "rare": 5.0}),
        Score(reward=0.0, parts={"exact": 0.0}),
        Score(reward=None),
        Score(reward=2.0, parts={"exact": 2.0}),
    ]
    assert reward_part_metrics(scores) == {
        "rewards/exact/mean": 1.0,
        "rewards/exact/std": 1.0,
        "rewards/rare/mean": 5.0,
        "reward/left_out_ratio": 0.25,
    }
    assert reward_part_metrics([]) == {}


# ------------------------------------------------------------------------------------------- trl's own functions

TRL = """
from trl.rewards import get_cosine_scaled_reward, get_repetition_penalty_reward, get_soft_overlong_punishment
from trl.rewards import accuracy_reward, think_format_reward
overlong = get_soft_overlong_punishment(max_completion_len=4, soft_punish_cache=2)
repetition = get_repetition_penalty_reward(ngram_size=1)
cosine = get_cosine_scaled_reward(max_len=6)
async def think_later(**kwargs):
    return think_format_reward(**kwargs)
"""

THOUGHT = "<think>\nTwo and two.\n</think>\nfour"


def test_trl_s_own_functions_run_unchanged(module: Write) -> None:
    scorer = functions(
        module, TRL, "think_format_reward", "overlong", "repetition", "think_later", weights=[1, 2, 3, 4]
    )
    thought, plain = scorer([attempt(0, THOUGHT), attempt(1, "four")])
    shared = {"soft_overlong_punishment_reward": -0.5, "repetition_penalty_reward": 0.0}
    assert thought.parts == {"think_format_reward": 1.0, **shared, "think_later": 1.0}
    assert plain.parts == {"think_format_reward": 0.0, **shared, "think_later": 0.0}
    assert (thought.reward, plain.reward) == (4.0, -1.0)


def test_trl_s_functions_of_a_solution_run_unchanged(module: Write) -> None:
    pytest.importorskip("math_verify")
    scorer = functions(module, TRL, "accuracy_reward", "cosine")
    texts = [r"\boxed{\frac{1}{3}}", r"\boxed{\frac{1}{2}}", "x"]
    solutions = [r"\frac{1}{3}", r"\frac{1}{3}", "no formula"]
    attempts = [
        attempt(i, text, columns={"solution": solution})
        for i, (text, solution) in enumerate(zip(texts, solutions, strict=True))
    ]
    right, wrong, unreadable = scorer(attempts)
    assert right.parts == pytest.approx({"accuracy_reward": 1.0, "cosine_scaled_reward": 0.75})
    assert wrong.parts == pytest.approx({"accuracy_reward": 0.0, "cosine_scaled_reward": -0.75})
    assert unreadable.reward is None
