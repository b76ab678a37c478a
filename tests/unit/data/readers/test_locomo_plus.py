"""LoCoMo-Plus: a cue is put into a conversation of LoCoMo at its time, and a trigger is said at the end."""

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
from rft.data.formats import open_dataset
from rft.data.readers.cells import CellError
from rft.data.readers.locomo_plus import (
    NUMBERS,
    SESSION_TIME,
    LocomoPlus,
    days_of,
    turns_of,
    written_time,
)
from rft.eval.judge import judge_request, rubric_of
from rft.records import Message

NAMES = {"A": "Mia", "B": "Tom"}

CONVERSATION: dict[str, Any] = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Mia",
        "speaker_b": "Tom",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [{"speaker": "Mia", "dia_id": "D1:1", "text": "I hum jazz."}],
        "session_2_date_time": "12:05 am on 1 June, 2023",
        "session_2": [{"speaker": "Tom", "dia_id": "D2:1", "text": "My dog Pip is ill."}],
    },
    "qa": [],
}
OTHER = CONVERSATION | {"sample_id": "conv-2", "conversation": CONVERSATION["conversation"] | {"speaker_a": "Eve"}}
OTHER["conversation"] = {
    key: [turn | {"speaker": turn["speaker"].replace("Mia", "Eve")} for turn in value]
    if isinstance(value, list)
    else value
    for key, value in OTHER["conversation"].items()
}

ITEM: dict[str, Any] = {
    "relation_type": "causal",
    "cue_dialogue": "A: A wasp stung me at the fair.\nB: Ouch!",
    "trigger_query": "A: I left the picnic when the cake came out.",
    "time_gap": "about two weeks later",
    "model_name": "someone",
    "scores": {"bm25": 1.5},
}


def write(folder: Path, items: Any, conversations: Any = (CONVERSATION, OTHER), **data: Any) -> LocomoPlus:
    (folder / "locomo_plus.json").write_text(json.dumps(items), encoding="utf-8")
    (folder / "locomo10.json").write_text(json.dumps(list(conversations)), encoding="utf-8")
    opened = open_dataset(DataConfig(source=str(folder), format="locomo_plus", **data))
    assert isinstance(opened, LocomoPlus)
    return opened


def contents(dataset: LocomoPlus, context_id: str) -> list[str]:
    return [message.content for message in dataset.context(context_id).messages]


# ------------------------------------------------------------------------------------------------------------ items


def test_a_cue_stands_at_its_time_and_the_trigger_is_said_a_week_after_the_last_session(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM])
    split = dataset.split("benchmark")
    (question,) = split.questions
    assert contents(dataset, question.context_id) == [
        "[1:56 pm on 8 May, 2023] Mia: I hum jazz.",
        "[12:05 am on 25 May, 2023] Mia: A wasp stung me at the fair.",
        "Tom: Ouch!",
        "[12:05 am on 1 June, 2023] Tom: My dog Pip is ill.",
    ]
    assert question.query == "[12:05 am on 8 June, 2023] Mia: I left the picnic when the cake came out."
    assert question.evidence == (
        Message(role="user", content="[12:05 am on 25 May, 2023] Mia: A wasp stung me at the fair."),
        Message(role="assistant", content="Tom: Ouch!"),
    )
    assert (question.tags, question.cluster) == ({"relation_type": "causal"}, "conv-1")
    assert split.manifest == {"time_gaps_without_a_number": 0, "rows_skipped": {}}
    assert dataset.name == "locomo_plus"


def test_the_judge_is_told_the_cue_and_not_the_time_it_was_said(tmp_path: Path) -> None:
    (question,) = write(tmp_path, [ITEM]).split("benchmark").questions
    cue = "Mia: A wasp stung me at the fair.\nTom: Ouch!"
    assert rubric_of(question) == ("follow", cue)
    _, text = judge_request(question, "<think>Hm.</think>Sweet things draw wasps.", "gold_first")
    assert f"What is known of the user:\n{cue}\n" in text and "Sweet things draw wasps." in text


