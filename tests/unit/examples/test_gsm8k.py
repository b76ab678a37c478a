"""The GSM8K example: how numbers are read and compared, and which data are refused."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.gsm8k.data import Gsm8k
from examples.gsm8k.reward import final_number, numeric_answer
from rft.config import DataConfig
from rft.data.dataset import RecordError

REVISION = "0" * 40


def said(*texts: str) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 72", 72),
        ("so 9 * 8 = 72\n#### 1,072.50", Decimal("1072.5")),
        ("\\boxed{72}", 72),
        ("\\boxed{\\$72}", 72),
        ("#### -$5", -5),
        ("#### $5", 5),
        ("#### **18** dollars", 18),
        ("#### 1\n#### 2", 2),
        ("#### 1 or \\boxed{3}", 3),
        ("72", None),
        ("#### seventy", None),
        ("\\boxed{x = 3}", None),
        ("", None),
    ],
)
def test_the_last_marked_number_counts(text: str, number: Decimal | int | None) -> None:
    assert final_number(text) == number


def test_a_reward_is_one_for_the_same_number() -> None:
    reference = "9 * 8 = 72\n#### 72"
    rewards = numeric_answer(said("#### 72.0", "\\boxed{72}", "#### 73", "72"), answer=[reference] * 4, letters=None)
    assert rewards == [1.0, 1.0, 0.0, 0.0]
    assert numeric_answer(said("no number"), answer=["none here either"]) == [0.0]


@given(st.text(alphabet=st.sampled_from("#\\boxed{}$ -,.0123456789*a\n")))
def test_no_text_raises(text: str) -> None:
    number = final_number(text)
    assert number is None or number == number


@pytest.mark.parametrize("text", ["#" * 50_000, "####" + " " * 50_000, "####$ " * 10_000, "#### " + "1," * 25_000])
def test_long_texts_take_no_longer_than_their_length(text: str) -> None:
    begin = time.perf_counter()
    final_number(text)
    assert time.perf_counter() - begin < 1.0


def write(folder: Path, *rows: dict[str, object]) -> Gsm8k:
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Gsm8k(DataConfig(source=str(folder)))


GOOD = {"question": "How many?", "answer": "Two.\n#### 2"}


def test_rows_become_questions_without_a_context(tmp_path: Path) -> None:
    data = write(tmp_path, GOOD, GOOD | {"question": "And now?"})
    first, second = data.split("test").questions
    assert (first.question_id, second.question_id, second.query) == ("test/0", "test/1", "And now?")
    assert first.correct_answer == GOOD["answer"]
    assert data.context(first.context_id).messages == ()
    assert data.option_order(first) == ()
    assert data.fingerprint() == data.fingerprint()


@pytest.mark.parametrize("row", [{"question": "", "answer": "#### 2"}, {"question": "How many?", "answer": "Two."}])
def test_rows_that_cannot_be_used_are_refused_or_counted(tmp_path: Path, row: dict[str, object]) -> None:
    data = write(tmp_path, GOOD, row)
    with pytest.raises(RecordError, match="train row 1"):
        data.split("train")
    data.config.bad_rows = "skip"
    assert data.split("train").manifest == {"rows_skipped": {"row": 1}}


def test_a_hub_data_set_needs_a_commit(tmp_path: Path) -> None:
    for revision in (None, "main"):
        with pytest.raises(ValueError, match="needs data.revision, the 40 digits of a commit"):
            Gsm8k(DataConfig(source="openai/gsm8k", revision=revision))
    offline = Gsm8k(DataConfig(source="nobody/nothing-of-this-name", revision=REVISION))
    with pytest.raises(ValueError, match="cannot read train of nobody/nothing-of-this-name") as raised:
        offline.split("train")
    assert "\n" not in str(raised.value)


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot read train of"):
        Gsm8k(DataConfig(source=str(tmp_path))).split("train")
