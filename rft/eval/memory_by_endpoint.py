"""The memory agent behind an endpoint: contexts in parallel, the updates of one context in turn.

Every update is written down at once (memory_log.py), so that a restart goes on in the middle of a context.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import groupby

from rft.chat.failures import FailedReply
from rft.chat.memory_models import EndpointMemoryModel
from rft.chat.threads import in_threads
from rft.data.memory_split import ChunkedContexts
from rft.eval.asked import Asked
from rft.eval.chat_answers import PutQuestion, failed_prediction, prediction_from_reply
from rft.eval.material import Material
from rft.eval.memory import MemoryTrace
from rft.eval.memory_log import LoggedUpdate, MemoryLog
from rft.eval.predictions import Prediction
from rft.eval.retention import follow_evidence
from rft.eval.shown import Shown
from rft.records import Context, Question


def answer_from_endpoint_memory(
    material: Material, asked: Sequence[Asked], model: EndpointMemoryModel, log: MemoryLog
) -> Iterator[Prediction]:
    """One prediction per question; those of a context come once its memory is written."""
    config, lock = material.config, threading.Lock()

    def load(context_id: str) -> Context:
        # A data set need not stand several threads.
        with lock:
            return material.dataset.context(context_id)

    contexts = ChunkedContexts(load, model.chat, config.memory.chunk_tokens)
    units = [
        (context_id, [question for question, _ in unit])
        for context_id, unit in groupby(asked, key=lambda pair: pair[0].context_id)
    ]

    def answer_unit(questions: list[Question]) -> list[Prediction]:
        try:
            write_memory(questions[0].context_id, contexts, model, log)
        except FailedReply as error:
            # A chunk that nobody read would be missing in the memory: its questions are asked when it is written.
            return [
                failed_prediction(material.form, put_question(material, question), error.failure, str(error))
                for question in questions
            ]
        return [answer_from_written_memory(material, question, contexts, model, log) for question in questions]

    for _, predictions in in_threads(units, answer_unit, config.compare.endpoint.concurrency):
        yield from predictions


def write_memory(context_id: str, contexts: ChunkedContexts, model: EndpointMemoryModel, log: MemoryLog) -> None:
    """Makes the updates that are still missing.

    Raises:
        FailedReply: one of them did not come; those before it are kept.
    """
    done = log.of_context(context_id, 0)
    memory = done[-1].memory if done else ""
    chunks = contexts.chunks(context_id)
    for turn in range(len(done), len(chunks)):
        memory, failure = model.update(chunks[turn], memory)
        log.add([
            LoggedUpdate(
                context_id=context_id,
                question_id=None,
                sample=0,
                turn=turn,
                memory=memory,
                failure=str(failure) if failure else None,
            )
        ])  # fmt: skip


def answer_from_written_memory(
    material: Material, question: Question, contexts: ChunkedContexts, model: EndpointMemoryModel, log: MemoryLog
) -> Prediction:
    updates = log.of_context(question.context_id, 0)
    memory = updates[-1].memory
    put = put_question(material, question)
    reply = model.reply(memory, put.text)
    turn = contexts.evidence_turn(question)
    trace = MemoryTrace(
        memory=memory,
        memory_tokens=model.writer.num_tokens(memory),
        history_tokens=sum(len(chunk.token_ids) for chunk in contexts.chunks(question.context_id)),
        update_failures=tuple(update.failure for update in updates),
        retention=None if turn is None else follow_evidence(question, turn, [update.memory for update in updates]),
    )
    return prediction_from_reply(material.form, put, reply, thought_open=False, memory=trace.as_row())


def put_question(material: Material, question: Question) -> PutQuestion:
    return PutQuestion(question=question, sample=0, asking=material.form.text_of(question), shown=Shown(messages=()))
