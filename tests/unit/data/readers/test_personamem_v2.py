"""PersonaMem-v2: splits by persona or as released, histories with their profile, the paper's order of options."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rft.data.dataset import RecordError, Split, check_cluster, held_out_clusters
from rft.data.readers import personamem_v2
from rft.data.readers.personamem_v2 import PersonaMemV2, resolve_source
from rft.records import Context, Message, Question
from tests.unit.data.builder import make_config, make_history, make_row, write_csv, write_history

REMEDY = "data.bad_rows=skip"
HISTORY_ID = make_row(1, 0)["chat_history_32k_link"]


def open_v2(root: Path, **data: Any) -> PersonaMemV2:
    return PersonaMemV2(make_config(root, **data).data)


def load(root: Path, name: str, **data: Any) -> Split:
    return open_v2(root, **data).split(name)


def read(root: Path, context_id: str = HISTORY_ID) -> Context:
    return open_v2(root).context(context_id)


def personas(split: Split) -> set[int]:
    return {int(question.cluster) for question in split.questions}


def question(question_id: str, cluster: str = "1") -> Question:
    return Question(
        question_id=question_id,
        context_id=HISTORY_ID,
        cluster=cluster,
        query="q",
        correct_answer="w",
        incorrect_answers=("x", "y", "z"),
    )


# ----------------------------------------------------------------------------------------------------------- splits


def test_persona_splits_share_no_persona(dataset: Path) -> None:
    splits = {name: load(dataset, name) for name in PersonaMemV2.splits}
    assert set(splits) == {"train", "val", "benchmark"}
    assert personas(splits["benchmark"]) == {8, 9}
    assert len(personas(splits["val"])) == 2
    assert personas(splits["train"]) | personas(splits["val"]) == set(range(1, 8))
    assert not personas(splits["train"]) & personas(splits["val"])


def test_persona_splits_pool_both_files_and_count_what_they_leave_out(dataset: Path) -> None:
    train, val = load(dataset, "train"), load(dataset, "val")
    assert train.manifest["csv_rows"] == val.manifest["csv_rows"] == {"train": 18, "val": 18}
    removed = {split.name: split.manifest["rows_of_other_splits"] for split in (train, val)}
    assert removed["train"] == {"persona_of_benchmark": 3, "other_split": len(val.questions)}
    assert removed["val"] == {"persona_of_benchmark": 3, "other_split": len(train.questions)}
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


def test_the_held_out_personas_are_the_same_everywhere(dataset: Path) -> None:
    assert held_out_clusters(map(str, range(10)), 3, salt="persona ") == {"3", "7", "8"}
    assert personas(load(dataset, "val")) == {3, 7}


@settings(deadline=None)
@given(st.permutations([str(persona) for persona in range(30)]), st.integers(0, 29))
def test_the_held_out_personas_do_not_depend_on_the_order_of_rows(order: list[str], count: int) -> None:
    held_out = held_out_clusters([*order, *order], count, salt="persona ")
    assert held_out == held_out_clusters(map(str, range(30)), count, salt="persona ")
    assert len(held_out) == count


def test_too_many_validation_personas(dataset: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.num_val_clusters is 7, but there are 7 clusters"):
        load(dataset, "train", num_val_clusters=7)


@pytest.mark.parametrize("missing", ["train", "val", "benchmark"])
def test_the_persona_split_says_that_it_needs_all_files(dataset: Path, missing: str) -> None:
    (dataset / "benchmark" / "text" / f"{missing}.csv").unlink()
    with pytest.raises(ValueError, match=rf"{missing}\.csv does not exist; with data.train_split=persona") as caught:
        load(dataset, "train")
    assert_one_line(caught.value, "train.csv and val.csv", "benchmark.csv", "data.train_split=paper")


@pytest.mark.parametrize("name", ["train", "val", "benchmark"])
def test_a_released_split_needs_its_own_file_alone(dataset: Path, name: str) -> None:
    for other in {"train", "val", "benchmark"} - {name}:
        (dataset / "benchmark" / "text" / f"{other}.csv").unlink()
    whole = load(dataset, name, train_split="paper")
    assert whole.manifest == {"csv_rows": {name: len(whole.questions)}, "rows_skipped": {}}
    if name == "benchmark":
        assert load(dataset, name).questions == whole.questions


def test_the_persona_split_needs_no_other_column_of_the_benchmark(dataset: Path) -> None:
    before = load(dataset, "val")
    write_csv(dataset, "benchmark", [{"persona_id": "8"}, {"persona_id": "9"}])
    assert load(dataset, "val") == before


def test_the_real_sample_has_only_a_benchmark(sample: Path) -> None:
    assert len(load(sample, "benchmark").questions) == 1
    with pytest.raises(ValueError, match=r"train\.csv does not exist"):
        load(sample, "train")


def test_skipped_rows_are_counted_over_both_files(dataset: Path) -> None:
    for name in ("train", "val"):
        write_csv(dataset, name, [make_row(1, 0), make_row(2, 1), make_row(3, 2), make_row(1, 0)])
    split = load(dataset, "train", bad_rows="skip", num_val_clusters=1)
    assert split.manifest["rows_skipped"] == {"duplicate": 2}
    assert split.manifest["csv_rows"] == {"train": 4, "val": 4}


def test_an_unknown_split_is_refused(dataset: Path) -> None:
    with pytest.raises(ValueError, match="personamem_v2-32k has no split 'test'; it has train, val, benchmark"):
        load(dataset, "test")


def test_breakdowns_are_tags_of_every_question_and_strata_are_breakdowns(dataset: Path) -> None:
    tags = [set(question.tags) for question in load(dataset, "val").questions]
    assert all(found == set(PersonaMemV2.breakdowns) for found in tags)
    assert set(PersonaMemV2.strata) < set(PersonaMemV2.breakdowns)


# --------------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("question_id", "order"), [("benchmark/0", (2, 1, 3, 0)), ("train/1", (2, 3, 1, 0)), ("val/17", (2, 3, 0, 1))]
)
def test_options_stand_in_the_paper_s_order(tmp_path: Path, question_id: str, order: tuple[int, ...]) -> None:
    assert open_v2(tmp_path).option_order(question(question_id)) == order


# ------------------------------------------------------------------------------------------------------ fingerprint


def test_the_fingerprint_follows_files_and_settings(dataset: Path) -> None:
    prints = [open_v2(dataset).fingerprint()]
    assert open_v2(dataset).fingerprint() == prints[0]
    prints += [
        open_v2(dataset, **changed).fingerprint()
        for changed in ({"window": "128k"}, {"train_split": "paper"}, {"num_val_clusters": 3}, {"bad_rows": "skip"})
    ]
    write_csv(dataset, "train", [make_row(1, 0), make_row(2, 1)])
    prints.append(open_v2(dataset).fingerprint())
    write_history(dataset, 1, make_history(1, num_messages=20))
    prints.append(open_v2(dataset).fingerprint())
    assert len(set(prints)) == len(prints)


def test_what_does_not_matter_leaves_the_fingerprint(dataset: Path) -> None:
    before = open_v2(dataset).fingerprint()
    (dataset / "README.md").write_text("notes", encoding="utf-8")
    assert open_v2(dataset, max_prompt_length=10, permute_options=True).fingerprint() == before


# --------------------------------------------------------------------------------------------------------- histories


def test_the_leading_system_message_is_the_profile(tmp_path: Path) -> None:
    stored = make_history(1)
    write_history(tmp_path, 1, stored)
    context = read(tmp_path)
    assert (context.context_id, context.cluster, dict(context.notes)) == (HISTORY_ID, "1", {})
    assert context.profile == Message(role="system", content="You help a user with this persona: Ada, 38.")
    assert [message.content for message in context.messages] == [
        message["content"] for message in stored["chat_history"][1:]
    ]


def test_a_history_without_profile_and_a_system_message_within_are_kept(tmp_path: Path) -> None:
    stored = make_history(1)
    card = stored["chat_history"].pop(0)
    stored["chat_history"].insert(4, card)
    write_history(tmp_path, 1, stored)
    context = read(tmp_path)
    assert context.profile is None
    assert len(context.messages) == 12
    assert context.messages[4].role == "system"


def test_roles_that_do_not_alternate_are_kept(tmp_path: Path) -> None:
    stored = make_history(1)
    write_history(tmp_path, 1, stored)
    roles = [message.role for message in read(tmp_path).messages]
    assert roles == [message["role"] for message in stored["chat_history"][1:]]
    assert ("user", "user") in pairwise(roles)


def test_messages_without_text_are_left_out_with_a_note(tmp_path: Path) -> None:
    stored = make_history(1)
    stored["chat_history"][3]["content"] = None
    stored["chat_history"][4]["content"] = ""
    write_history(tmp_path, 1, stored)
    context = read(tmp_path)
    assert len(context.messages) == 9
    assert "2 messages without text are left out" in context.notes["messages_without_text"]


def test_real_excerpts_note_recorded_totals(sample: Path) -> None:
    linked = read(sample, "data/chat_history_32k/chat_history_250913_163134_persona521.json")
    assert "total_messages is 189, but there are 8" in linked.notes["recorded_totals"]
    assert linked.profile is not None
    assert (linked.profile.role, len(linked.messages), linked.cluster) == ("system", 7, "521")
    other = read(sample, "data/chat_history_32k/chat_history_250831_232015_persona0.json")
    assert "total_messages" in other.notes["recorded_totals"]
    assert ("user", "user") in pairwise([message.role for message in other.messages])


GOOD = json.dumps(make_history(1)).encode()

BROKEN_HISTORIES = {
    "history_empty": [b"", b" \n", json.dumps(make_history(1) | {"chat_history": []}).encode()],
    "history_json": [GOOD[: len(GOOD) // 2], b"[" * 5000, b"[" * 100_000, b'{"metadata": NaN'],
    "history_encoding": [GOOD.replace(b"Ada", b"\xc4da"), GOOD.decode().encode("utf-16"), b"\xff\xfe\x00"],
    "history_format": [
        b"[]",
        b'"x"',
        b'{"chat_history": []}',
        b'{"metadata": {"persona_id": 1}}',
        b'{"metadata": {}, "chat_history": [{"role": "user", "content": "x"}]}',
        b'{"metadata": {"persona_id": 1}, "chat_history": {"role": "user"}}',
        b'{"metadata": {"persona_id": 1}, "chat_history": [{"role": "tool", "content": "x"}]}',
        b'{"metadata": {"persona_id": 1}, "chat_history": [{"role": "user", "content": [{"text": "x"}]}]}',
        b'{"metadata": {"persona_id": 1}, "chat_history": [{"role": "user", "content": "\\ud83d"}]}',
    ],
}


@pytest.mark.parametrize(
    ("reason", "content"), [(reason, content) for reason, contents in BROKEN_HISTORIES.items() for content in contents]
)
def test_a_broken_history_is_refused(tmp_path: Path, reason: str, content: bytes) -> None:
    path = write_history(tmp_path, 1, make_history(1))
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read(tmp_path)
    assert caught.value.reason == reason
    assert_one_line(caught.value, str(path), REMEDY)


def test_an_absent_or_unreadable_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="does not exist"):
        read(tmp_path)
    (tmp_path / HISTORY_ID).mkdir(parents=True)
    with pytest.raises(RecordError, match="cannot be read"):
        read(tmp_path)


def test_another_persona_s_history_is_refused(tmp_path: Path) -> None:
    write_history(tmp_path, 1, make_history(2))
    context = read(tmp_path)
    check_cluster(context, question("train/0", cluster="2"))
    with pytest.raises(
        RecordError, match="question train/0 belongs to 1, but its context .* says it is of 2"
    ) as caught:
        check_cluster(context, question("train/0"))
    assert_one_line(caught.value, HISTORY_ID, REMEDY)


# ---------------------------------------------------------------------------------------------- settings and source


def test_the_name_says_the_window(tmp_path: Path) -> None:
    assert open_v2(tmp_path, window="128k").name == "personamem_v2-128k"


def test_an_unknown_window_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no histories of data\.window=1M; set it to 32k or 128k"):
        open_v2(tmp_path, window="1M")


def test_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.options\.num_options has no effect"):
        open_v2(tmp_path, options={"num_options": 4})


def test_a_folder_is_its_own_source(tmp_path: Path) -> None:
    assert resolve_source(str(tmp_path), None, "32k") == tmp_path


@pytest.mark.parametrize("source", ["/no/such/folder", "./data", "a/b/c", "folder"])
def test_a_path_that_is_no_folder(source: str) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        resolve_source(source, "0" * 40, "32k")


@pytest.mark.parametrize("revision", [None, "main", "0622e56"])
def test_a_hub_id_needs_a_commit(revision: str | None) -> None:
    with pytest.raises(ValueError, match=r"needs data\.revision"):
        resolve_source("bowen-upenn/PersonaMem-v2", revision, "32k")


def test_a_failed_download_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="cannot be downloaded") as caught:
        resolve_source("bowen-upenn/PersonaMem-v2", "0622e56d1cc6f1bc990a5100a6ec4022a60e66a6", "32k")
    assert_one_line(caught.value, "bowen-upenn/PersonaMem-v2", "data.source")


def test_only_the_needed_files_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr(personamem_v2, "snapshot_download", snapshot)
    assert resolve_source("owner/name", "a" * 40, "128k") == tmp_path
    assert asked["revision"] == "a" * 40
    assert asked["allow_patterns"] == [
        "benchmark/text/*.csv",
        "data/*_text-*.parquet",
        "data/chat_history_128k/*.json",
    ]


def assert_one_line(error: BaseException, *parts: str) -> None:
    message = str(error)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_split_replies_are_put_together_with_a_note(tmp_path: Path) -> None:
    history = make_history(4)
    history["chat_history"][2] = {"role": "assistant", "content": "He wrote ", "see you": " and left."}
    write_history(tmp_path, 4, history)
    context = read(tmp_path, make_row(4, 0)["chat_history_32k_link"])
    assert context.messages[1] == Message(role="assistant", content="He wrote see you and left.")
    assert context.notes["replies_put_together"].endswith("(message 2, counted from 0)")


def test_sensitive_questions_whose_evidence_is_in_no_history_are_a_breakdown(tmp_path: Path) -> None:
    write_history(tmp_path, 6, make_history(6))
    there = make_history(6)["chat_history"][3]
    rows = [
        make_row(6, 0, sensitive_info="True", pref_type="sensitive_info"),
        make_row(6, 1, sensitive_info="True", related_conversation_snippet=json.dumps([there])),
        make_row(6, 2),
        make_row(7, 0, sensitive_info="True"),
    ]
    write_csv(tmp_path, "benchmark", rows)
    split = load(tmp_path, "benchmark")
    assert [question.tags["sensitive_evidence"] for question in split.questions] == [
        "not_in_history", "in_history", "not_sensitive", "history_unread",
    ]  # fmt: skip
    assert split.manifest["sensitive_evidence"] == {"history_unread": 1, "in_history": 1, "not_in_history": 1}
