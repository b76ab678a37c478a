"""LoCoMo: a conversation of two people becomes one dated context, with open questions or options made of answers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.config import DataConfig
from rft.data.dataset import RecordError
from rft.data.prompts import gold_letter, options_of
from rft.data.readers.cells import CellError
from rft.data.readers.locomo import CATEGORIES, Locomo, evidence_keys
from rft.data.readers.locomo_conversations import read_conversation, turn_keys
from rft.data.readers.locomo_options import NOT_MENTIONED
from rft.records import Message

SAMPLE: dict[str, Any] = {
    "sample_id": "conv-1",
    "conversation": {
        "speaker_a": "Mia",
        "speaker_b": "Tom",
        "session_10_date_time": "9:00 am on 1 June, 2023",
        "session_10": [{"speaker": "Tom", "dia_id": "D10:1", "text": "My dog Pip is ill."}],
        "session_2_date_time": "1:56 pm on 8 May, 2023",
        "session_2": [
            {"speaker": "Mia", "dia_id": "D2:1", "text": "I hum jazz."},
            {
                "speaker": "Tom",
                "dia_id": "D2:2",
                "text": "Look!",
                "img_url": ["https://example.org/a.jpg"],
                "blip_caption": "a photo of a dog",
                "query": "dog on a beach",
            },
            {"speaker": "Mia", "dia_id": "D2:3", "text": "", "blip_caption": "a red bike"},
            {"speaker": "Tom", "dia_id": "D2:4", "text": "  "},
        ],
        "session_11_date_time": "never held",
    },
    "qa": [
        {"question": "What does Mia hum?", "answer": "jazz", "evidence": ["D2:1"], "category": 4},
        {"question": "What does Tom hum?", "adversarial_answer": "jazz", "evidence": ["D2:1"], "category": 5},
        {"question": "When was Pip ill?", "answer": 2023, "evidence": ["D10:01; D:2:2", "D9:9", "D"], "category": 2},
        {"question": "Who hums?", "answer": "Mia", "evidence": [], "category": 1},
        {"question": "Is Tom kind?", "answer": "Likely yes", "category": 3},
    ],
    "event_summary": {},
    "observation": {},
    "session_summary": {},
}
SESSION = [{"speaker": "Mia", "dia_id": "D3:1", "text": "I moved to Rome."}]


def write(folder: Path, samples: Any, **data: Any) -> Locomo:
    (folder / "locomo10.json").write_text(json.dumps(samples), encoding="utf-8")
    return Locomo(DataConfig(source=str(folder), format="locomo", **data))


def changed(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """SAMPLE with another value, or without one where `value` is `...`."""
    sample: Any = copy.deepcopy(SAMPLE)
    inner = sample
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return dict(sample)


# ---------------------------------------------------------------------------------------------------- conversations


def test_sessions_become_one_context_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    context = write(tmp_path, [SAMPLE]).context("conv-1")
    assert context.messages == (
        Message(role="user", content="[1:56 pm on 8 May, 2023] Mia: I hum jazz."),
        Message(role="assistant", content="Tom: Look! [image: a photo of a dog]"),
        Message(role="user", content="Mia: [image: a red bike]"),
        Message(role="assistant", content="[9:00 am on 1 June, 2023] Tom: My dog Pip is ill."),
    )
    assert (context.cluster, context.profile) == ("conv-1", None)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sample_id",), ..., "lacks sample_id"),
        (("conversation",), [], "no object under conversation"),
        (("qa",), {}, "no list under qa"),
        (("conversation", "speaker_a"), ..., "lacks speaker_a"),
        (("conversation", "speaker_b"), "Mia", "same name for speaker_a and speaker_b"),
        (("conversation", "session_2"), "x", "no list under session_2"),
        (("conversation", "session_2_date_time"), ..., "lacks session_2_date_time"),
        (("conversation", "session_2", 0), "x", "session_2: a turn is no object"),
        (
            ("conversation", "session_2", 0, "speaker"),
            "Eve",
            "session_2: a turn is spoken by 'Eve', but .* Mia and T",
        ),
        (("conversation", "session_2", 0, "dia_id"), ..., "session_2: lacks dia_id"),
        (("conversation", "session_2", 0, "text"), ["x"], "text or blip_caption is not text"),
        (("conversation", "session_2", 0, "text"), [], "text or blip_caption is not text"),
        (("conversation", "session_2", 0, "text"), 0, "text or blip_caption is not text"),
        (("conversation", "session_2", 1, "blip_caption"), False, "text or blip_caption is not text"),
        (("conversation", "session_02"), [], "has both session_2 and session_02"),
        (("conversation", "Session_3"), SESSION, "has turns under 'Session_3', which is not like session_1"),
        (("conversation", "session_2", 0, "text"), "\ud83d", "half of a surrogate pair"),
    ],
)
def test_a_conversation_that_cannot_be_used_is_named_or_skipped(
    tmp_path: Path, path: tuple[Any, ...], value: Any, message: str
) -> None:
    samples = [changed(path, value), SAMPLE | {"sample_id": "conv-2"}]
    with pytest.raises(RecordError, match=message) as caught:
        write(tmp_path, samples).split("benchmark")
    assert "conversation 0 (counted from 0)" in str(caught.value)
    assert "\n" not in str(caught.value)
    split = write(tmp_path, samples, bad_rows="skip").split("benchmark")
    assert {question.context_id for question in split.questions} == {"conv-2"}
    assert split.manifest["rows_skipped"] == {"conversation_format": 1}


def test_what_is_left_out_is_noted(tmp_path: Path) -> None:
    context = write(tmp_path, [SAMPLE]).context("conv-1")
    left_out = "conv-1: sessions without turns, and turns without text or caption, are left out"
    assert context.notes == {"messages_without_text": f"{left_out}, 1 of them (D2:4)"}
    sample = changed(("conversation", "session_2", 0, "text"), "\u200b")
    sample["conversation"] |= {"session_4": [], "session_4_date_time": "2:00 pm on 9 May, 2023"}
    context = write(tmp_path, [sample]).context("conv-1")
    assert context.notes["messages_without_text"] == f"{left_out}, 3 of them (D2:1, D2:4, session_4)"
    assert [message.content[:9] for message in context.messages] == ["[1:56 pm ", "Mia: [ima", "[9:00 am "]


def test_turns_that_share_an_id_are_noted_and_evidence_means_the_first(tmp_path: Path) -> None:
    dataset = write(tmp_path, [changed(("conversation", "session_2", 2, "dia_id"), "D2:1")])
    context = dataset.context("conv-1")
    assert context.notes["turn_ids_repeated"] == "conv-1: turns have the dia_id of an earlier one, 1 of them (D2:1)"
    assert dataset.split("benchmark").questions[0].evidence == context.messages[:1]


def test_numbers_of_sessions_may_have_zeros_before_them(tmp_path: Path) -> None:
    sample = copy.deepcopy(SAMPLE)
    for key in ("session_2", "session_2_date_time"):
        sample["conversation"][key.replace("2", "02")] = sample["conversation"].pop(key)
    assert write(tmp_path, [sample]).context("conv-1") == write(tmp_path, [SAMPLE]).context("conv-1")


def test_where_all_conversations_are_left_out_the_first_says_why(tmp_path: Path) -> None:
    bad = [changed(("qa",), {}), changed(("conversation",), [])]
    with pytest.raises(ValueError, match="holds no usable conversation .2 cannot be used, the first: .* no list under"):
        write(tmp_path, bad, bad_rows="skip").split("benchmark")
    with pytest.raises(ValueError, match="holds no usable question; correct it, or fetch it again"):
        write(tmp_path, [changed(("qa",), [])]).split("benchmark")


def test_repeated_conversations_and_those_without_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="conversation 1 .* repeats sample_id conv-1 of conversation 0"):
        write(tmp_path, [SAMPLE, SAMPLE]).split("benchmark")
    silent = {"speaker_a": "Mia", "speaker_b": "Tom", "session_1_date_time": "x", "session_1": []}
    with pytest.raises(RecordError, match="has no message with text"):
        write(tmp_path, [changed(("conversation",), silent)]).split("benchmark")


# -------------------------------------------------------------------------------------------------------- questions


def test_questions_stay_open_with_their_category_and_evidence(tmp_path: Path) -> None:
    dataset = write(tmp_path, [SAMPLE])
    split = dataset.split("benchmark")
    single, adversarial, temporal, multi, domain = split.questions
    messages = dataset.context("conv-1").messages
    assert [question.question_id for question in split.questions] == [f"locomo/conv-1/{i}" for i in range(5)]
    assert (single.query, single.correct_answer, single.evidence) == ("What does Mia hum?", "jazz", messages[:1])
    assert [question.tags["category"] for question in split.questions] == [CATEGORIES[n] for n in (4, 5, 2, 1, 3)]
    assert [question.tags["abstention"] for question in split.questions] == ["false", "true", "false", "false", "false"]
    assert (adversarial.correct_answer, adversarial.columns) == (NOT_MENTIONED, {"adversarial_answer": "jazz"})
    assert (temporal.correct_answer, temporal.evidence) == ("2023", (messages[3], messages[1]))
    assert (multi.evidence, domain.evidence) == ((), ())
    assert all(question.cluster == question.context_id == "conv-1" for question in split.questions)
    assert all(not question.incorrect_answers for question in split.questions)
    assert dataset.option_order(single) == ()
    assert split.manifest == {"conversations": 1, "evidence_not_found": 2, "rows_skipped": {}}, "D9:9 and D"


def test_the_category_decides_where_both_answers_are_given(tmp_path: Path) -> None:
    both = changed(("qa", 1, "answer"), "nothing")
    question = write(tmp_path, [both]).split("benchmark").questions[1]
    assert question.correct_answer == NOT_MENTIONED
    neither = changed(("qa", 1, "adversarial_answer"), ...)
    question = write(tmp_path, [neither]).split("benchmark").questions[1]
    assert question.columns == {"adversarial_answer": None}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("qa", 0), "x", "is no object"),
        (("qa", 0, "category"), 6, "has the category '6' instead of one from 1 to 5"),
        (("qa", 0, "category"), ["x"], "has the category"),
        (("qa", 0, "category"), ..., "has the category 'None'"),
        (("qa", 0, "category"), True, "has the category 'True'"),
        (("qa", 0, "category"), 4.5, "has the category '4.5'"),
        (("qa", 0, "answer"), ..., "lacks answer"),
        (("qa", 0, "answer"), ["jazz"], "answer is neither text nor a number"),
        (("qa", 0, "question"), " ", "question is empty"),
        (("qa", 0, "evidence"), "D1:1", "evidence that is not a list of texts"),
        (("qa", 0, "evidence"), [1], "evidence that is not a list of texts"),
        (("qa", 0, "evidence"), {}, "evidence that is not a list of texts"),
        (("qa", 0, "evidence"), 0, "evidence that is not a list of texts"),
        (("qa", 0, "answer"), None, "answer is neither text nor a number"),
        (("qa", 0, "answer"), float("nan"), "answer is nan"),
    ],
)
def test_a_question_that_cannot_be_used_is_named_or_skipped(
    tmp_path: Path, path: tuple[Any, ...], value: Any, message: str
) -> None:
    sample = changed(path, value)
    with pytest.raises(RecordError, match=message) as caught:
        write(tmp_path, [sample]).split("benchmark")
    assert "conversation conv-1, question 0 (counted from 0)" in str(caught.value)
    split = write(tmp_path, [sample], bad_rows="skip").split("benchmark")
    assert len(split.questions) == 4
    assert split.manifest["rows_skipped"] == {"question_format": 1}


@pytest.mark.parametrize("value", [4, 4.0, "4", " 4 "])
def test_a_category_is_a_number_however_it_is_written(tmp_path: Path, value: Any) -> None:
    question = write(tmp_path, [changed(("qa", 0, "category"), value)]).split("benchmark").questions[0]
    assert question.tags["category"] == "single_hop"


@pytest.mark.parametrize(("value", "found"), [("", None), (None, None), (0, "0"), (2023, "2023"), ("jazz", "jazz")])
def test_a_tempting_answer_is_a_text_a_number_or_not_there(tmp_path: Path, value: Any, found: str | None) -> None:
    question = write(tmp_path, [changed(("qa", 1, "adversarial_answer"), value)]).split("benchmark").questions[1]
    assert question.columns == {"adversarial_answer": found}


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**9 - 1))
def test_any_turn_is_found_in_any_spelling(session: int, turn: int) -> None:
    for text in (f"D{session}:{turn}", f"D:{session}:{turn}", f"D{session:03}:{turn:02}", f"x (D{session}:{turn})"):
        assert turn_keys(text) == [(session, turn)]
    assert turn_keys(f"D{session}:{turn}; D1:2") == [(session, turn), (1, 2)]


@settings(deadline=None)
@given(st.text())
def test_any_text_names_turns_or_none(text: str) -> None:
    assert all(session >= 0 and turn >= 0 for session, turn in turn_keys(text))


PATHS: list[tuple[Any, ...]] = [
    ("sample_id",),
    ("conversation",),
    ("qa",),
    ("conversation", "speaker_a"),
    ("conversation", "session_2"),
    ("conversation", "session_2_date_time"),
    ("conversation", "session_2", 1),
    ("conversation", "session_2", 1, "text"),
    ("conversation", "session_2", 1, "dia_id"),
    ("conversation", "session_2", 1, "blip_caption"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_read_or_named_in_one_line(path: tuple[Any, ...], value: Any) -> None:
    try:
        conversation = read_conversation(changed(path, value))
        for item in conversation.qa:
            evidence_keys(item)
    except CellError as error:
        assert "\n" not in str(error)
    else:
        assert conversation.context.messages


# ---------------------------------------------------------------------------------------------------------- options


def test_options_are_made_of_answers_and_their_order_is_fixed(tmp_path: Path) -> None:
    samples = [SAMPLE | {"sample_id": f"conv-{i}"} for i in range(3)]
    for i, sample in enumerate(samples):
        sample["qa"] = [
            {"question": f"What {i} {j}?", "answer": f"thing {i} {j}", "evidence": [], "category": 4} for j in range(4)
        ]
    dataset = write(tmp_path, samples, options={"num_options": 4})
    split = dataset.split("benchmark")
    assert dataset.name == "locomo10-4options"
    assert split.questions == write(tmp_path, samples, options={"num_options": 4}).split("benchmark").questions
    for question in split.questions:
        order = dataset.option_order(question)
        options = options_of(question, order)
        assert sorted(order) == [0, 1, 2, 3]
        assert options["abcd".index(gold_letter(order))] == question.correct_answer
        assert len(set(options)) == 4
    assert len({dataset.option_order(question) for question in split.questions}) > 3


@pytest.mark.parametrize("value", [1, 27, "4", 4.0, True, [4]])
def test_an_unusable_number_of_options_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match=r"data\.options\.num_options must be a whole number from 2 to 26"):
        write(tmp_path, [SAMPLE], options={"num_options": value})


def test_unknown_options_are_refused_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'data\.options\.options'; did you mean data\.options\.num_options\?"):
        write(tmp_path, [SAMPLE], options={"options": 4})


def test_too_few_answers_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_options is 4, but .* set it to 2 or lower") as caught:
        write(tmp_path, [SAMPLE], options={"num_options": 4}).split("benchmark")
    assert "\n" not in str(caught.value)
    questions = write(tmp_path, [SAMPLE], options={"num_options": 2}).split("benchmark").questions
    assert [question.incorrect_answers for question in questions[:2]] == [(NOT_MENTIONED,), ("jazz",)]


# ----------------------------------------------------------------------------------------------------------- source


def test_the_source_is_a_folder_or_a_file(tmp_path: Path) -> None:
    assert write(tmp_path, [SAMPLE]).name == "locomo10"
    assert Locomo(DataConfig(source=str(tmp_path / "locomo10.json"))).context("conv-1").messages
    with pytest.raises(ValueError, match=r"holds no locomo\*\.json"):
        Locomo(DataConfig(source=str(tmp_path.parent)))
    with pytest.raises(ValueError, match="not a list of conversations"):
        write(tmp_path, {}).split("benchmark")
    (tmp_path / "locomo10.json").write_text("[" * 5000, encoding="utf-8")
    with pytest.raises(ValueError, match="nested too deeply"):
        Locomo(DataConfig(source=str(tmp_path))).split("benchmark")


def test_other_splits_and_contexts_are_refused(tmp_path: Path) -> None:
    dataset = write(tmp_path, [SAMPLE])
    with pytest.raises(ValueError, match="locomo10 has no split 'train'"):
        dataset.split("train")
    with pytest.raises(RecordError, match="no conversation zz"):
        dataset.context("zz")


def test_the_fingerprint_follows_the_file_and_the_options(tmp_path: Path) -> None:
    prints = [write(tmp_path, [SAMPLE]).fingerprint()]
    assert Locomo(DataConfig(source=str(tmp_path))).fingerprint() == prints[0]
    prints.append(Locomo(DataConfig(source=str(tmp_path), options={"num_options": 2})).fingerprint())
    prints.append(write(tmp_path, [SAMPLE, SAMPLE | {"sample_id": "conv-2"}]).fingerprint())
    assert len(set(prints)) == 3
