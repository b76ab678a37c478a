"""PersonaMem v1: the released questions, over contexts made here."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rft.config import DataConfig
from rft.data.dataset import RecordError
from rft.data.prompts import gold_letter, options_of
from rft.data.readers.personamem_v1 import PersonaMemV1, parse_options
from rft.records import Message

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


def open_v1(folder: Path, **data: Any) -> PersonaMemV1:
    return PersonaMemV1(DataConfig(source=str(folder), format="personamem_v1", **data))


def test_every_released_question_is_read_with_four_options_and_its_letter(personamem_v1: Path, tmp_path: Path) -> None:
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
    dataset = open_v1(tmp_path)
    split = dataset.split("benchmark")
    assert len(split.questions) == len(stored) == 589
    assert split.manifest == {"correct_option_repeated": 17, "rows_skipped": {}}
    for question, row in zip(split.questions, stored, strict=True):
        order = dataset.option_order(question)
        options = options_of(question, order)
        assert len(options) == 4
        assert all(options)
        letter = row["correct_answer"].strip("()")
        assert gold_letter(order) == letter
        assert f"({letter}) {question.correct_answer}"[:40] in row["all_options"].replace("\\'", "'")
        context = dataset.context(question.context_id)
        assert len(context.messages) == int(row["end_index_in_shared_context"])
        assert context.messages[-1].content.endswith(str(len(context.messages) - 1))
        assert set(question.tags) == set(PersonaMemV1.breakdowns)


def test_a_question_keeps_its_letters_and_is_asked_in_the_middle_of_its_context(tmp_path: Path) -> None:
    dataset = open_v1(write(tmp_path, ROW))
    (question,) = dataset.split("benchmark").questions
    assert question.correct_answer == "Jazz."
    assert options_of(question, dataset.option_order(question)) == ["Opera, it's fine.", '"Metal".', "Jazz.", "Folk."]
    assert (question.question_id, question.cluster, question.evidence) == ("v1/q-1", "3", ())
    assert question.tags == {
        "question_type": "recall_user_shared_facts",
        "topic": "music",
        "distance_tokens": "0-1k",
    }
    context = dataset.context(question.context_id)
    assert context.profile == Message(role="system", content="A card.")
    assert context.messages == (Message(role="user", content="I hum jazz."),)


def test_another_instance_knows_the_letters_without_reading(tmp_path: Path) -> None:
    (question,) = open_v1(write(tmp_path, ROW)).split("benchmark").questions
    assert open_v1(tmp_path).option_order(question) == (1, 2, 0, 3)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("all_options", "['(a) x', '(b) y', '(c) z']", "row 0 .*all_options: does not hold four texts"),
        ("all_options", "['(b) x', '(a) y', '(c) z', '(d) w']", "not labelled"),
        ("all_options", "['(a) x', '(b) ', '(c) z', '(d) w']", "holds an empty option"),
        ("all_options", "__import__('os')", "not a Python literal"),
        ("all_options", "[" * 5000, "not a Python literal"),
        ("correct_answer", "(e)", "instead of a letter"),
        ("persona_id", "three", "not a whole number"),
        ("end_index_in_shared_context", "-1", "cannot end before its first message"),
        ("user_question_or_message", " ", "is empty"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_or_skipped(tmp_path: Path, column: str, value: str, message: str) -> None:
    folder = write(tmp_path, ROW | {column: value}, ROW | {"question_id": "q-2"})
    with pytest.raises(RecordError, match=message) as caught:
        open_v1(folder).split("benchmark")
    assert f"row 0 (rows count from 0), {column}" in str(caught.value)
    split = open_v1(folder, bad_rows="skip").split("benchmark")
    assert [question.question_id for question in split.questions] == ["v1/q-2"]
    assert split.manifest["rows_skipped"] == {column: 1}


def test_repeated_questions_and_absent_files_are_named(tmp_path: Path) -> None:
    dataset = open_v1(write(tmp_path, ROW, ROW))
    with pytest.raises(RecordError, match="row 1 .*question_id: repeats row 0"):
        dataset.split("benchmark")
    with pytest.raises(ValueError, match=r"questions_128k\.csv does not exist"):
        open_v1(tmp_path, window="128k")
    (tmp_path / "shared_contexts_32k.jsonl").unlink()
    with pytest.raises(ValueError, match=r"shared_contexts_32k\.jsonl does not exist") as caught:
        dataset.context("c1:2")
    assert not isinstance(caught.value, RecordError), "a file that is not there is no bad row"


def test_a_file_without_a_usable_row_is_named(tmp_path: Path) -> None:
    write(tmp_path, ROW | {"persona_id": "?"})
    with pytest.raises(ValueError, match="holds no usable question"):
        open_v1(tmp_path, bad_rows="skip").split("benchmark")


def test_contexts_that_do_not_fit_the_questions_are_named(tmp_path: Path) -> None:
    dataset = open_v1(write(tmp_path, ROW))
    with pytest.raises(RecordError, match="no context c9"):
        dataset.context("c9:1")
    with pytest.raises(RecordError, match="has 4 messages, a question asks for 5"):
        dataset.context("c1:5")


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n  \r\n"])
def test_blank_lines_of_the_contexts_are_fine(tmp_path: Path, end: str) -> None:
    dataset = open_v1(write(tmp_path, ROW))
    path = tmp_path / "shared_contexts_32k.jsonl"
    path.write_bytes(b"\n" + path.read_bytes().rstrip() + end.encode())
    assert len(dataset.context("c1:4").messages) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"c1": [', "line 3 is not complete JSON"),
        (b"[" * 5000, "line 3 is nested too deeply"),
        (b"[1]", "line 3 is not one JSON object with one key"),
        (b'{"a": [], "b": []}', "line 3 is not one JSON object with one key"),
        (b'{"a\xff": []}', "line 3 is not UTF-8"),
    ],
)
def test_a_broken_line_of_the_contexts_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    dataset = open_v1(write(tmp_path, ROW))
    path = tmp_path / "shared_contexts_32k.jsonl"
    path.write_bytes(path.read_bytes() + line)
    with pytest.raises(ValueError, match=message) as caught:
        dataset.context("c1:2")
    assert "\n" not in str(caught.value)


def test_messages_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    dataset = open_v1(write(tmp_path, ROW, contexts={"c1": [{"role": "tool", "content": "x"}]}))
    with pytest.raises(RecordError, match="context c1 message 0 has the role 'tool'"):
        dataset.context("c1:1")


def test_the_window_of_a_million_tokens_is_read(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    for name in ("questions_32k.csv", "shared_contexts_32k.jsonl"):
        (tmp_path / name).rename(tmp_path / name.replace("32k", "1M"))
    dataset = open_v1(tmp_path, window="1M")
    (question,) = dataset.split("benchmark").questions
    assert dataset.name == "personamem_v1-1M"
    assert len(dataset.context(question.context_id).messages) == 1


def test_other_splits_and_options_are_refused(tmp_path: Path) -> None:
    dataset = open_v1(write(tmp_path, ROW))
    with pytest.raises(ValueError, match="personamem_v1-32k has no split 'train'"):
        dataset.split("train")
    with pytest.raises(ValueError, match=r"data\.options\.letters has no effect"):
        open_v1(tmp_path, options={"letters": 4})


def test_the_fingerprint_follows_both_files(tmp_path: Path) -> None:
    before = open_v1(write(tmp_path, ROW)).fingerprint()
    assert open_v1(tmp_path).fingerprint() == before
    (tmp_path / "shared_contexts_32k.jsonl").write_text('{"c1": []}\n', encoding="utf-8")
    after = open_v1(tmp_path).fingerprint()
    write(tmp_path, ROW, ROW | {"question_id": "q-2"}, contexts={"c1": []})
    assert len({before, after, open_v1(tmp_path).fingerprint()}) == 3


def test_both_quoting_styles_are_read() -> None:
    text = """['(a) It\\'s', "(b) It's not", '(c) "so"', '(d) x']"""
    assert parse_options(text) == ["It's", "It's not", '"so"', "x"]
