"""The fixed evaluation subset: right size, right proportions, always the same."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rft.data.subset import stratified_subset
from rft.records import Question


def question(row: int, pref_type: str, *, who: str = "self", history: str = "h") -> Question:
    return Question(
        question_id=f"val/{row}", row=row, persona_id=0, history_id=history, query="q", correct_answer="a",
        incorrect_answers=("b", "c", "d"), pref_type=pref_type, who=who, updated=False, sensitive=False,
        scenario="s", topic="t", preference="p", distance_tokens=0, evidence=(),
    )  # fmt: skip


def test_proportions_of_the_strata_are_kept():
    questions = [question(i, "common") for i in range(600)] + [question(600 + i, "rare") for i in range(200)]
    chosen = Counter(questions[index].pref_type for index in stratified_subset(questions, 100))
    assert chosen == {"common": 75, "rare": 25}


def test_zero_and_more_than_there_is_mean_all():
    questions = [question(i, "p") for i in range(7)]
    assert stratified_subset(questions, 0) == list(range(7))
    assert stratified_subset(questions, 9) == list(range(7))


def test_questions_of_one_history_stand_together():
    questions = [question(i, "p", history=f"h{i % 5}") for i in range(100)]
    histories = [questions[index].history_id for index in stratified_subset(questions, 40)]
    assert histories == sorted(histories)


def test_adding_questions_of_another_stratum_keeps_the_choice_within_one():
    few = [question(i, "p") for i in range(50)]
    more = few + [question(100 + i, "q") for i in range(50)]
    assert set(stratified_subset(few, 10)) == {i for i in stratified_subset(more, 20) if i < 50}


@given(
    strata=st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(["self", "others"])), min_size=1, max_size=60),
    size=st.integers(1, 60),
)
def test_size_is_exact_and_indices_are_distinct(strata: list[tuple[str, str]], size: int):
    questions = [question(i, pref_type, who=who) for i, (pref_type, who) in enumerate(strata)]
    chosen = stratified_subset(questions, size)
    assert len(chosen) == len(set(chosen)) == min(size, len(questions))
