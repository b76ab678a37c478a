"""The content fingerprint: what changes it and what does not, the same for every kind of split and of data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from rft.config import DataConfig
from rft.data.dataset import Dataset, RecordError, Split, content_fingerprint, context_digest
from rft.data.formats import open_dataset
from rft.data.memory_split import load_memory_split
from rft.data.prepare import prepare
from rft.data.prompts import McqWording
from rft.records import Context, Message, Question
from rft.tasks.memory import MemoryTask
from tests.unit.data.builder import make_config

QUESTIONS = [
    Question(question_id=f"q{n}", context_id=f"c{n % 2}", cluster=f"c{n % 2}", query="Tea?", correct_answer="Yes.")
    for n in range(4)
]
CONTEXT = Context(context_id="c0", messages=(Message(role="user", content="Tea."),), cluster="c0")


class Made(Dataset):
    """A data set of somebody's own, which has no quick fingerprint."""

    splits = ("train",)
    eval_split = "train"
    questions = QUESTIONS
    contexts = {"c0": CONTEXT, "c1": replace(CONTEXT, context_id="c1", cluster="c1")}  # noqa: RUF012

    @property
    def name(self) -> str:
        return "made"

    def split(self, name: str) -> Split:
        return Split(name=name, questions=tuple(self.questions))

    def context(self, context_id: str) -> Context:
        if context_id not in self.contexts:
            raise RecordError("context_absent", f"no {context_id}")
        return self.contexts[context_id]


def fingerprint(**changes: Any) -> str:
    made = type("Changed", (Made,), changes)
    return str(made(DataConfig()).fingerprint())


def test_rows_that_enter_leave_change_or_move_change_a_data_set_s_fingerprint() -> None:
    assert fingerprint() == fingerprint()
    other = replace(QUESTIONS[0], columns={"distance": 3})
    longer = replace(CONTEXT, messages=(*CONTEXT.messages, Message(role="user", content="Jazz.")))
    found = [
        fingerprint(),
        fingerprint(questions=QUESTIONS[:-1]),
        fingerprint(questions=[*QUESTIONS, replace(QUESTIONS[0], question_id="q9")]),
        fingerprint(questions=QUESTIONS[::-1]),
        fingerprint(questions=[other, *QUESTIONS[1:]]),
        fingerprint(contexts=Made.contexts | {"c0": longer}),
        fingerprint(contexts={"c0": CONTEXT}),
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message(role="assistant", content="Tea."),)},
        {"messages": (Message(role="user", content="Tea"), Message(role="user", content="."))},
        {"profile": Message(role="system", content="Ada.")},
        {"profile": CONTEXT.messages[0], "messages": ()},
        {"context_id": "c1"},
        {"cluster": None},
    ],
)
def test_a_digest_follows_all_that_a_context_says(change: dict[str, Any]) -> None:
    assert context_digest(replace(CONTEXT, **change)) != context_digest(CONTEXT)


def test_a_digest_does_not_follow_notes_which_name_places() -> None:
    assert context_digest(replace(CONTEXT, notes={"odd": "somewhere/c0"})) == context_digest(CONTEXT)


def test_any_text_has_a_fingerprint() -> None:
    odd = replace(QUESTIONS[0], query="\ud83d\u2028\0", columns={"deep": [[{"a": float("nan")}]]})
    assert content_fingerprint([odd], [context_digest(CONTEXT)]) != content_fingerprint(QUESTIONS[:1], [])


def test_both_kinds_of_split_have_the_same_fingerprint_of_the_same_data(
    dataset: Path, tokenizers: Callable[[str], PreTrainedTokenizerFast]
) -> None:
    config = make_config(dataset)
    opened, tokenizer = open_dataset(config.data), tokenizers("chatml")
    whole = prepare(config.data, opened, tokenizer, McqWording(), "train")
    task = MemoryTask(config, tokenizer, opened)
    chunked = load_memory_split(config, opened, task.contexts, task.wording, "train")
    assert whole.manifest["fingerprint"] == chunked.manifest["fingerprint"]
