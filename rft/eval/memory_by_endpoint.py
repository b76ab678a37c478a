"""The memory agent behind an endpoint: histories in parallel, the updates of one history in turn.

Every update is written down at once (memories.jsonl), so that a restart goes on in the middle of a history.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rft.chat.memory_models import EndpointMemoryModel
from rft.chat.models import in_threads
from rft.data.memory_split import ChunkedHistories
from rft.eval.ask import Ask, Asked, option_order, predict, question_text
from rft.eval.config import EvaluationConfig
from rft.eval.memory import MemoryTrace
from rft.eval.predictions import Prediction
from rft.eval.retention import follow
from rft.eval.systems import Material, Shown
from rft.jsonl import keep_whole_lines, whole_lines
from rft.records import Question

Update = dict[str, Any]
"""A line of memories.jsonl: history_id, turn, memory, failure."""


class Memories:
    """The updates made so far; several threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.of_history: dict[str, list[Update]] = {}
        keep_whole_lines(path)
        for line in whole_lines(path):
            update = json.loads(line)
            self.of_history.setdefault(update["history_id"], []).append(update)

    def add(self, history_id: str, turn: int, memory: str, failure: str | None) -> None:
        update = {"history_id": history_id, "turn": turn, "memory": memory, "failure": failure}
        with self.lock:
            self.of_history.setdefault(history_id, []).append(update)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(update, ensure_ascii=False) + "\n")


def answer_from_endpoint_memory(
    config: EvaluationConfig,
    material: Material,
    asked: Sequence[Asked],
    model: EndpointMemoryModel,
    memories: Memories,
) -> Iterator[Prediction]:
    """The questions of a history are answered once its memory is written."""
    histories = ChunkedHistories(material.benchmark.history, model.chat, config.memory.chunk_tokens)
    units = [
        (history_id, [question for question, _ in unit])
        for history_id, unit in groupby(asked, key=lambda pair: pair[0].history_id)
    ]

    def work(questions: list[Question]) -> list[Prediction]:
        write_memory(questions[0].history_id, histories, model, memories)
        return [answer(config, material, question, histories, model, memories) for question in questions]

    for _, predictions in in_threads(units, work, config.evaluate.endpoint.concurrency):
        yield from predictions


def write_memory(history_id: str, histories: ChunkedHistories, model: EndpointMemoryModel, memories: Memories) -> None:
    """Makes the updates that are still missing."""
    done = memories.of_history.get(history_id, [])
    memory = done[-1]["memory"] if done else ""
    chunks = histories.chunks(history_id)
    for turn in range(len(done), len(chunks)):
        memory, failure = model.update(chunks[turn], memory)
        memories.add(history_id, turn, memory, str(failure) if failure else None)


def answer(
    config: EvaluationConfig,
    material: Material,
    question: Question,
    histories: ChunkedHistories,
    model: EndpointMemoryModel,
    memories: Memories,
) -> Prediction:
    updates = memories.of_history[question.history_id]
    memory = updates[-1]["memory"]
    order = option_order(config, material.benchmark, question)
    text = question_text(config, material.benchmark, question)
    reply = model.reply(memory, text)
    turn = histories.evidence_turn(question)
    trace = MemoryTrace(
        memory=memory,
        memory_tokens=model.writer.num_tokens(memory),
        history_tokens=sum(len(chunk.token_ids) for chunk in histories.chunks(question.history_id)),
        update_failures=tuple(update["failure"] for update in updates),
        retention=None if turn is None else follow(question, turn, [update["memory"] for update in updates]),
    )
    ask = Ask(question=question, sample=0, order=order, text=text, shown=Shown(messages=()))
    return predict(config, ask, reply, thought_open=False, memory=trace.as_row())
