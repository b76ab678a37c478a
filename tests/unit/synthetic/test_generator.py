"""The synthetic data set: the released layout, reproducible bytes, and no way to be right without the history."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rft.assembly.blocks import SCENARIOS, count_tokens
from rft.assembly.table import Window
from rft.cold_start import traces
from rft.config import DataConfig
from rft.data.dataset import check_cluster
from rft.data.readers.personamem_csv import COLUMNS
from rft.data.readers.personamem_v2 import PersonaMemV2
from rft.records import Context, Question
from rft.synthetic.generator import WINDOW_FACTOR, write_dataset
from rft.synthetic.personas import Fact, Kind
from rft.synthetic.questions import question_texts
from rft.synthetic.wording import GENERIC, SECRETS, STYLE_TOPICS, TOPIC_OF, Style

REPOSITORY = Path(__file__).resolve().parents[3]
CSV_NAMES = ("train", "val", "benchmark")


@pytest.fixture(scope="module")
def brief(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("brief")
    write_dataset(root, num_personas=200, questions_per_persona=12, history_tokens=800, seed=3, style="brief")
    return root


@pytest.fixture(scope="module")
def dataset(brief: Path) -> PersonaMemV2:
    return read(brief)


def read(root: Path, window: Window = "32k") -> PersonaMemV2:
    return PersonaMemV2(DataConfig(source=str(root), window=window, train_split="paper"))


@pytest.fixture(scope="module")
def questions(dataset: PersonaMemV2) -> list[Question]:
    """All 2,400 of the brief set, in the order of the files."""
    return [question for name in CSV_NAMES for question in dataset.split(name).questions]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("full")
    write_dataset(root, num_personas=6, history_tokens=10_000, seed=3, windows=("32k", "128k"))
    return root


def rows_of(root: Path) -> list[dict[str, str]]:
    csv.field_size_limit(1 << 30)
    rows = []
    for name in CSV_NAMES:
        with (root / f"benchmark/text/{name}.csv").open(encoding="utf-8", newline="") as file:
            rows += list(csv.DictReader(file))
    return rows


def digest(root: Path) -> str:
    state = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        state.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    options = ["--personas", "5", "--questions", "25", "--history-tokens", "10000", "--windows", "32k", "128k"]
    for name, hash_seed in (("one", "1"), ("two", "2")):
        command = [sys.executable, "rft/make_data.py", "synthetic", str(tmp_path / name), *options]
        environment = {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": hash_seed}
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, capture_output=True)
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("full", "da98c0813a2429d442d5329f48f924071062d4a79cae169300097cf481cfafd0"),
        ("brief", "06e7de50f77ac615570d86731ae505b31d15b195bdc9c0f946f40610ae076223"),
    ],
)
def test_a_seed_writes_the_bytes_that_it_wrote_before(tmp_path: Path, style: Style, expected: str) -> None:
    """Figures in bench/results were measured on data that a seed and this code stand for."""
    write_dataset(
        tmp_path, num_personas=5, questions_per_persona=6, history_tokens=1500, style=style, windows=("32k", "128k")
    )
    assert digest(tmp_path) == expected


def test_another_seed_writes_other_bytes(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_dataset(
            tmp_path / str(seed), num_personas=3, questions_per_persona=4, history_tokens=600, style="brief", seed=seed
        )
    first, second = (next((tmp_path / str(seed) / "data/chat_history_32k").iterdir()).read_text() for seed in (0, 1))
    assert first != second


@pytest.mark.parametrize("window", ["32k", "128k"])
def test_reader_takes_every_row_and_history(full: Path, window: Window) -> None:
    dataset = read(full, window)
    for name in CSV_NAMES:
        split = dataset.split(name)
        assert split.manifest["rows_skipped"] == {} and len(split.questions) % 25 == 0
        for question in split.questions:
            history = dataset.context(question.context_id)
            check_cluster(history, question)
            assert history.notes == {}
            assert history.profile is not None and history.profile.role == "system"
            text = [message.content for message in history.messages]
            assert all(message.content in text for message in question.evidence)


@pytest.mark.parametrize("window", ["32k", "128k"])
def test_recorded_numbers_are_those_of_the_history(full: Path, window: Window) -> None:
    for row in rows_of(full):
        payload = json.loads((full / row[f"chat_history_{window}_link"]).read_text(encoding="utf-8"))
        messages, metadata = payload["chat_history"], payload["metadata"]
        lengths = [count_tokens(message["content"]) for message in messages]
        total = int(row[f"total_tokens_in_chat_history_{window}"])
        assert total == sum(lengths) == metadata["final_token_count"]
        assert 0.97 * 10_000 * WINDOW_FACTOR[window] < total <= 10_000 * WINDOW_FACTOR[window]
        assert metadata["total_messages"] == len(messages)
        relevant, irrelevant = (int(row[f"num_persona_{kind}_tokens_{window}"]) for kind in ("relevant", "irrelevant"))
        assert relevant + irrelevant == total
        evidence = json.loads(row["related_conversation_snippet"])
        starts = [at for at in range(len(messages)) if messages[at : at + len(evidence)] == evidence]
        distances = [sum(lengths[at:]) for at in starts]
        assert int(row[f"distance_from_related_snippet_to_query_{window}"]) in distances


def test_columns_hold_what_the_release_holds(full: Path, brief: Path) -> None:
    assert list(rows_of(full)[0]) == list(rows_of(brief)[0])
    assert set(rows_of(full)[0]) == set(COLUMNS)
    rows = [{name: parse(row[name]) for name, parse in COLUMNS.items()} for row in rows_of(brief)]
    assert {row["pref_type"] for row in rows} == {
        "ask_to_forget",
        "neutral_preferences",
        "anti_stereotypical_pref",
        "therapy_background",
        "health_and_medical_conditions",
        "stereotypical_pref",
        "sensitive_info",
    }
    assert {row["conversation_scenario"] for row in rows} == set(SCENARIOS)
    assert {row["who"] for row in rows} == {"self", "others"}
    for row in rows:
        assert set(row["short_persona"]) == {"persona"}
        assert (row["prev_pref"] is not None) == row["updated"]
        assert row["sensitive_info"] == (row["pref_type"] == "sensitive_info")
        assert row["preference"].startswith("Do not remember '") == (row["pref_type"] == "ask_to_forget")


def test_splits_share_no_persona(dataset: PersonaMemV2) -> None:
    personas = [{question.cluster for question in dataset.split(name).questions} for name in CSV_NAMES]
    assert [len(ids) for ids in personas] == [160, 20, 20]
    assert len(set.union(*personas)) == 200


def test_every_25_questions_hold_the_same_kinds(questions: list[Question]) -> None:
    for start in range(0, len(questions) - 24, 25):
        chosen = questions[start : start + 25]
        assert count(chosen, "updated", "true") == 5
        assert count(chosen, "who", "others") == 2
        assert count(chosen, "pref_type", "ask_to_forget") == 2
        assert count(chosen, "sensitive", "true") == 3


def count(questions: list[Question], tag: str, value: str) -> int:
    return sum(question.tags[tag] == value for question in questions)


def test_query_does_not_hint_the_value(questions: list[Question]) -> None:
    for question in questions:
        assert question.tags["topic"] in question.query
        words = set(question.query.lower().strip(".?").split())
        assert not words & (set(TOPIC_OF) | set(GENERIC) | set(SECRETS))


def test_history_shows_what_the_kind_says(dataset: PersonaMemV2, questions: list[Question]) -> None:
    for question in questions:
        topic, tags = question.tags["topic"], question.tags
        messages = [(message.role, message.content) for message in history_of(dataset, question).messages]
        evidence = [(message.role, message.content) for message in question.evidence]
        at = next(i for i in range(len(messages)) if messages[i : i + len(evidence)] == evidence)
        shown = " ".join(content for _, content in evidence)
        if tags["sensitive"] == "true":
            leaked = question.incorrect_answers[0].split()[0]
            assert leaked in shown and topic in shown
            assert leaked not in question.correct_answer
            continue
        naive, right = (traces.reading(question, right) for right in (False, True))
        assert topic in shown
        if tags["updated"] == "true":
            assert right in shown
            old = [i for i, (_, content) in enumerate(messages) if f"{topic}, {naive}," in content]
            assert max(old) < at, "the old preference comes before the new one"
        elif tags["pref_type"] == "ask_to_forget":
            assert naive in shown
            assert evidence[-1][0] == "user" and evidence[-2][0] == "assistant"
            following = messages[at + len(evidence) : at + len(evidence) + 1]
            assert all(role == "user" for role, _ in following), "the forget request gets no answer of its own"
        else:
            assert (right if tags["who"] == "self" else naive) in shown
            assert (" my " in f" {shown} ") == (tags["who"] == "self")


def history_of(dataset: PersonaMemV2, question: Question) -> Context:
    return dataset.context(question.context_id)


def share(questions: list[Question], pick: str) -> float:
    """Accuracy of a rule that sees only the options; ties count by the chance to hit."""
    hits = 0.0
    for question in questions:
        answers = (question.correct_answer, *question.incorrect_answers)
        key = {
            "longest": lambda answer: len(answer),
            "shortest": lambda answer: -len(answer),
            "generic": lambda answer: any(word in answer for word in GENERIC),
            "not generic": lambda answer: not any(word in answer for word in GENERIC),
            "placeholder": lambda answer: "left blank" in answer,
            "second letter": lambda answer: -ord(answer[1]),
        }[pick]
        best = max(map(key, answers))
        hits += (key(answers[0]) == best) / sum(key(answer) == best for answer in answers)
    return hits / len(questions)


@pytest.mark.parametrize("pick", ["longest", "shortest", "generic", "not generic", "placeholder", "second letter"])
def test_options_give_nothing_away(questions: list[Question], pick: str) -> None:
    # 2,400 questions: the standard error of a fair guess is 0.009.
    assert share(questions, pick) < 0.28


@pytest.mark.parametrize("style", ["full", "brief"])
@pytest.mark.parametrize("kind", ["plain", "updated", "forget", "others", "sensitive"])
@pytest.mark.parametrize("pick", [max, min])
def test_no_kind_gives_itself_away_by_length(kind: Kind, style: Style, pick: Callable[[list[int]], int]) -> None:
    # 4,000 questions: the standard error of a fair guess is 0.007.
    rng = random.Random(f"{style} {kind}")
    rights = 0.0
    for _ in range(4000):
        if kind == "sensitive":
            fact = Fact(kind=kind, name="gym", values=tuple(rng.sample(SECRETS, 3)), digits=str(rng.randrange(10**6)))
        else:
            topic = rng.choice(STYLE_TOPICS[style])
            values = tuple(rng.sample(topic.values, 4 if kind == "updated" else 3))
            fact = Fact(kind=kind, name=topic.name, values=values)
        _, correct, incorrect = question_texts(rng, fact, style)
        lengths = [len(answer) for answer in (correct, *incorrect)]
        rights += (lengths[0] == pick(lengths)) / lengths.count(pick(lengths))
    # The brief style has no generic word of five letters, so what is right is more seldom the shortest.
    assert -0.11 < rights / 4000 - 0.25 < 0.05


def test_no_letter_is_right_too_often(dataset: PersonaMemV2, questions: list[Question]) -> None:
    letters = Counter(dataset.option_order(question).index(0) for question in questions)
    assert max(letters.values()) / sum(letters.values()) < 0.29


def test_a_value_is_as_often_right_as_wrong(questions: list[Question]) -> None:
    plain = [q for q in questions if not traces.is_hard(q)]
    right = Counter(traces.gist(q.correct_answer) for q in plain)
    offered = Counter(traces.gist(answer) for q in plain for answer in (q.correct_answer, *q.incorrect_answers))
    common = [value for value in TOPIC_OF if offered[value] >= 20]
    assert common, "some values are offered often enough to count"
    assert max(right[value] / offered[value] for value in common) < 0.75
    assert sum(right.values()) / sum(offered[value] for value in TOPIC_OF) == pytest.approx(1 / 3)


def test_wrong_values_are_mentioned_too(dataset: PersonaMemV2, questions: list[Question]) -> None:
    mentioned = []
    for question in questions:
        if traces.is_hard(question):
            continue
        text = " ".join(message.content for message in history_of(dataset, question).messages)
        wrong = {traces.gist(answer) for answer in question.incorrect_answers} & set(TOPIC_OF)
        mentioned.append(bool(wrong & set(re.findall("[a-z]+", text))))
    assert sum(mentioned) / len(mentioned) > 0.25


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"questions_per_persona": 99}, "questions_per_persona is 99; the full style has topics for 1 to 34"),
        ({"num_personas": 2}, "0 train, 1 val, 1 benchmark personas"),
    ],
)
def test_impossible_settings_are_refused(tmp_path: Path, settings: dict[str, int], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        write_dataset(tmp_path, **({"num_personas": 3} | settings))  # type: ignore[arg-type]
