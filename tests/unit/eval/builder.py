"""Questions, a data set and what is made of them, for tests of comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rft.config import DataConfig
from rft.data.dataset import Dataset, Split
from rft.data.prompts import McqWording
from rft.eval.config import ComparisonConfig
from rft.eval.material import Material
from rft.eval.predictions import Prediction, question_fields
from rft.eval.question_form import QuestionForm
from rft.records import Context, Message, Question, Score
from rft.reward.scorer import TaskScorer


def make_question(number: int, **changes: Any) -> Question:
    """Question `val/<number>` of user `number // 2`; braces in its answer are text, not places to fill."""
    values: dict[str, Any] = {
        "question_id": f"val/{number}", "context_id": f"h{number // 2}", "cluster": str(number // 2),
        "query": "And {now}?", "correct_answer": "Some {jazz}.", "incorrect_answers": ("Metal, pls.", "Opera.", "F."),
        "evidence": (Message(role="user", content="I hum jazz."),),
        "tags": {"kind": "music", "who": "self"}, "columns": {"preference": "Likes jazz"},
    }  # fmt: skip
    return Question(**values | changes)


def make_context(context_id: str) -> Context:
    """Six messages of the user whose number the id ends with, and a profile."""
    cluster = context_id[1:]
    return Context(
        context_id=context_id,
        cluster=cluster,
        profile=Message(role="system", content=f"Card of {cluster}."),
        messages=tuple(
            Message(role=("user", "assistant")[i % 2], content=f"Word {i} of {cluster}.")  # type: ignore[arg-type]
            for i in range(6)
        ),
    )


class UsersDataset(Dataset):
    """Questions of a few users, in memory."""

    splits: ClassVar[tuple[str, ...]] = ("val",)
    eval_split: ClassVar[str] = "val"
    breakdowns: ClassVar[tuple[str, ...]] = ("who", "kind")
    strata: ClassVar[tuple[str, ...]] = ("kind",)

    def __init__(
        self,
        questions: list[Question],
        context: Callable[[str], Context] = make_context,
        config: DataConfig | None = None,
        **others: list[Question],
    ) -> None:
        super().__init__(config or DataConfig())
        self.questions_of = {"val": questions, **others}
        self.splits = tuple(self.questions_of)  # type: ignore[misc]
        self.context_of = context

    @property
    def name(self) -> str:
        return "users"

    def split(self, name: str) -> Split:
        return Split(name=name, questions=tuple(self.questions_of[name]), manifest={"rows_skipped": {"made_up": 1}})

    def context(self, context_id: str) -> Context:
        return self.context_of(context_id)


def make_form(dataset: Dataset, **changes: Any) -> QuestionForm:
    values: dict[str, Any] = {
        "wording": McqWording(), "score": TaskScorer(lambda attempts: [Score(reward=1.0) for _ in attempts]),
        "order_of": dataset.option_order,
    }  # fmt: skip
    return QuestionForm(**values | changes)


def make_material(
    questions: list[Question], dataset: Dataset | None = None, chat: Any = None, **changes: Any
) -> Material:
    """Of these questions; `changes` are sections of the config, such as `data=DataConfig(...)`."""
    dataset = dataset or UsersDataset(questions)
    form = changes.pop("form", None) or make_form(dataset)
    return Material(ComparisonConfig(**changes), dataset, questions, form, chat)


def make_prediction(question: Question, **changes: Any) -> Prediction:
    """A right answer, `b`, unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "sample": 0, "parsed": "b", "reward": 1.0, "failure": None, "finish_reason": "stop", "prompt_tokens": 100,
        "completion_tokens": 10, "question": "q", "text": "t",
    }  # fmt: skip
    order = changes.pop("option_order", (1, 0, 2, 3))
    return Prediction(**question_fields(question, order) | values | changes)


def exact(completions: list[list[dict[str, str]]], answer: list[str], **columns: Any) -> list[float | None]:
    """A reward function: the reply is the reference answer; none for an empty reply."""
    replies = [completion[0]["content"] for completion in completions]
    return [float(reply == right) if reply else None for reply, right in zip(replies, answer, strict=True)]
