"""The documented layout for data of one's own: what is read, what is refused and in which words."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rft.config import DataConfig
from rft.data.dataset import RecordError
from rft.data.readers.jsonl_dataset import JsonlDataset
from rft.plain_text import has_text
from rft.records import Message, Question

REMEDY = "data.bad_rows=skip"


def write_lines(path: Path, items: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return path


def open_folder(folder: Path, **config: Any) -> JsonlDataset:
    return JsonlDataset(DataConfig(format="jsonl", source=str(folder), **{"num_val_clusters": 1, **config}))


CONTEXTS: list[dict[str, Any]] = [
    {"context_id": "lease", "text": "The lease begins in 2029 and ends in 2031."},
    {
        "context_id": "chat",
        "messages": [{"role": "user", "content": "I hum jazz."}, {"role": "assistant", "content": "Nice."}],
        "cluster": "ann",
        "profile": "Ann, 38.",
    },
    {"context_id": "chat-2", "messages": [{"role": "user", "content": "Hello"}], "cluster": "ann"},
]
QUESTIONS: list[dict[str, Any]] = [
    {"context_id": "lease", "query": "When does it end?", "answer": "2031", "tags": {"kind": "date", "hard": False}},
    {"question_id": "hum", "context_id": "chat", "query": "What do I hum?", "answer": "Jazz",
     "incorrect_answers": ["Rock", "Folk"], "evidence": [{"role": "user", "content": "I hum jazz."}],
     "tags": {"hard": True, "level": 3}, "columns": {"solution": "\\boxed{x}", "parts": [1, None]}},
    {"query": "2 + 2?", "answer": "4"},
    {"context_id": "chat-2", "query": "Who am I?", "answer": "Ann"},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three contexts of two clusters, and four questions, one of them without a context."""
    write_lines(tmp_path / "contexts.jsonl", CONTEXTS)
    write_lines(tmp_path / "questions.jsonl", QUESTIONS)
    return tmp_path


def all_questions(dataset: JsonlDataset) -> list[Question]:
    """Of every split, in file order."""
    return list(dataset.loaded.questions)


# --------------------------------------------------------------------------------------------------- what is read


def test_questions_are_read_as_documented(folder: Path) -> None:
    lease, hum, four, _ = all_questions(open_folder(folder))
    assert hum == Question(
        question_id="hum",
        context_id="chat",
        query="What do I hum?",
        correct_answer="Jazz",
        incorrect_answers=("Rock", "Folk"),
        cluster="ann",
        evidence=(Message(role="user", content="I hum jazz."),),
        tags={"hard": "true", "level": "3"},
        columns={"solution": "\\boxed{x}", "parts": [1, None]},
    )
    assert (lease.question_id, lease.cluster) == ("questions/1", "lease")
    assert lease.tags == {"kind": "date", "hard": "false"}
    assert lease.columns == {"solution": None, "parts": None}, "every question has the columns of all"
    assert (four.question_id, four.context_id, four.cluster) == ("questions/3",) * 3


def test_contexts_are_read_as_documented(folder: Path) -> None:
    dataset = open_folder(folder)
    lease, chat = dataset.context("lease"), dataset.context("chat")
    assert lease.messages == (Message(role="user", content="The lease begins in 2029 and ends in 2031."),)
    assert (lease.cluster, lease.profile, lease.notes) == (None, None, {})
    assert [message.role for message in chat.messages] == ["user", "assistant"]
    assert (chat.cluster, chat.profile) == ("ann", Message(role="system", content="Ann, 38."))
    assert dataset.context("questions/3").messages == (), "a question without a context has an empty one"
    with pytest.raises(RecordError, match=r"contexts\.jsonl holds no usable context 'x'"):
        dataset.context("x")


def test_without_named_splits_train_and_val_share_no_cluster(folder: Path) -> None:
    dataset = open_folder(folder)
    assert (dataset.splits, dataset.eval_split) == (("train", "val"), "val")
    train, val = dataset.split("train"), dataset.split("val")
    clusters = [{question.cluster for question in split.questions} for split in (train, val)]
    assert clusters[0] | clusters[1] == {"lease", "ann", "questions/3"}
    assert not clusters[0] & clusters[1]
    assert len(clusters[1]) == 1
    assert len(train.questions) + len(val.questions) == 4
    assert val.manifest["other_split"] == len(train.questions)
    assert open_folder(folder).split("val").questions == val.questions, "the same in every process"