def test_items_go_into_one_conversation_after_another(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM, ITEM, ITEM])
    questions = dataset.split("benchmark").questions
    assert [question.context_id for question in questions] == ["conv-1/0", "conv-2/1", "conv-1/2"]
    assert len({question.question_id for question in questions}) == 3
    assert "Eve: A wasp stung me at the fair." in contents(dataset, "conv-2/1")[1]
    assert questions[1].query.endswith("Eve: I left the picnic when the cake came out.")


def test_a_gap_without_a_number_is_none_and_counted(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM | {"time_gap": "some time later"}, ITEM | {"time_gap": "years later"}])
    split = dataset.split("benchmark")
    assert split.manifest["time_gaps_without_a_number"] == 2
    assert contents(dataset, split.questions[0].context_id)[2].startswith("[12:05 am on 8 June, 2023] Mia: A wasp")


def test_a_cue_of_the_time_of_a_session_comes_behind_it(tmp_path: Path) -> None:
    dataset = write(tmp_path, [ITEM | {"time_gap": "one week later"}])
    assert [text.split("] ")[-1] for text in contents(dataset, "conv-1/0")] == [
        "Mia: I hum jazz.",
        "Tom: My dog Pip is ill.",
        "Mia: A wasp stung me at the fair.",
        "Tom: Ouch!",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relation_type": ...}, "lacks relation_type"),
        ({"cue_dialogue": ...}, "lacks cue_dialogue"),
        ({"cue_dialogue": "A wasp stung me."}, "cue_dialogue does not begin with A: or B:"),
        ({"cue_dialogue": "A: A wasp.\nB:  "}, "cue_dialogue has a turn without text"),
        ({"trigger_query": "B: Well."}, "trigger_query is not one turn of A"),
        ({"trigger_query": "A: Well.\nB: Yes."}, "trigger_query is not one turn of A"),
        ({"time_gap": ["two weeks"]}, "time_gap is neither text nor a number"),
        ({"time_gap": "999 years later"}, "time_gap leads 364635 days back"),
    ],
)
def test_an_item_that_cannot_be_used_is_named_or_skipped(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    bad = {key: value for key, value in (ITEM | changes).items() if value is not ...}
    early = CONVERSATION["conversation"] | {"session_1_date_time": "1:00 pm on 1 May, 0900"}
    early |= {"session_2_date_time": "1:00 pm on 2 May, 0900"}
    conversations = [CONVERSATION | {"conversation": early}] if "999" in str(changes) else [CONVERSATION]
    with pytest.raises(RecordError, match=message) as caught:
        write(tmp_path, [ITEM, bad], conversations).split("benchmark")
    assert "locomo_plus.json item 1 (counted from 0)" in str(caught.value) and "\n" not in str(caught.value)
    split = write(tmp_path, [ITEM, bad], conversations, bad_rows="skip").split("benchmark")
    assert len(split.questions) == 1 and split.manifest["rows_skipped"] == {"item_format": 1}


def test_an_item_that_is_no_object_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"item 0 \(counted from 0\) is no object"):
        write(tmp_path, ["x"]).split("benchmark")


# ---------------------------------------------------------------------------------------------------- conversations


def test_a_conversation_that_cannot_be_used_is_named_or_skipped(tmp_path: Path) -> None:
    stored = CONVERSATION["conversation"] | {"session_1_date_time": "8 May 2023"}
    bad = CONVERSATION | {"conversation": stored, "sample_id": "conv-0"}
    with pytest.raises(RecordError, match="session_1_date_time is '8 May 2023'") as caught:
        write(tmp_path, [ITEM], [bad, CONVERSATION]).split("benchmark")
    assert "locomo10.json conversation 0 (counted from 0)" in str(caught.value)
    split = write(tmp_path, [ITEM, ITEM, ITEM], [bad, CONVERSATION], bad_rows="skip").split("benchmark")
    assert [question.context_id for question in split.questions] == ["conv-1/1"], "none goes into another conversation"
    assert split.manifest["rows_skipped"] == {"conversation_format": 1, "conversation_absent": 2}
    with pytest.raises(
        ValueError, match="holds no usable item .1 cannot be used, the first: .* goes into conversation 0"
    ):
        write(tmp_path, [ITEM], [bad, CONVERSATION], bad_rows="skip").split("benchmark")
    with pytest.raises(ValueError, match="holds no usable conversation"):
        write(tmp_path, [ITEM], [bad], bad_rows="skip").split("benchmark")


