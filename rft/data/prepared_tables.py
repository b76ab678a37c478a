"""The two tables of a prepared split as Arrow files: token ids of its contexts, and its questions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from rft.data.contexts import TokenizedContext
from rft.records import Message, Question

TABLES = (CONTEXTS, QUESTIONS) = ("contexts.arrow", "questions.arrow")

MESSAGE_TYPE = pa.struct([("role", pa.string()), ("content", pa.string())])

QUESTION_SCHEMA = pa.schema(
    {
        "question_id": pa.string(),
        "context_id": pa.string(),
        "query": pa.string(),
        "correct_answer": pa.string(),
        "incorrect_answers": pa.list_(pa.string()),
        "cluster": pa.string(),
        "evidence": pa.list_(MESSAGE_TYPE),
        "tags": pa.string(),
        "columns": pa.string(),
    }
)
"""`tags` and `columns` are JSON: their names are the data set's."""

CONTEXT_SCHEMA = pa.schema(
    {
        "context_id": pa.string(),
        "input_ids": pa.list_(pa.int32()),
        "header": pa.string(),
        "footer": pa.string(),
    }
)


def context_batch(some: Sequence[TokenizedContext]) -> pa.RecordBatch:
    offsets = np.cumsum([0, *(len(item.token_ids) for item in some)], dtype=np.int32)
    values = np.concatenate([item.token_ids for item in some]) if some else np.empty(0, dtype=np.int32)
    columns = [
        pa.array([item.context_id for item in some], pa.string()),
        pa.ListArray.from_arrays(offsets, values),
        pa.array([item.parts.header for item in some], pa.string()),
        pa.array([item.parts.footer for item in some], pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=CONTEXT_SCHEMA)


def write_questions(path: Path, questions: Sequence[Question]) -> None:
    rows = [
        dataclasses.asdict(question)
        | {"tags": json.dumps(dict(question.tags)), "columns": json.dumps(dict(question.columns))}
        for question in questions
    ]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, QUESTION_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=QUESTION_SCHEMA))


def read_questions(path: Path) -> list[Question]:
    return [to_question(row) for row in datasets.Dataset.from_file(str(path)).to_list()]


def to_question(row: dict[str, Any]) -> Question:
    return Question(
        **row
        | {
            "incorrect_answers": tuple(row["incorrect_answers"]),
            "evidence": tuple(Message(**message) for message in row["evidence"]),
            "tags": json.loads(row["tags"]),
            "columns": json.loads(row["columns"]),
        }
    )