@pytest.mark.parametrize(
    ("names", "eval_split"),
    [
        (["train", "val", "test", "train"], "val"),
        (["train", "test", "dev", "train"], "test"),
        (["train", "train", "train", "train"], "train"),
        (["test", "test", "test", "test"], "test"),
    ],
)
def test_named_splits_are_the_splits(folder: Path, names: list[str], eval_split: str) -> None:
    rows = [row | {"split": name} for row, name in zip(QUESTIONS, names, strict=True)]
    write_lines(folder / "questions.jsonl", rows)
    dataset = open_folder(folder, num_val_clusters=80)
    assert dataset.splits == tuple(dict.fromkeys(names))
    assert dataset.eval_split == eval_split
    assert len(dataset.split(names[0]).questions) == names.count(names[0])
    with pytest.raises(ValueError, match="no split 'other'"):
        dataset.split("other")


def test_a_split_in_some_lines_alone_is_refused(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", [QUESTIONS[0], QUESTIONS[1] | {"split": "train"}, *QUESTIONS[2:]])
    for bad_rows in ("error", "skip"):
        with pytest.raises(ValueError, match=r"questions\.jsonl line 1 has no split, but line 2 has one"):
            _ = open_folder(folder, bad_rows=bad_rows).splits


def test_more_validation_clusters_than_there_are(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.num_val_clusters is 80, but there are 3 clusters"):
        open_folder(folder, num_val_clusters=80).split("train")


def test_one_cluster_cannot_be_cut(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", [QUESTIONS[1], QUESTIONS[3]])
    with pytest.raises(ValueError, match="all questions of questions.jsonl are of the cluster 'ann'.*a split"):
        open_folder(folder).split("train")


def test_tags_are_breakdowns_and_those_with_few_values_strata(folder: Path) -> None:
    rows = [{"query": "?", "answer": "a", "tags": {"few": i % 20, "many": i % 21, "now": True}} for i in range(42)]
    write_lines(folder / "questions.jsonl", rows)
    (folder / "contexts.jsonl").unlink()
    dataset = open_folder(folder)
    assert dataset.breakdowns == ("few", "many", "now")
    assert dataset.strata == ("few", "now")
    (folder / "none").mkdir()
    write_lines(folder / "none" / "questions.jsonl", [{"query": "?", "answer": "a"}])
    assert open_folder(folder / "none").breakdowns == ()


def test_no_context_anywhere_needs_no_contexts_file(folder: Path) -> None:
    (folder / "contexts.jsonl").unlink()
    write_lines(folder / "questions.jsonl", [{"query": "2 + 2?", "answer": "4"}, {"query": "3 + 3?", "answer": "6"}])
    dataset = open_folder(folder)
    assert [question.context_id for question in all_questions(dataset)] == ["questions/1", "questions/2"]
    assert len(dataset.split("train").questions) == 1


def test_messages_without_text_are_left_out_and_noted(folder: Path) -> None:
    messages = [{"role": "user", "content": text} for text in ("Hi", "", None, "Bye")]
    write_lines(folder / "contexts.jsonl", [*CONTEXTS[:2], CONTEXTS[2] | {"messages": messages}])
    context = open_folder(folder).context("chat-2")
    assert [message.content for message in context.messages] == ["Hi", "Bye"]
    assert "line 3: 2 messages without text" in context.notes["messages_without_text"]


def test_the_fingerprint_changes_with_the_files_and_settings(folder: Path) -> None:
    prints = [open_folder(folder).fingerprint(), open_folder(folder, num_val_clusters=2).fingerprint()]
    for name in ("questions.jsonl", "contexts.jsonl"):
        os.utime(folder / name, ns=(1, len(prints)))
        prints.append(open_folder(folder).fingerprint())
    assert len(set(prints)) == 4
    assert open_folder(folder).fingerprint() == prints[-1]


def test_a_context_that_changes_while_in_use_is_not_mistaken_for_another(folder: Path) -> None:
    dataset = open_folder(folder)
    dataset.context("lease")
    write_lines(folder / "contexts.jsonl", CONTEXTS[1:])
    with pytest.raises(ValueError, match="has changed while it was in use"):
        dataset.context("lease")


# ---------------------------------------------------------------------------------------------- spellings of lines


def test_marks_line_ends_and_blank_lines_are_fine(folder: Path) -> None:
    expected = all_questions(open_folder(folder))
    contexts = [open_folder(folder).context(context["context_id"]) for context in CONTEXTS]
    for name in ("questions.jsonl", "contexts.jsonl"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").rstrip() + b"\r\n  \r\n\n")
    dataset = open_folder(folder)
    assert all_questions(dataset) == expected
    assert [dataset.context(context["context_id"]) for context in CONTEXTS] == contexts


def test_blank_lines_count_in_line_numbers(folder: Path) -> None:
    path = folder / "questions.jsonl"
    path.write_bytes(b"\n \n" + path.read_bytes())
    assert all_questions(open_folder(folder))[0].question_id == "questions/3"


def test_characters_that_look_like_line_ends_are_text(folder: Path) -> None:
    text = "one\u2028two\x85three\u2029four\x0bfive"
    rows = [{"context_id": "lease", "query": text, "answer": text}, {"query": "x", "answer": "y"}]
    path = folder / "questions.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8", newline="")
    first, second = all_questions(open_folder(folder))
    assert (first.query, first.correct_answer, second.question_id) == (text, text, "questions/2")


# ---------------------------------------------------------------------------------------------- what is refused


def refused(folder: Path, *parts: str, reason: str | None = None) -> None:
    """Reading raises one line that holds `parts`; skipping leaves the line out under `reason`."""
    with pytest.raises(RecordError) as caught:
        _ = open_folder(folder).loaded
    message = str(caught.value)
    assert "\n" not in message
    for part in (*parts, REMEDY):
        assert part in message, message
    manifest = open_folder(folder, bad_rows="skip").split("train").manifest
    assert manifest["rows_skipped"] == {reason or caught.value.reason: 1}


def patched(index: int, **change: Any) -> list[dict[str, Any]]:
    return [row | change if at == index else row for at, row in enumerate(QUESTIONS)]


BAD_VALUES = {
    "query": [(None, "null"), (7, "a number"), ("", "is empty"), (" \n", "is empty"), ("\ud83d", "surrogate")],
    "answer": [(4, "a number instead of text in quotes"), (["x"], "a list"), ("", "is empty")],
    "question_id": [(17, "a number"), ("", "is empty"), ("a\nb", "one line"), ("a\u2028b", "one line")],
    "context_id": [(None, "null"), ("nowhere", "'nowhere' is in no usable line of contexts.jsonl")],
    "incorrect_answers": [
        ("Rock", "text instead of a list"),
        ([], "0 answers instead of 1 to 25"),
        (list(map(str, range(26))), "26 answers instead of 1 to 25"),
        (["Rock", 3], "answer 1 is a number"),
        (["Rock", ""], "answer 1 is empty"),
        ([{"text": "Rock"}], "answer 0 is an object"),
    ],
    "tags": [
        ([], "a list instead of an object"),
        ({"kind": None}, "'kind' is null"),
        ({"kind": ["x"]}, "'kind' is a list"),
        ({"kind": ""}, "'kind' is empty"),
        ({"": "x"}, "is empty"),
        ({"kind": float("nan")}, "finite"),
        ({"kind": "\udc00"}, "surrogate"),
    ],
    "columns": [(3, "a number instead of an object"), ({"deep": [{"x": "\ud83d"}]}, "surrogate")],
    "cluster": [(521, "a number"), ("", "is empty"), ("bob", "is 'bob', but the context 'chat' belongs to 'ann'")],
    "split": [("", "is empty"), ("a/b", "may hold letters"), ("..", "may hold letters")],
    "evidence": [
        ("I hum", "not a list of messages"),
        ([{"role": "tool", "content": "x"}], "role 'tool'"),
        ([{"role": "user"}], "message 0 has no"),
        ([{"role": "user", "content": [1]}], "not text"),
    ],
}


@pytest.mark.parametrize(
    ("key", "value", "words"), [(key, value, words) for key, bad in BAD_VALUES.items() for value, words in bad]
)
def test_a_bad_value_is_refused_with_file_line_and_key(folder: Path, key: str, value: Any, words: str) -> None:
    path = write_lines(folder / "questions.jsonl", patched(1, **{key: value}))
    reason = {"nowhere": "context_absent", "bob": "context_of_another"}.get(
        value if isinstance(value, str) else "", key
    )
    refused(folder, f"{path} line 2, {key}: ", words, reason=reason)


@pytest.mark.parametrize("options", [["Jazz", "Rock"], ["Rock", " Jazz "]])
def test_the_right_answer_among_the_incorrect_ones_is_refused(folder: Path, options: list[str]) -> None:
    write_lines(folder / "questions.jsonl", patched(1, incorrect_answers=options))
    refused(folder, "line 2, incorrect_answers: holds the right answer", reason="repeated_option")


def test_an_incorrect_answer_twice_is_refused(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", patched(1, incorrect_answers=["Rock", "Folk", "Rock"]))
    refused(folder, "line 2, incorrect_answers: holds the same answer twice", reason="repeated_option")


@pytest.mark.parametrize("key", ["query", "answer"])
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    rows = [dict(row) for row in QUESTIONS]
    del rows[1][key]
    write_lines(folder / "questions.jsonl", rows)
    refused(folder, f"line 2 has no '{key}'", reason="missing_key")


def test_an_unknown_key_is_refused_and_the_nearest_is_named(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", patched(1, incorect_answer=["x"]))
    refused(folder, "line 2 has the unknown key 'incorect_answer' (did you mean 'incorrect_answers'?)")
    write_lines(folder / "questions.jsonl", patched(1, **{"z" * 90_000: 1}))
    refused(folder, "(known ones are question_id, context_id, query", reason="unknown_key")


def test_a_repeated_id_is_refused(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", patched(3, question_id="hum"))
    refused(folder, "line 4, question_id: 'hum' is also the id of line 2", reason="duplicate")
    write_lines(folder / "questions.jsonl", patched(1, question_id="questions/3"))
    refused(folder, "line 3, question_id: 'questions/3' is also the id of line 2", reason="duplicate")


def test_a_question_without_context_must_not_bear_the_id_of_one(folder: Path) -> None:
    """Its empty context would take the place of the other."""
    write_lines(folder / "questions.jsonl", patched(2, question_id="lease"))
    refused(folder, "line 3, question_id: 'lease' is the id of a context too", reason="question_id")
    assert open_folder(folder, bad_rows="skip").context("lease").messages


def test_questions_of_one_context_have_one_cluster(folder: Path) -> None:
    rows = [*QUESTIONS, QUESTIONS[0] | {"cluster": "other"}]
    write_lines(folder / "questions.jsonl", rows)
    refused(folder, "line 5, cluster: is 'other', but the context 'lease' belongs to 'lease'")


BAD_LINES: list[tuple[bytes, str, str]] = [
    (b'{"query": "x", "answer": "y"', "json", "not complete JSON"),
    (b'{"query": "x", "answer": "y"} {}', "json", "not complete JSON"),
    (b"[1, 2]", "json", "is a list instead of a JSON object"),
    (b'"x"', "json", "is text instead of a JSON object"),
    (b"null", "json", "is null instead of a JSON object"),
    (b"\xef\xbb\xbf{}", "json", "line 2 is not complete JSON"),
    (b'{"query": "j\xe4zz", "answer": "y"}', "encoding", "is not UTF-8 (byte 12 of the line)"),
    (b'{"query": "x", "answer": "y", "columns": {"deep": ' + b"[" * 200_000 + b"}}", "json", "nested too deeply"),
    (b'{"query": "x", "answer": "y", "columns": {"d": ' + b"[" * 400 + b"]" * 400 + b"}}", "columns", "levels deep"),
    (b'{"n": ' + b"9" * 5000 + b"}", "json", "not complete JSON"),
]


@pytest.mark.parametrize(("line", "reason", "words"), BAD_LINES)
def test_a_line_that_is_no_object_is_refused(folder: Path, line: bytes, reason: str, words: str) -> None:
    path = folder / "questions.jsonl"
    first, _, rest = path.read_bytes().partition(b"\n")
    path.write_bytes(first + b"\n" + line + b"\n" + rest)
    refused(folder, f"{path} line 2", words, reason=reason)


def drop(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda row: {name: value for name, value in row.items() if name != key}


BAD_CONTEXTS: list[tuple[Callable[[dict[str, Any]], Any], str, str]] = [
    (lambda row: row | {"messages": []}, "messages", ", messages: has no message with text"),
    (lambda row: row | {"messages": [{"role": "user", "content": " "}]}, "messages", "has no message with text"),
    (lambda row: row | {"messages": "Hi"}, "messages", "is not a list of messages"),
    (lambda row: row | {"messages": [{"role": "bot", "content": "x"}]}, "messages", "role 'bot'"),
    (lambda row: row | {"messages": [{"role": "user", "content": "\ud83d"}]}, "messages", "surrogate"),
    (lambda row: row | {"text": "both"}, "messages_or_text", "must have either 'messages' or 'text'"),
    (drop("messages"), "messages_or_text", "must have either 'messages' or 'text'"),
    (drop("context_id"), "missing_key", "has no 'context_id'"),
    (lambda row: row | {"context_id": 3}, "context_id", ", context_id: is a number"),
    (lambda row: row | {"context_id": "lease"}, "duplicate", ", context_id: repeats line 1"),
    (lambda row: row | {"profile": {}}, "profile", ", profile: is an object"),
    (lambda row: row | {"cluster": 3}, "cluster", ", cluster: is a number"),
    (lambda row: row | {"message": []}, "unknown_key", "'message' (did you mean 'messages'?)"),
    (lambda row: [row], "json", "is a list instead of a JSON object"),
]


@pytest.mark.parametrize(("change", "reason", "words"), BAD_CONTEXTS)
def test_a_bad_context_is_refused_and_its_questions_can_be_skipped(
    folder: Path, change: Callable[[dict[str, Any]], Any], reason: str, words: str
) -> None:
    path = write_lines(folder / "contexts.jsonl", [CONTEXTS[0], change(CONTEXTS[1]), CONTEXTS[2]])
    with pytest.raises(RecordError) as caught:
        open_folder(folder).split("train")
    assert "\n" not in str(caught.value)
    for part in (f"{path} line 2", words, REMEDY):
        assert part in str(caught.value)
    dataset = open_folder(folder, bad_rows="skip")
    manifest = dataset.split("train").manifest
    assert manifest["contexts_skipped"] == {reason: 1}
    assert manifest["rows_skipped"] == {"context_absent": 1}
    assert manifest["question_lines"] == 4
    assert [question.question_id for question in all_questions(dataset)] == [
        "questions/1",
        "questions/3",
        "questions/4",
    ]


def test_mistakes_in_questions_are_found_before_contexts_are_read(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", patched(1, answer=""))
    (folder / "contexts.jsonl").write_text("{")
    with pytest.raises(RecordError, match=r"questions\.jsonl line 2, answer"):
        _ = open_folder(folder).splits


# ---------------------------------------------------------------------------------------------- files and folders


def test_a_source_that_is_no_folder(folder: Path) -> None:
    for source in (folder / "nowhere", folder / "questions.jsonl"):
        with pytest.raises(ValueError, match="is not a folder; name one that holds questions.jsonl"):
            open_folder(source)


def test_a_folder_without_questions(folder: Path) -> None:
    (folder / "questions.jsonl").unlink()
    with pytest.raises(ValueError, match=r"questions\.jsonl does not exist"):
        open_folder(folder)
    (folder / "questions.jsonl").mkdir()
    with pytest.raises(ValueError, match=r"questions\.jsonl is no file"):
        open_folder(folder)


def test_an_option_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.options\.shuffle has no effect: jsonl has no options"):
        open_folder(folder, options={"shuffle": True})


def test_questions_with_contexts_need_the_file(folder: Path) -> None:
    (folder / "contexts.jsonl").unlink()
    with pytest.raises(ValueError, match=r"contexts\.jsonl does not exist, but .*line 1 has a context_id"):
        open_folder(folder).split("train")


def test_contexts_that_no_question_names_are_a_mistake(folder: Path) -> None:
    write_lines(folder / "questions.jsonl", [QUESTIONS[2]])
    with pytest.raises(ValueError, match="no line of .*questions.jsonl has a context_id"):
        open_folder(folder).split("train")
    (folder / "contexts.jsonl").write_bytes(b"\n")
    assert len(all_questions(open_folder(folder))) == 1


@pytest.mark.parametrize("name", ["questions.jsonl", "contexts.jsonl"])
def test_a_git_lfs_pointer_says_so(folder: Path, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (folder / name).write_text(pointer)
    with pytest.raises(ValueError, match=f"{name} is a Git LFS pointer, .*git lfs pull"):
        open_folder(folder)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"{}\n", b"\xe4"])
def test_a_file_without_a_usable_line(folder: Path, content: bytes) -> None:
    (folder / "questions.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no usable line \([0-2] skipped\)"):
        open_folder(folder, bad_rows="skip").split("train")


def test_making_one_reads_no_line(folder: Path) -> None:
    (folder / "questions.jsonl").write_text("{")
    dataset = open_folder(folder)
    assert dataset.name == f"jsonl-{folder.name}"
    assert dataset.fingerprint()


def test_2000_questions_on_500_contexts_take_less_than_two_seconds(folder: Path) -> None:
    contexts = [{"context_id": f"c{i}", "text": "word " * 2000} for i in range(500)]
    questions = [QUESTIONS[1] | {"question_id": f"q{i}", "context_id": f"c{i % 500}"} for i in range(2000)]
    write_lines(folder / "contexts.jsonl", contexts)
    write_lines(folder / "questions.jsonl", questions)
    start = time.process_time()
    dataset = open_folder(folder)
    assert len(all_questions(dataset)) == 2000
    assert len(dataset.context("c499").messages) == 1
    assert time.process_time() - start < 2.0


# ---------------------------------------------------------------------------------------------- any data at all

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(has_text)
names = texts.filter(lambda text: len(text.splitlines()) == 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
messages = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts})
contexts = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=3)}, optional={"profile": texts}
) | st.fixed_dictionaries({"text": texts}, optional={"profile": texts})
questions = st.fixed_dictionaries(
    {"query": texts, "answer": texts},
    optional={
        "incorrect_answers": st.lists(texts, min_size=1, max_size=25, unique_by=str.strip),
        "tags": st.dictionaries(names, names | st.booleans() | st.integers(), max_size=2),
        "columns": st.dictionaries(texts, json_values, max_size=2),
        "evidence": st.lists(messages, max_size=2),
    },
).filter(lambda row: row["answer"].strip() not in [option.strip() for option in row.get("incorrect_answers", ())])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.dictionaries(names, contexts, min_size=1, max_size=4), st.booleans())
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, stored: dict[str, Any], ascii_only: bool
) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    asked = data.draw(st.dictionaries(names.filter(lambda name: name not in stored), questions, min_size=1, max_size=5))
    links = {name: data.draw(st.sampled_from([None, *stored])) for name in asked}
    rows = [
        {"question_id": name, **row} | ({} if links[name] is None else {"context_id": links[name]})
        for name, row in asked.items()
    ]
    ends = st.sampled_from(["\n", "\r\n", "\n\n"])
    for file, items in (
        ("contexts.jsonl", [{"context_id": name, **row} for name, row in stored.items()]),
        ("questions.jsonl", rows),
    ):
        lines = [json.dumps(item, ensure_ascii=ascii_only) + data.draw(ends) for item in items]
        (folder / file).write_bytes("".join(lines).encode())
    if not any(links.values()):
        (folder / "contexts.jsonl").unlink()
    dataset = open_folder(folder)

    for question, row in zip(all_questions(dataset), rows, strict=True):
        assert (question.question_id, question.query) == (row["question_id"], row["query"])
        assert question.correct_answer == row["answer"]
        assert question.incorrect_answers == tuple(row.get("incorrect_answers", ()))
        assert [{"role": m.role, "content": m.content} for m in question.evidence] == row.get("evidence", [])
        assert {name: value for name, value in question.columns.items() if value is not None} == {
            name: value for name, value in row.get("columns", {}).items() if value is not None
        }
        assert question.tags == {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in row.get("tags", {}).items()
        }
        context = dataset.context(question.context_id)
        link = stored.get(links[row["question_id"]], {})
        text = [{"role": "user", "content": link["text"]}] if "text" in link else []
        assert [{"role": m.role, "content": m.content} for m in context.messages] == link.get("messages", text)
        assert (context.profile.content if context.profile else None) == link.get("profile")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | st.from_regex(rb'[\[{"\\a:,\]}0-9 \n]{0,40}', fullmatch=True))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    (folder / "questions.jsonl").write_bytes(content)
    with pytest.raises(ValueError) as caught:
        open_folder(folder).split("train")
    assert "\n" not in str(caught.value)
