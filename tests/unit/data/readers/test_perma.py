"""PERMA: sessions of a timeline become contexts up to a question's day, and one text becomes lettered options."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import DataConfig
from rft.data.dataset import RecordError
from rft.data.formats import open_dataset
from rft.data.prompts import LETTERS, McqWording, gold_letter
from rft.data.readers.cells import CellError
from rft.data.readers.perma import Perma, day_of, options_of

QUESTION: dict[str, Any] = {
    "task_id": "SD-Books-task-1",
    "question": "A book for tonight?",
    "task_description": "hidden",
    "task_goal": "hidden",
    "question_date": "2023-02-10",
    "scope": "overall",
    "task_type": 2,
    "options": "A: A thriller.\nB: A plan:\n\n1. Poems\n2. Tea\nC: I cannot say.",
    "gold_label": "B",
}
TIMELINE: list[dict[str, Any]] = [
    {"task_id": "event_1 (Books)", "date": "2023-01-15 Morning", "description": "hidden"},
    {"task_id": "event_1 (Travel)", "date": "2023-02-10 Evening"},
    {"task_id": "event_2 (Books)", "date": "2023-03-01 Afternoon"},
]
TOPICS: list[dict[str, Any]] = [
    {
        "topic": "Books",
        "timeline": [],
        "dialogs": [
            {
                "task_id": "event_2 (Books)",
                "conversation": [{"role": "user", "content": "No more thrillers."}],
                "preferences": "hidden",
            },
            {
                "task_id": "event_1 (Books)",
                "conversation": [
                    {"role": "user", "content": "I read poems."},
                    {"role": "assistant", "content": ""},
                    {"role": "assistant", "content": "Lovely."},
                ],
            },
        ],
    },
    {
        "topic": "Travel",
        "dialogs": [{"task_id": "event_1 (Travel)", "conversation": [{"role": "user", "content": "Rome!"}]}],
    },
]


def write(
    folder: Path, questions: dict[str, Any], timeline: Any = TIMELINE, topics: Any = TOPICS, **data: Any
) -> Perma:
    """A release with one user; `questions` by the names of their files."""
    tasks, evaluation = folder / "tasks" / "user7", folder / "evaluation" / "user7" / "meta" / "overall"
    for place in (tasks, evaluation):
        place.mkdir(parents=True, exist_ok=True)
    for name, question in questions.items():
        (evaluation / f"{name}.json").write_text(json.dumps(question), encoding="utf-8")
    (tasks / "interleaved_timeline.json").write_text(json.dumps(timeline), encoding="utf-8")
    (tasks / "raw_dialogues_c.json").write_text(json.dumps(topics), encoding="utf-8")
    opened = open_dataset(DataConfig(source=str(folder), format="perma", **data))
    assert isinstance(opened, Perma)
    return opened


def test_a_question_has_its_options_and_what_came_before_it(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"SD-Books-task-1_2": QUESTION})
    (question,) = dataset.split("benchmark").questions
    assert (question.question_id, question.cluster) == ("user7/SD-Books-task-1_2", "user7")
    assert question.query == "A book for tonight?"
    assert question.correct_answer == "A plan:\n\n1. Poems\n2. Tea"
    assert question.incorrect_answers == ("A thriller.", "I cannot say.")
    assert question.tags == {"kind": "single_domain", "stage": "in_time"}
    context = dataset.context(question.context_id)
    assert [(message.role, message.content) for message in context.messages] == [
        ("user", "[2023-01-15 Morning] I read poems."),
        ("assistant", "Lovely."),
        ("user", "[2023-02-10 Evening] Rome!"),
    ]
    assert (context.cluster, dataset.name) == ("user7", "perma-c")


def test_nothing_is_shown_of_what_the_release_says_about_the_answers(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"SD-Books-task-1_2": QUESTION})
    (question,) = dataset.split("benchmark").questions
    shown = repr(dataset.context(question.context_id)) + McqWording().ask(question, dataset.option_order(question))
    assert "hidden" not in shown and "hidden" not in repr(question)


def test_questions_of_one_day_share_a_context_and_stand_together(tmp_path: Path) -> None:
    later = QUESTION | {"task_id": "MD-task-3", "task_type": 3, "question_date": "2023-04-01"}
    early = QUESTION | {"task_type": 1, "question_date": "2023-01-01"}
    dataset = write(tmp_path, {"MD-task-3_3": later, "SD-Books-task-1_1": early, "SD-Books-task-1_2": QUESTION,
                               "SD-Books-task-2_2": QUESTION})  # fmt: skip
    questions = dataset.split("benchmark").questions
    assert [question.context_id for question in questions] == [
        "user7/2023-01-01", "user7/2023-02-10", "user7/2023-02-10", "user7/2023-04-01",
    ]  # fmt: skip
    assert [question.tags["stage"] for question in questions] == ["before", "in_time", "in_time", "afterwards"]
    assert questions[-1].tags["kind"] == "multi_domain"
    sizes = [len(dataset.context(question.context_id).messages) for question in questions]
    assert sizes == [0, 3, 3, 4]
    whole = dataset.context(questions[-1].context_id).messages
    assert whole[:3] == dataset.context(questions[1].context_id).messages


def test_options_are_shown_in_an_order_of_our_own_that_never_changes(tmp_path: Path) -> None:
    dataset = write(tmp_path, {f"SD-Books-task-{n}_2": QUESTION for n in range(9)})
    orders = [dataset.option_order(question) for question in dataset.split("benchmark").questions]
    assert orders == [dataset.option_order(question) for question in dataset.split("benchmark").questions]
    assert len({gold_letter(order) for order in orders}) > 1


def test_other_dialogues_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"SD-Books-task-1_2": QUESTION}, options={"dialogues": "n"})
    with pytest.raises(RecordError, match="raw_dialogues_n.json cannot be read"):
        dataset.split("benchmark")
    noisy = json.dumps(TOPICS).replace("I read poems.", "Hm, poems? Never mind, yes.")
    (tmp_path / "tasks" / "user7" / "raw_dialogues_n.json").write_text(noisy)
    (question,) = dataset.split("benchmark").questions
    assert dataset.context(question.context_id).messages[0].content.endswith("Hm, poems? Never mind, yes.")
    assert dataset.name == "perma-n"


@pytest.mark.parametrize("value", ["clean", 1, None])
def test_dialogues_that_there_are_none_of_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match="data.options.dialogues must be one of c, n, s"):
        write(tmp_path, {"SD-Books-task-1_2": QUESTION}, options={"dialogues": value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": ...}, "lacks question"),
        ({"question_date": "soon"}, "question_date is 'soon'"),
        ({"question_date": "2023-02-31"}, "question_date is '2023-02-31'"),
        ({"options": "One. Two."}, "options does not begin with A: but with 'One. Two.'"),
        ({"options": "B: Two.\nC: Three."}, "options does not begin with A:"),
        ({"options": "A: One."}, "fewer than two options"),
        ({"options": "A: One.\nB:\nC: Three."}, "option B has no text"),
        ({"options": "A: One.\nB: One."}, "the same option twice"),
        ({"gold_label": "D"}, "gold_label is 'D', and the options are A, B, C"),
        ({"task_type": 4}, "has a task_type other than 1, 2 or 3"),
        ({"task_type": [2]}, "has a task_type other than 1, 2 or 3"),
        ({"task_type": True}, "has a task_type other than 1, 2 or 3"),
        ({"task_type": None}, "has a task_type other than 1, 2 or 3"),
        ({"gold_label": "b"}, "gold_label is 'b', and the options are A, B, C"),
        ({"gold_label": ["B"]}, "gold_label is neither text nor a number"),
        ({"options": ["One.", "Two."]}, "options is neither text nor a number"),
        ({"options": {"A": "One.", "B": "Two."}}, "options is neither text nor a number"),
        ({"options": "A: One.\nB: Two.\nD: Four."}, "option B has a line that begins with D:"),
        ({"options": "A: One.\nB: Two.\nB: Three."}, "option B has a line that begins with B:"),
        ({"options": "A: One.\n B: Two.\nB: Three."}, "option A has a line that begins with B:"),
        ({"question_date": "2023/02/10"}, "question_date is '2023/02/10', which does not begin with a date"),
        ({"question_date": 20230210}, "question_date is '20230210'"),
        ({"task_id": "XD-task-1"}, "begins with neither SD- nor MD-"),
    ],
)
def test_a_question_that_cannot_be_used_is_named_or_skipped(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bad = {key: value for key, value in (QUESTION | changes).items() if value is not ...}
    files = {"SD-Books-task-1_2": bad, "SD-Books-task-2_2": QUESTION}
    with pytest.raises(RecordError, match=message) as caught:
        write(tmp_path, files).split("benchmark")
    assert "SD-Books-task-1_2.json" in str(caught.value) and "\n" not in str(caught.value)
    split = write(tmp_path, files, bad_rows="skip").split("benchmark")
    assert len(split.questions) == 1
    assert split.manifest == {"users": 1, "dialogues_not_in_the_timeline": 0, "rows_skipped": {"question_format": 1}}


@pytest.mark.parametrize(
    ("timeline", "topics", "message"),
    [
        (["x"], TOPICS, "timeline event 0 .* is no object"),
        ([{"date": "2023-01-01"}], TOPICS, "lacks task_id"),
        ([TIMELINE[0] | {"date": "Monday"}], TOPICS, "timeline event 0 .* does not begin with a date"),
        ([TIMELINE[0] | {"task_id": "event_9 (Books)"}], TOPICS, "event_9 .* of which there is no dialogue"),
        (TIMELINE, [{"topic": "Books"}], "a topic has no list of objects under dialogs"),
        (TIMELINE, [{"dialogs": [{"conversation": []}]}], "lacks task_id"),
        (
            TIMELINE[:1],
            [{"dialogs": [{"task_id": "event_1 (Books)"}]}],
            "dialogue 'event_1 .* is not a list of messages",
        ),
        ({}, TOPICS, "interleaved_timeline.json is not a list of events"),
        (TIMELINE, {}, "raw_dialogues_c.json is not a list of topics"),
        (TIMELINE, [*TOPICS, TOPICS[1]], r"has two dialogues 'event_1 \(Travel\)'"),
        ([*TIMELINE, TIMELINE[0]], TOPICS, r"timeline event 3 .* names 'event_1 \(Books\)' again"),
        ([TIMELINE[0] | {"date": None}], TOPICS, "date is neither text nor a number"),
    ],
)
def test_sessions_that_cannot_be_used_are_named_or_skipped(
    tmp_path: Path, timeline: Any, topics: Any, message: str
) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        write(tmp_path, {"SD-Books-task-1_2": QUESTION}, timeline, topics).split("benchmark")
    assert "tasks/user7" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="holds no usable question"):
        write(tmp_path, {"SD-Books-task-1_2": QUESTION}, timeline, topics, bad_rows="skip").split("benchmark")


def test_files_that_are_no_questions_are_named(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"SD-Books-task-1_2": ["x"]})
    with pytest.raises(RecordError, match="SD-Books-task-1_2.json is no object"):
        dataset.split("benchmark")
    (tmp_path / "evaluation" / "user7" / "meta" / "overall" / "SD-Books-task-1_2.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RecordError, match="is UTF-16, not UTF-8; save it as UTF-8") as caught:
        dataset.split("benchmark")
    assert caught.value.reason == "question_file"


def test_a_user_s_file_that_cannot_be_used_is_told_where_all_is_left_out(tmp_path: Path) -> None:
    dataset = write(tmp_path, {"SD-Books-task-1_2": QUESTION}, bad_rows="skip")
    path = tmp_path / "tasks" / "user7" / "raw_dialogues_c.json"
    path.write_text("[")
    with pytest.raises(ValueError, match="holds no usable question .1 cannot be used, the first: .* not complete JSON"):
        dataset.split("benchmark")


@pytest.mark.parametrize("value", [2, 2.0, "2"])
def test_a_task_type_is_a_number_however_it_is_written(tmp_path: Path, value: Any) -> None:
    (question,) = write(tmp_path, {"SD-Books-task-1_2": QUESTION | {"task_type": value}}).split("benchmark").questions
    assert question.tags["stage"] == "in_time"


def test_a_timeline_that_is_not_in_order_is_put_in_order_and_noted(tmp_path: Path) -> None:
    later = {"SD-Books-task-1_3": QUESTION | {"task_type": 3, "question_date": "2023-04-01"}}
    dataset = write(tmp_path, later, TIMELINE[::-1])
    (question,) = dataset.split("benchmark").questions
    context = dataset.context(question.context_id)
    assert [message.content[:12] for message in context.messages if message.content.startswith("[")] == [
        "[2023-01-15 ", "[2023-02-10 ", "[2023-03-01 ",
    ]  # fmt: skip
    assert context.notes["sessions_out_of_order"].endswith("2 of them (event_1 (Books), event_2 (Books))")


def test_what_is_left_out_is_noted_or_counted(tmp_path: Path) -> None:
    silent = [TOPICS[0], {"dialogs": [{"task_id": "event_1 (Travel)", "conversation": []}]}]
    dataset = write(tmp_path, {"SD-Books-task-1_2": QUESTION}, TIMELINE[:2], silent)
    split = dataset.split("benchmark")
    assert split.manifest == {"users": 1, "dialogues_not_in_the_timeline": 1, "rows_skipped": {}}
    notes = dataset.context(split.questions[0].context_id).notes
    assert list(notes) == ["messages_without_text"]
    assert notes["messages_without_text"].endswith("2 of them (event_1 (Books) message 1, event_1 (Travel))")


def test_a_folder_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no evaluation/") as caught:
        open_dataset(DataConfig(source=str(tmp_path), format="perma"))
    assert "\n" not in str(caught.value)


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    before = write(tmp_path, {"SD-Books-task-1_2": QUESTION}).fingerprint()
    assert before != write(tmp_path, {"SD-Books-task-2_2": QUESTION}).fingerprint()


# ---------------------------------------------------------------------------------------------------------- parsing

said = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: text.strip() == text and not any(line[1:2] == ":" for line in text.split("\n"))
)


@given(st.lists(said, min_size=2, max_size=26, unique=True))
def test_options_that_were_written_are_read(texts: list[str]) -> None:
    written = "\n".join(f"{letter.upper()}: {text}" for letter, text in zip(LETTERS, texts, strict=False))
    assert list(options_of(written).values()) == texts
    assert "".join(options_of(written)).lower() == "".join(LETTERS[: len(texts)])


@given(st.text() | st.text(st.sampled_from("ABC: \nx")))
def test_any_text_is_options_or_a_problem_in_one_line(text: str) -> None:
    try:
        options = options_of(text)
    except CellError as error:
        assert "\n" not in str(error)
    else:
        assert len(options) >= 2 and all(said.strip() for said in options.values())


@given(st.dates(), st.sampled_from(["", " Morning", " 12:00"]))
def test_a_day_that_was_written_is_read(day: date, behind: str) -> None:
    assert day_of(f"{day.isoformat()}{behind}", "date") == day


@given(st.text())
def test_any_text_is_a_day_or_a_problem_in_one_line(text: str) -> None:
    try:
        assert text.strip().startswith(day_of(text, "date").isoformat())
    except CellError as error:
        assert "\n" not in str(error)
