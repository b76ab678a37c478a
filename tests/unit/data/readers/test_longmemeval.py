"""LongMemEval: sessions become one dated context, and a question has no options."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rft.config import DataConfig
from rft.data.dataset import RecordError
from rft.data.readers.cells import CellError
from rft.data.readers.longmemeval import LongMemEval, time_of
from rft.eval.judge import rubric_of
from rft.records import Message

ITEM: dict[str, Any] = {
    "question_id": "e47b",
    "question_type": "knowledge-update",
    "question": "What do I hum?",
    "answer": 7,
    "question_date": "2023/05/30 (Tue) 23:40",
    "haystack_dates": ["2023/05/20 (Sat) 02:21", "2023/05/21 (Sun) 10:00"],
    "haystack_session_ids": ["s1", "s2"],
    "answer_session_ids": ["s2"],
    "haystack_sessions": [
        [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}],
        [
            {"role": "user", "content": "I hum jazz.", "has_answer": True},
            {"role": "assistant", "content": "", "has_answer": False},
            {"role": "user", "content": "And blues.", "has_answer": True},
        ],
    ],
}


TURN = {"role": "user", "content": "I hum jazz."}


def write(folder: Path, items: Any, name: str = "longmemeval_s_cleaned.json", **data: Any) -> LongMemEval:
    (folder / name).write_text(json.dumps(items), encoding="utf-8")
    return LongMemEval(DataConfig(source=str(folder), format="longmemeval", **data))


def test_sessions_become_one_context(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM, ITEM | {"question_id": "e47b_abs", "question_type": "multi-session"}])
    first, second = dataset.split("benchmark").questions
    context = dataset.context(first.context_id)
    assert context.messages == (
        Message(role="user", content="[2023/05/20 (Sat) 02:21] Hi."),
        Message(role="assistant", content="Hello."),
        Message(role="user", content="[2023/05/21 (Sun) 10:00] I hum jazz."),
        Message(role="user", content="And blues."),
    )
    assert context.profile is None
    assert (first.correct_answer, first.incorrect_answers, dataset.option_order(first)) == ("7", (), ())
    assert "2023/05/30" in first.query
    assert first.tags == {"question_type": "knowledge-update", "abstention": "false"}
    assert second.tags == {"question_type": "multi-session", "abstention": "true"}
    assert [question.cluster for question in (first, second)] == ["e47b", "e47b_abs"]
    assert context.cluster == first.cluster


def test_evidence_is_the_context_s_own_messages(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM])
    (question,) = dataset.split("benchmark").questions
    assert question.evidence == dataset.context(question.context_id).messages[2:]


def test_sessions_are_put_in_the_order_of_their_dates_and_that_is_noted(tmp_path: Path) -> None:
    """longmemeval_oracle.json does not have them in order."""
    turned = {key: ITEM[key][::-1] for key in ("haystack_dates", "haystack_sessions", "haystack_session_ids")}
    dataset = write(tmp_path, [ITEM, ITEM | turned | {"question_id": "turned"}])
    first, turned_question = dataset.split("benchmark").questions
    context, other = dataset.context("e47b"), dataset.context("turned")
    assert other.messages == context.messages and turned_question.evidence == first.evidence
    assert "sessions_out_of_order" not in context.notes
    assert other.notes["sessions_out_of_order"] == (
        "turned: sessions are put in the order of their dates, 2 of them (session 1, session 0)"
    )


def test_an_answer_that_describes_a_fitting_reply_is_judged_as_a_preference(tmp_path: Path) -> None:
    wish = {"question_id": "p", "question_type": "single-session-preference", "answer": "Would like jazz in the reply."}
    fact, preference = write(tmp_path, [ITEM, ITEM | wish]).split("benchmark").questions
    assert rubric_of(fact) == ("answer", "7")
    assert rubric_of(preference) == ("follow", "Would like jazz in the reply.")


def test_sessions_of_one_time_keep_their_order(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM | {"haystack_dates": ["2023/05/20 (Sat) 02:21"] * 2}])
    assert [message.content[-3:] for message in dataset.context("e47b").messages] == ["Hi.", "lo.", "zz.", "es."]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2023/05/20 (Sat) 02:21", datetime(2023, 5, 20, 2, 21)),
        ("2023/5/2 (Sa.) 9:05", None),
        ("2023/05/20", datetime(2023, 5, 20)),
        ("2023-05-20T02:21:59", datetime(2023, 5, 20, 2, 21)),
        (" 2023-05-20 02:21 ", datetime(2023, 5, 20, 2, 21)),
        ("2023/05/20 (Sat)", datetime(2023, 5, 20)),
        ("20 May 2023", None),
        ("2023/13/01", None),
        ("2023/05/20 (Sat) 25:00", None),
        ("", None),
    ],
)
def test_dates_are_read_to_the_minute_or_refused(text: str, time: datetime | None) -> None:
    if time is None:
        with pytest.raises(CellError, match="which is no date like 2023/05/20"):
            time_of(text)
    else:
        assert time_of(text) == time


@given(st.datetimes(min_value=datetime(1000, 1, 1)))
def test_a_date_that_was_written_is_read(time: datetime) -> None:
    assert time_of(f"{time:%Y/%m/%d} (Sat) {time:%H:%M}") == time.replace(second=0, microsecond=0)


@given(st.text())
def test_any_text_is_a_date_or_a_problem_in_one_line(text: str) -> None:
    try:
        time_of(text)
    except CellError as error:
        assert "\n" not in str(error)


def test_what_is_left_out_is_noted_and_evidence_that_is_nowhere_counted(tmp_path: Path) -> None:
    item = ITEM | {
        "haystack_sessions": [[], *ITEM["haystack_sessions"]],
        "haystack_dates": ["2023/05/19 (Fri) 08:00", *ITEM["haystack_dates"]],
        "haystack_session_ids": ["s0", "s1", "s2"],
        "answer_session_ids": ["s2", "s9"],
    }
    dataset = write(tmp_path, [item])
    assert dataset.split("benchmark").manifest == {"evidence_not_found": 1, "rows_skipped": {}}
    context = dataset.context("e47b")
    assert len(context.messages) == 4
    assert context.notes == {
        "messages_without_text": (
            "e47b: sessions and messages without text are left out, 2 of them (session 0, session 2 message 1)"
        )
    }


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({}, "not a list"),
        ([ITEM, ITEM], "question 1 .* repeats question_id e47b of question 0"),
        ([{key: value for key, value in ITEM.items() if key != "answer"}], "question 0 .* lacks answer"),
        ([{key: value for key, value in ITEM.items() if key != "haystack_dates"}], "lacks haystack_dates"),
        ([ITEM | {"answer": None}], "answer is neither text nor a number"),
        ([ITEM | {"haystack_dates": []}], "other numbers"),
        ([ITEM | {"haystack_dates": [1, 2]}], "haystack_dates holds '1', which is no date like"),
        ([ITEM | {"haystack_dates": ["May 20", "May 21"]}], "haystack_dates holds 'May 20', which is no date like"),
        (
            [ITEM | {"haystack_dates": ["2023/02/31 (Fri) 02:21", "2023/05/21"]}],
            "'2023/02/31 .Fri. 02:21', which is no",
        ),
        (
            [ITEM | {"haystack_sessions": [[], [{"role": "user", "content": ["x"]}]]}],
            "session 1 .* content that is not",
        ),
        ([ITEM | {"haystack_sessions": [[], [TURN | {"has_answer": "false"}]]}], "has_answer is 'false' instead of"),
        (
            [ITEM | {"haystack_sessions": [[], [TURN | {"has_answer": 1}]]}],
            "has_answer is '1' instead of true or false",
        ),
        ([ITEM | {"answer_session_ids": "s2"}], "answer_session_ids that is no list"),
        ([ITEM | {"question_id": None}], "question_id is neither text nor a number"),
        ([ITEM | {"question_date": None}], "question_date is neither text nor a number"),
        ([ITEM | {"answer": ["jazz"]}], "answer is neither text nor a number"),
        ([ITEM | {"haystack_sessions": [None, []]}], "not a list of messages"),
        ([ITEM | {"haystack_sessions": [[], []]}], "no message"),
        ([ITEM | {"haystack_sessions": [[], [{"role": "tool", "content": "x"}]]}], "role"),
        (["x"], "is no object"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, items: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        write(tmp_path, items).split("benchmark")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_questions_are_skipped_and_counted(tmp_path: Path) -> None:
    items = [ITEM, ITEM, ITEM | {"question_id": "b", "haystack_dates": []}]
    split = write(tmp_path, items, bad_rows="skip").split("benchmark")
    assert len(split.questions) == 1
    assert split.manifest == {"evidence_not_found": 0, "rows_skipped": {"duplicate": 1, "question_format": 1}}
    with pytest.raises(
        ValueError, match="no usable question .1 cannot be used, the first: .* other numbers of sessions"
    ):
        write(tmp_path, items[2:], bad_rows="skip").split("benchmark")


def test_the_source_is_a_folder_or_a_file(tmp_path: Path) -> None:
    folder = write(tmp_path, [ITEM], "longmemeval_s")
    assert folder.name == "longmemeval_s"
    with pytest.raises(ValueError, match=r"data\.source"):
        write(tmp_path, [ITEM, ITEM | {"question_id": "b"}], "longmemeval_oracle.json")
    one = LongMemEval(DataConfig(source=str(tmp_path / "longmemeval_oracle.json")))
    assert one.name == "longmemeval_oracle"
    assert (len(folder.split("benchmark").questions), len(one.split("benchmark").questions)) == (1, 2)


def test_a_byte_order_mark_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "longmemeval_s"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([ITEM]).encode())
    assert len(LongMemEval(DataConfig(source=str(path))).split("benchmark").questions) == 1


def test_deep_nesting_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "longmemeval_s.json"
    path.write_text("[" * 5000, encoding="utf-8")
    with pytest.raises(ValueError, match="nested too deeply"):
        LongMemEval(DataConfig(source=str(path))).split("benchmark")


def test_other_splits_contexts_and_options_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM])
    with pytest.raises(ValueError, match="longmemeval_s_cleaned has no split 'val'"):
        dataset.split("val")
    with pytest.raises(RecordError, match="no question zz"):
        dataset.context("zz")
    with pytest.raises(ValueError, match=r"data\.options\.num_options has no effect: longmemeval has no options"):
        write(tmp_path, [ITEM], options={"num_options": 4})


def test_the_fingerprint_follows_the_file(tmp_path: Path) -> None:
    before = write(tmp_path, [ITEM]).fingerprint()
    assert LongMemEval(DataConfig(source=str(tmp_path))).fingerprint() == before
    assert write(tmp_path, [ITEM, ITEM | {"question_id": "b"}]).fingerprint() != before
