"""The fixed evaluation subset: right size, right proportions, always the same."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rft.data.subset import stratified_subset
from rft.records import Question

STRATA = ("kind", "who")


def question(row: int, kind: str, *, who: str = "self", context: str = "h") -> Question:
    return Question(
        question_id=f"val/{row}",
        context_id=context,
        cluster="0",
        query="q",
        correct_answer="a",
        tags={"kind": kind, "who": who, "topic": str(row)},
    )


def test_proportions_of_the_strata_are_kept():
    questions = [question(i, "common") for i in range(600)] + [question(600 + i, "rare") for i in range(200)]
    chosen = Counter(questions[index].tags["kind"] for index in stratified_subset(questions, 100, STRATA))
    assert chosen == {"common": 75, "rare": 25}


def test_zero_and_more_than_there_is_mean_all():
    questions = [question(i, "p") for i in range(7)]
    assert stratified_subset(questions, 0, STRATA) == list(range(7))
    assert stratified_subset(questions, 9, STRATA) == list(range(7))


def test_questions_of_one_context_stand_together():
    questions = [question(i, "p", context=f"h{i % 5}") for i in range(100)]
    contexts = [questions[index].context_id for index in stratified_subset(questions, 40, STRATA)]
    assert contexts == sorted(contexts)


def test_adding_questions_of_another_stratum_keeps_the_choice_within_one():
    few = [question(i, "p") for i in range(50)]
    more = few + [question(100 + i, "q") for i in range(50)]
    assert set(stratified_subset(few, 10, STRATA)) == {i for i in stratified_subset(more, 20, STRATA) if i < 50}


def test_only_the_named_tags_count():
    questions = [question(i, "common" if i % 4 else "rare") for i in range(100)]
    without = Counter(questions[index].tags["kind"] for index in stratified_subset(questions, 8, ("kind",)))
    assert without == {"common": 6, "rare": 2}
    assert len(stratified_subset(questions, 8, ())) == 8


def test_a_question_without_a_tag_is_in_a_stratum_of_its_own():
    bare = [replace(question(i, "common"), tags={}) for i in range(20)]
    questions = bare + [question(20 + i, "common") for i in range(20)]
    chosen = stratified_subset(questions, 10, ("kind",))
    assert sum(index < 20 for index in chosen) == 5


@given(
    strata=st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(["self", "others"])), min_size=1, max_size=60),
    size=st.integers(1, 60),
)
def test_size_is_exact_and_indices_are_distinct(strata: list[tuple[str, str]], size: int):
    questions = [question(i, kind, who=who) for i, (kind, who) in enumerate(strata)]
    chosen = stratified_subset(questions, size, STRATA)
    assert len(chosen) == len(set(chosen)) == min(size, len(questions))
