"""PersonaMem v1: the released questions, over contexts made here."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rft.config import DataConfig
from rft.data.benchmarks import load_benchmark
from rft.data.personamem_v1 import SharedContexts, read_options, read_questions
from rft.data.prompts import options_of

ROW = {
    "persona_id": "3",
    "question_id": "q-1",
    "question_type": "recall_user_shared_facts",
    "topic": "music",
    "context_length_in_tokens": "900",
    "context_length_in_letters": "4000",
    "distance_to_ref_in_blocks": "2",
    "distance_to_ref_in_tokens": "412",
    "num_irrelevant_tokens": "0",
    "distance_to_ref_proportion_in_context": "45.78%",
    "user_question_or_message": "What could I hear tonight?",
    "correct_answer": "(c)",
    "all_options": str(["(a) Opera, it's fine.", '(b) "Metal".', "(c) Jazz.", "(d) Folk."]),
    "shared_context_id": "c1",
    "end_index_in_shared_context": "2",
}

MESSAGES = [
    {"role": "system", "content": "A card."},
    {"role": "user", "content": "I hum jazz."},
    {"role": "assistant", "content": "Nice."},
    {"role": "user", "content": "And tea?"},
]


def write(folder: Path, *rows: dict[str, str], contexts: dict[str, Any] | None = None) -> Path:
    with (folder / "questions_32k.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(ROW))
        writer.writeheader()
        writer.writerows(rows)
    lines = [json.dumps({name: messages}) for name, messages in (contexts or {"c0": [], "c1": MESSAGES}).items()]
    (folder / "shared_contexts_32k.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_every_released_question_is_read_with_four_options_and_its_letter(personamem_v1: Path, tmp_path: Path):
    shutil.copy(personamem_v1 / "questions_32k.csv", tmp_path)
    with (tmp_path / "questions_32k.csv").open(encoding="utf-8-sig", newline="") as file:
        stored = list(csv.DictReader(file))
    ends: dict[str, int] = {}
    for row in stored:
        context, end = row["shared_context_id"], int(row["end_index_in_shared_context"])
        ends[context] = max(end, ends.get(context, 0))
    with (tmp_path / "shared_contexts_32k.jsonl").open("w", encoding="utf-8") as file:
        for context, end in ends.items():
            messages = [{"role": ("user", "assistant")[i % 2], "content": f"{context[:6]} {i}"} for i in range(end)]
            file.write(json.dumps({context: messages}) + "\n")
    benchmark = load_benchmark("personamem_v1", DataConfig(source=str(tmp_path)), "val")
    assert len(benchmark.questions) == len(stored) == 589
    assert benchmark.manifest == {"num_questions": 589, "correct_option_repeated": 17}
    for question, row in zip(benchmark.questions, stored, strict=True):
        order = benchmark.option_order(question)
        options = options_of(question, order)
        assert len(options) == 4 and all(options)
        letter = row["correct_answer"].strip("()")
        assert "abcd"[order.index(0)] == letter
        assert f"({letter}) {question.correct_answer}"[:40] in row["all_options"].replace("\\'", "'")
        history = benchmark.history(question.history_id)
        assert len(history.messages) == int(row["end_index_in_shared_context"])
        assert history.messages[-1].content.endswith(str(len(history.messages) - 1))


def test_a_question_keeps_its_letters_and_is_asked_in_the_middle_of_its_context(tmp_path: Path):
    questions, orders = read_questions(write(tmp_path, ROW), "32k")
    (question,) = questions
    assert question.correct_answer == "Jazz."
    assert options_of(question, orders[question.question_id]) == ["Opera, it's fine.", '"Metal".', "Jazz.", "Folk."]
    assert (question.persona_id, question.distance_tokens, question.evidence) == (3, 412, ())
    history = SharedContexts(tmp_path, "32k").history(question.history_id)
    assert [message.content for message in history.messages] == ["A card.", "I hum jazz."]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("all_options", "['(a) x', '(b) y', '(c) z']", "row 0 .* does not hold four texts"),
        ("all_options", "['(b) x', '(a) y', '(c) z', '(d) w']", "not labelled"),
        ("all_options", "['(a) x', '(b) ', '(c) z', '(d) w']", "holds an empty one"),
        ("all_options", "__import__('os')", "not a Python list"),
        ("correct_answer", "(e)", "instead of a letter"),
        ("persona_id", "three", "not a whole number"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, column: str, value: str, message: str):
    with pytest.raises(ValueError, match=message):
        read_questions(write(tmp_path, ROW | {column: value}), "32k")


def test_repeated_questions_and_absent_files_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="repeats question_id"):
        read_questions(write(tmp_path, ROW, ROW), "32k")
    with pytest.raises(ValueError, match="does not exist"):
        read_questions(tmp_path, "128k")
    with pytest.raises(ValueError, match="does not exist"):
        SharedContexts(tmp_path, "128k").history("c1:2")


def test_contexts_that_do_not_fit_the_questions_are_named(tmp_path: Path):
    shared = SharedContexts(write(tmp_path, ROW), "32k")
    with pytest.raises(ValueError, match="no context c9"):
        shared.history("c9:1")
    with pytest.raises(ValueError, match="has 4 messages, a question asks for 5"):
        shared.history("c1:5")


def test_both_quoting_styles_are_read():
    assert read_options("""['(a) It\\'s', "(b) It's not", '(c) "so"', '(d) x']""") == ["It's", "It's not", '"so"', "x"]