def test_the_conversations_must_lie_beside_the_cues(tmp_path: Path) -> None:
    (tmp_path / "locomo_plus.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no locomo10.json") as caught:
        open_dataset(DataConfig(source=str(tmp_path / "locomo_plus.json"), format="locomo_plus"))
    assert "\n" not in str(caught.value)


def test_what_the_conversation_leaves_out_is_noted_with_each_cue(tmp_path: Path) -> None:
    stored = CONVERSATION["conversation"] | {"session_2": [{"speaker": "Tom", "dia_id": "D2:1", "text": ""}]}
    dataset = write(tmp_path, [ITEM], [CONVERSATION | {"conversation": stored}])
    assert "1 of them (D2:1)" in dataset.context("conv-1/0").notes["messages_without_text"]


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="has no item conv-9/1"):
        write(tmp_path, [ITEM]).context("conv-9/1")


def test_the_fingerprint_follows_both_files(tmp_path: Path) -> None:
    before = write(tmp_path, [ITEM]).fingerprint()
    assert before != write(tmp_path, [ITEM], [CONVERSATION]).fingerprint()
    assert before != write(tmp_path, [ITEM, ITEM]).fingerprint()


# ---------------------------------------------------------------------------------------------------------- parsing

said = st.text(st.characters(codec="utf-8", exclude_characters="\\"), min_size=1).filter(
    lambda text: text.strip() == text and not any(line.strip()[:2] in ("A:", "B:") for line in text.split("\n"))
)


@given(st.lists(st.tuples(st.sampled_from("AB"), said), min_size=1, max_size=5), st.sampled_from(["\n", "\\n"]))
def test_turns_that_were_written_are_read(turns: list[tuple[str, str]], line_end: str) -> None:
    text = line_end.join(f"{speaker}: {words}" for speaker, words in turns)
    assert [message.content for message in turns_of(text, "cue_dialogue", NAMES)] == [
        f"{NAMES[speaker]}: {words}" for speaker, words in turns
    ]


@given(st.text())
def test_any_text_is_turns_or_a_problem_in_one_line(text: str) -> None:
    try:
        turns = turns_of(text, "cue_dialogue", NAMES)
    except CellError as error:
        assert "\n" not in str(error)
    else:
        assert turns and all(message.content.strip() for message in turns)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("two weeks later", 14),
        ("about one month later", 30),
        ("around  seven months later", 210),
        ("Approximately 10 Years Later", 3650),
        ("a week later", 7),
        ("about an year later", 365),
        ("three days later", 3),
        ("2 weeks later", 14),
        ("two-week", None),
        ("twenty-one days later", None),
        ("thirty two days later", None),
        ("1.5 years later", None),
        ("1,000 days later", None),
        ("1/2 year", None),
        ("-3 days", None),
        ("some months later", None),
        ("later", None),
        ("banana months", None),
    ],
)
def test_the_days_of_a_gap(text: str, days: int | None) -> None:
    assert days_of(text) == days


@given(st.sampled_from(sorted(NUMBERS)) | st.integers(0, 999).map(str), st.sampled_from(["week", "months", "year"]))
def test_every_number_of_a_unit_is_read(number: str, unit: str) -> None:
    count = int(number) if number.isdecimal() else NUMBERS[number]
    assert days_of(f"About {number} {unit} later") == count * {"w": 7, "m": 30, "y": 365}[unit[0]]


@given(st.datetimes(min_value=datetime(1000, 1, 1)))
def test_a_written_time_is_read_back(time: datetime) -> None:
    assert datetime.strptime(written_time(time), SESSION_TIME) == time.replace(second=0, microsecond=0)
