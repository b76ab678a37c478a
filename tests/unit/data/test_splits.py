from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.splits import Split, held_out_personas, load_split
from tests.unit.data.builder import make_config, make_row, write_csv


def load(root: Path, name: str, **settings: object) -> Split:
    return load_split(make_config(root, **settings).data, root, name)  # type: ignore[arg-type]


def personas(split: Split) -> set[int]:
    return {question.persona_id for question in split.questions}


def test_persona_splits_share_no_persona(dataset: Path) -> None:
    splits = {name: load(dataset, name) for name in ("train", "val", "benchmark")}
    assert personas(splits["benchmark"]) == {8, 9}
    assert len(personas(splits["val"])) == 2
    assert personas(splits["train"]) | personas(splits["val"]) == set(range(1, 8))
    assert not personas(splits["train"]) & personas(splits["val"])


def test_persona_splits_pool_both_files_and_count_what_they_leave_out(dataset: Path) -> None:
    train, val = load(dataset, "train"), load(dataset, "val")
    assert train.csv_rows == val.csv_rows == {"train": 18, "val": 18}
    assert train.removed == {"persona_of_benchmark": 3, "other_split": len(val.questions)}
    assert val.removed == {"persona_of_benchmark": 3, "other_split": len(train.questions)}
    assert len(train.questions) + len(val.questions) + 3 == 36
    assert {question.question_id.split("/")[0] for question in train.questions} == {"train", "val"}
    ids = [question.question_id for question in (*train.questions, *val.questions)]
    assert len(ids) == len(set(ids))


def test_paper_splits_are_the_files(dataset: Path) -> None:
    assert personas(load(dataset, "train", train_split="paper")) == set(range(1, 7))
    assert personas(load(dataset, "val", train_split="paper")) == set(range(3, 9))
    assert personas(load(dataset, "benchmark", train_split="paper")) == {8, 9}


def test_a_benchmark_persona_is_left_out_even_when_its_row_there_is_unusable(dataset: Path) -> None:
    write_csv(dataset, "benchmark", [make_row(9, 0), make_row(7, 0, correct_answer="")])
    assert 7 not in personas(load(dataset, "train", bad_rows="skip")) | personas(load(dataset, "val", bad_rows="skip"))


def test_the_held_out_personas_are_the_same_everywhere() -> None:
    assert held_out_personas(range(10), 3) == {3, 7, 8}


@settings(deadline=None)
@given(st.permutations(range(30)), st.integers(0, 29))
def test_the_held_out_personas_do_not_depend_on_the_order_of_rows(order: list[int], count: int) -> None:
    held_out = held_out_personas([*order, *order], count)
    assert held_out == held_out_personas(range(30), count)
    assert len(held_out) == count


def test_too_many_validation_personas(dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.num_val_personas is 7, but .* hold 7 personas"):
        load(dataset, "train", num_val_personas=7)


def test_no_validation_persona(dataset: Path) -> None:
    assert len(personas(load(dataset, "train", num_val_personas=0))) == 7
    with pytest.raises(ValueError, match="the val split is empty"):
        load(dataset, "val", num_val_personas=0)


@pytest.mark.parametrize("missing", ["train", "val", "benchmark"])
def test_a_missing_file_is_named(dataset: Path, missing: str) -> None:
    (dataset / "benchmark" / "text" / f"{missing}.csv").unlink()
    with pytest.raises(ValueError, match=rf"{missing}\.csv does not exist"):
        load(dataset, "train")


def test_the_real_sample_has_only_a_benchmark(sample: Path) -> None:
    assert len(load(sample, "benchmark").questions) == 1
    with pytest.raises(ValueError, match=r"train\.csv does not exist"):
        load(sample, "train")


def test_skipped_rows_are_counted_over_both_files(dataset: Path) -> None:
    for name in ("train", "val"):
        write_csv(dataset, name, [make_row(1, 0), make_row(2, 1), make_row(3, 2), make_row(1, 0)])
    split = load(dataset, "train", bad_rows="skip", num_val_personas=1)
    assert split.skipped == {"duplicate": 2}
    assert split.csv_rows == {"train": 4, "val": 4}
