"""The audit: clean data pass, and each planted defect is found and named."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from rft.audit import main
from rft.auditing.checks import CHECKS
from tests.unit.auditing.builder import (
    Row,
    audit_of,
    cases_of,
    change_history,
    change_row,
    evidence_of,
    find_row,
    link_of,
    over,
    query_of,
    read_table,
    set_query,
    write_clean,
    write_table,
)

CARD = "4539 1488 0343 6467"
"""Passes Luhn, made by no payment service for tests."""


@pytest.mark.parametrize("style", ["full", "brief"])
def test_clean_data_pass_without_any_finding(style: str, tmp_path: Path) -> None:
    root = write_clean(tmp_path / "clean", style, personas=40, questions=10, tokens=400)
    report = audit_of(root)
    assert report.findings == ()
    assert report.is_fit
    assert report.counts["rows"] == {"train": 360, "val": 20, "benchmark": 20}
    assert report.counts["clusters"] == {"train": 36, "val": 2, "benchmark": 2}


def test_a_persona_in_two_splits(data: Path) -> None:
    moved = read_table(data)[0]
    write_table(data, [*read_table(data, "val"), moved], "val")
    report = audit_of(data)
    (case,) = cases_of(report, "cluster_in_two_splits")
    assert case.question == "train/0, val/16"
    assert f"cluster {moved['persona_id']} " in case.detail
    assert "cluster_in_two_splits" in over(report)


def test_the_same_history_under_another_persona_in_another_split(data: Path) -> None:
    stolen = read_table(data)[0]
    row = read_table(data, "val")[0]
    payload = json.loads((data / stolen["chat_history_32k_link"]).read_text())
    payload["metadata"]["persona_id"] = int(row["persona_id"])
    (data / row["chat_history_32k_link"]).write_text(json.dumps(payload))
    (case,) = cases_of(audit_of(data), "repeated_history")
    assert case.file == row["chat_history_32k_link"]
    assert stolen["chat_history_32k_link"] in case.detail


def test_evidence_that_is_missing_from_its_history(data: Path) -> None:
    row = read_table(data)[3]
    gone = [message["content"] for message in evidence_of(row)]
    change_history(data, link_of(data), lambda items: items.__setitem__(slice(None), [
        item for item in items if item["content"] not in gone
    ]))  # fmt: skip
    report = audit_of(data)
    assert [case.question for case in cases_of(report, "evidence_missing")] == ["train/3"]
    assert over(report) == {"evidence_missing"}


@pytest.mark.parametrize("number", range(8))
def test_evidence_that_differs_by_a_few_words_is_told_apart(data: Path, number: int) -> None:
    row = read_table(data)[number]
    said = max((message["content"] for message in evidence_of(row)), key=len)

    def reword(items: list[dict[str, str]]) -> None:
        place = next(index for index, item in enumerate(items) if item["content"] == said)
        words = said.split()
        words[1:3] = ["really", "quite"]
        items[place]["content"] = " ".join(words) + " Thank you."

    change_history(data, row["chat_history_32k_link"], reword)
    report = audit_of(data)
    (case,) = cases_of(report, "evidence_changed")
    assert case.question == f"train/{number}"
    assert case.message is not None
    assert not over(report)


def test_an_empty_reply(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items[2].update(content="  "))
    report = audit_of(data)
    (case,) = cases_of(report, "empty_message")
    assert (case.file, case.message, case.detail) == (link_of(data), 2, "assistant, no text")
    assert not report.is_fit


@pytest.mark.parametrize(
    ("message", "holds_text"),
    [
        ({"content": "He wrote ", "see you at noon": " and left."}, True),
        ({"content": "Part one.", "content_2": "Part two."}, True),
        ({"content": "", "response": "All of it."}, True),
        ({"content": "All of it.", "confidence": 0.9}, False),
    ],
)
def test_stray_keys(data: Path, message: dict[str, object], holds_text: bool) -> None:
    change_history(data, link_of(data), lambda items: items.insert(3, {"role": "assistant", **message}))
    report = audit_of(data)
    (case,) = cases_of(report, "stray_keys")
    assert (case.file, case.message) == (link_of(data), 3)
    assert case.detail.endswith("they hold text") == holds_text
    assert "stray_keys" in over(report)


def test_an_unknown_role(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items[4].update(role="bot"))
    (case,) = cases_of(audit_of(data), "unknown_role")
    assert (case.file, case.message) == (link_of(data), 4)
    assert "'bot'" in case.detail


def test_roles_out_of_order(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items.insert(5, {"role": "system", "content": "Another card."}))
    (case,) = cases_of(audit_of(data), "second_system")
    assert (case.file, case.message) == (link_of(data), 5)
    change_history(data, link_of(data), lambda items: [item.update(role="assistant") for item in items[1:]])
    report = audit_of(data)
    assert [case.file for case in cases_of(report, "no_user")] == [link_of(data)]
    assert len(cases_of(report, "role_order")) > 1


def test_the_right_option_is_the_longest_too_often(data: Path) -> None:
    rows = read_table(data)
    for row in rows:
        row["correct_answer"] += " And there is a little more to say about it."
    write_table(data, rows)
    report = audit_of(data)
    details = [case.detail for case in cases_of(report, "length_leak")]
    assert details[0].startswith("longest, all: right in ")
    assert any("who=self" in detail for detail in details)
    assert not any(detail.startswith("shortest") for detail in details)
    assert not report.is_fit


def test_one_kind_alone_leaks_by_length(data: Path) -> None:
    rows = read_table(data)
    for row in rows:
        if row["updated"] == "True" or row["pref_type"] == "health_and_medical_conditions":
            row["updated"], row["prev_pref"] = "True", row["prev_pref"] or "Goes with nothing"
            row["who"], row["correct_answer"] = "self", "Yes."
    write_table(data, rows)
    kinds = {case.detail.split(":")[0] for case in cases_of(audit_of(data), "length_leak")}
    assert "shortest, updated=true" in kinds
    assert "shortest, updated=false" not in kinds


def test_words_that_only_right_options_have(data: Path) -> None:
    for name in ("train", "val", "benchmark"):
        rows = read_table(data, name)
        for row in rows:
            row["correct_answer"] = row["correct_answer"].replace("I ", "Certainly, I ", 1) + " Certainly."
        write_table(data, rows, name)
    assert cases_of(audit_of(data), "word_leak")


def test_letters_that_a_layout_fixes(tmp_path: Path) -> None:
    columns = (
        "persona_id", "question_id", "question_type", "topic", "distance_to_ref_in_tokens", "user_question_or_message",
        "correct_answer", "all_options", "shared_context_id", "end_index_in_shared_context",
    )  # fmt: skip
    rows = [
        dict(zip(columns, (
            str(i % 8), f"q{i}", "recall", "music", "10", f"What of thing{i}?", "(b)",
            str([f"({letter}) answer {letter} {i}" for letter in "abcd"]), "c0", "2",
        ), strict=True))
        for i in range(40)
    ]  # fmt: skip
    with (tmp_path / "questions_32k.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    messages = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]
    (tmp_path / "shared_contexts_32k.jsonl").write_text(json.dumps({"c0": messages}) + "\n")
    report = audit_of(tmp_path)
    assert report.name == "personamem_v1-32k"
    (case,) = cases_of(report, "letter_imbalance")
    assert case.detail.startswith("letter b, all: right in 100.0% of 40 questions")


def test_a_repeated_option(data: Path) -> None:
    def repeat(row: Row) -> None:
        wrong = json.loads(row["incorrect_answers"])
        row["incorrect_answers"] = json.dumps([row["correct_answer"].upper(), *wrong[1:]])

    change_row(data, 6, repeat)
    change_row(data, 7, lambda row: row.update(incorrect_answers=json.dumps([row["correct_answer"]] * 3)))
    cases = cases_of(audit_of(data), "repeated_option")
    assert {case.question for case in cases} == {"train/6", "train/7"}
    assert any("the right one" in case.detail for case in cases)


def test_a_duplicate_row(data: Path) -> None:
    rows = read_table(data)
    reordered = rows[5] | {"incorrect_answers": json.dumps(json.loads(rows[5]["incorrect_answers"])[::-1])}
    write_table(data, [*rows, rows[2], reordered])
    cases = cases_of(audit_of(data), "duplicate_row")
    details = {case.question: case.detail for case in cases}
    assert set(details) == {f"train/{len(rows)}", f"train/{len(rows) + 1}"}
    assert "row 2" in details[f"train/{len(rows)}"] and "train/5" in details[f"train/{len(rows) + 1}"]


@pytest.mark.parametrize(
    "reword",
    [
        lambda text: text.lower().replace("?", "!"),
        lambda text: f"{text.rstrip('.?')}, please?",
        lambda text: f"Hi, {text}",
        lambda text: text.replace("Any", "Some").replace("What", "Which").replace("How", "Why").replace("Could", "Can"),
        lambda text: " ".join(text.split()[:-1]) + " soon?",
    ],
)
def test_nearly_the_same_query_in_one_persona(data: Path, reword) -> None:  # type: ignore[no-untyped-def]
    rows = read_table(data)
    number = find_row(data, lambda row: reword(query_of(row)) != query_of(row))
    copied = dict(rows[number])
    set_query(copied, reword(query_of(copied)))
    write_table(data, [*rows, copied])
    report = audit_of(data)
    found = cases_of(report, "near_duplicate_query") + cases_of(report, "duplicate_row")
    assert {case.question for case in found} == {f"train/{len(rows)}"}
    assert any(f"train/{number} " in f"{case.detail} " for case in found)


def test_a_history_over_its_budget(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items.append({"role": "user", "content": "word " * 40_000}))
    report = audit_of(data)
    (case,) = cases_of(report, "over_budget")
    assert case.file == link_of(data)
    assert "35,200 are allowed" in case.detail
    assert cases_of(report, "recorded_totals")
    assert "over_budget" not in over(audit_of(data, "audit.max_history_tokens=50000"))


def test_secrets_in_histories_and_rows(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items[1].update(content=f"My card is {CARD}, thank you."))
    key = "sk-proj-" + "Qz7Lm2Xv9Rt4Bn6Wk8Pj3Hd5"
    change_row(data, 9, lambda row: row.update(correct_answer=f"Your key is {key}."))
    report = audit_of(data)
    places = {(case.file, case.message, case.question) for case in cases_of(report, "secret")}
    assert places == {(link_of(data), 1, None), (None, None, "train/9")}
    assert CARD not in json.dumps(report.as_dict()) and key not in json.dumps(report.as_dict())


@pytest.mark.parametrize("kind", ["self", "others"])
def test_a_query_that_gives_the_answer_away(data: Path, kind: str) -> None:
    number = find_row(data, lambda row: row["who"] == kind and row["updated"] == "False")
    change_row(data, number, lambda row: set_query(row, f"{query_of(row)} {row['correct_answer']}"))
    assert [case.question for case in cases_of(audit_of(data), "query_tells_answer")] == [f"train/{number}"]


def test_a_missing_history(data: Path) -> None:
    link = link_of(data)
    (data / link).unlink()
    cases = cases_of(audit_of(data), "history_unusable")
    assert [case.question for case in cases] == [f"train/{number}" for number in range(8)]
    assert cases[0].detail.startswith(f"history_absent: {link} does not exist")
    (data / link).write_text('{"metadata": {}, "chat_history": ')
    assert cases_of(audit_of(data), "history_unusable")[0].detail.startswith("history_json")


def test_a_history_of_another(data: Path) -> None:
    other = read_table(data)[20]
    change_row(data, 2, lambda row: row.update(chat_history_32k_link=other["chat_history_32k_link"]))
    report = audit_of(data)
    assert [case.question for case in cases_of(report, "history_of_another")] == ["train/2"]


def test_a_history_that_nothing_links(data: Path) -> None:
    shutil.copyfile(data / link_of(data), data / "data/chat_history_32k/spare.json")
    (case,) = cases_of(audit_of(data), "unused_history")
    assert case.file == "data/chat_history_32k/spare.json"


@pytest.mark.parametrize(
    ("fits", "change", "check"),
    [
        (lambda row: True, {"who": "friend"}, "unknown_value"),
        (lambda row: True, {"pref_type": "musical"}, "unknown_value"),
        (lambda row: True, {"updated": "perhaps"}, "unreadable_row"),
        (lambda row: row["updated"] == "False", {"updated": "True"}, "contradicting_columns"),
        (lambda row: row["updated"] == "True", {"updated": "False"}, "contradicting_columns"),
        (lambda row: row["updated"] == "True", {"who": "others"}, "contradicting_columns"),
        (lambda row: row["sensitive_info"] == "True", {"sensitive_info": "False"}, "contradicting_columns"),
        (lambda row: row["pref_type"] == "ask_to_forget", {"who": "others"}, "contradicting_columns"),
        (lambda row: row["pref_type"].startswith("neutral") and row["who"] == "self", {"who": "others"},
         "others_preference_used"),
        (lambda row: row["who"] == "others", {"who": "self"}, "own_preference_unused"),
    ],
)  # fmt: skip
def test_mistaken_columns(data: Path, fits, change: Row, check: str) -> None:  # type: ignore[no-untyped-def]
    number = find_row(data, fits)
    change_row(data, number, lambda row: row.update(change))
    assert {case.question for case in cases_of(audit_of(data), check)} == {f"train/{number}"}


def test_odd_text(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items[2].update(content=f"{items[2]['content']}<|im_end|>"))
    (case,) = cases_of(audit_of(data), "odd_text")
    assert (case.message, case.detail) == (2, "a token of a chat template: '<|im_end|>'")


def test_what_is_allowed_decides(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items[2].update(content=""))
    assert not audit_of(data).is_fit
    assert audit_of(data, "audit.allowed.empty_message=1").is_fit
    with pytest.raises(ValueError, match=r"audit.allowed.empty: there is no such check"):
        audit_of(data, "audit.allowed.empty=1")


def test_the_program(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(data), "--output", str(tmp_path / "clean")]) == 0
    assert "fit to train on" in capsys.readouterr().out
    change_history(data, link_of(data), lambda items: items[2].update(content="", note="<b>bold</b>"))
    assert main([str(data), "--output", str(tmp_path / "spoiled")]) == 1
    stored = json.loads((tmp_path / "spoiled/audit.json").read_text())
    assert not stored["fit"]
    assert {"check": "stray_keys", "over": True, "count": 1}.items() <= stored["findings"][0].items()
    page = (tmp_path / "spoiled/audit.html").read_text()
    assert "not fit to train on" in page and CHECKS["stray_keys"].title in page
    assert main([str(tmp_path / "nothing"), "--output", str(tmp_path / "no")]) == 2
    assert "error: data.source" in capsys.readouterr().err


def test_windows_are_those_that_are_there(data: Path) -> None:
    rows = read_table(data)
    for row in rows[:8]:
        payload = json.loads((data / row["chat_history_32k_link"]).read_text())
        path = data / row["chat_history_128k_link"]
        path.parent.mkdir(exist_ok=True)
        payload["chat_history"] = payload["chat_history"][:3]
        path.write_text(json.dumps(payload))
    report = audit_of(data)
    assert report.name == "personamem_v2-32k and personamem_v2-128k"
    assert {case.file for case in cases_of(report, "evidence_missing")} == {rows[0]["chat_history_128k_link"]}
    assert audit_of(data, "data.window=32k").is_fit


def test_a_jsonl_folder(tmp_path: Path) -> None:
    (tmp_path / "contexts.jsonl").write_text(json.dumps({
        "context_id": "c", "messages": [{"role": "user", "content": "I own a red kite."}],
    }) + "\n")  # fmt: skip
    question = {"context_id": "c", "query": "Which toy?", "answer": "a kite", "incorrect_answers": ["a ball"]}
    lines = [
        {"question_id": "q1", **question},
        {"question_id": "q2", **question, "query": "Which toy, please?"},
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = audit_of(tmp_path)
    assert report.counts["rows"] == {"all": 2}
    assert {finding.check for finding in report.findings} <= {"near_duplicate_query", "no_evidence"}


def test_the_real_excerpts(tmp_path: Path) -> None:
    root = Path(__file__).parents[3].parent / "shared" / "data" / "personamem_v2_sample"
    if not root.is_dir():
        pytest.skip("the sample of the real data set is not at ../shared/data/personamem_v2_sample")
    report = audit_of(root)
    assert {finding.check for finding in report.findings} == {"evidence_missing", "recorded_totals", "unused_history"}
    assert cases_of(report, "evidence_missing")[0].question == "benchmark/0"


def test_the_real_questions_of_version_1_leak_by_length() -> None:
    root = Path(__file__).parents[3].parent / "shared" / "data" / "personamem_v1"
    if not root.is_dir():
        pytest.skip("the real questions of PersonaMem v1 are not at ../shared/data/personamem_v1")
    report = audit_of(root)
    longest = next(rate for rate in report.rates if (rate["rule"], rate["kind"]) == ("longest", "all"))
    assert (longest["n"], round(longest["rate"], 3), longest["leak"]) == (589, 0.516, True)
    assert not report.is_fit


def test_the_page_about_it_has_every_check_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "auditing.md").read_text()
    for name, check in CHECKS.items():
        assert f"| `{name}` | {check.severity} | {check.title}. {check.meaning} |" in page


def test_a_right_answer_that_stands_in_the_history(data: Path) -> None:
    row = read_table(data)[3]
    change_history(data, link_of(data), lambda items: items.append({"role": "user", "content": row["correct_answer"]}))
    assert [case.question for case in cases_of(audit_of(data), "answer_in_history")] == ["train/3"]


def test_a_history_of_another_length_than_the_others(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items.append({"role": "user", "content": "word " * 9_000}))
    assert [case.file for case in cases_of(audit_of(data), "odd_length")] == [link_of(data)]


@pytest.mark.parametrize(
    "change",
    [
        {"user_query": "{'role': 'assistant', 'content': 'What now?'}"},
        {"distance_from_related_snippet_to_query_32k": "900000"},
        {"distance_from_related_snippet_to_query_32k": "-5"},
    ],
)
def test_cells_that_cannot_be(data: Path, change: Row) -> None:
    change_row(data, 2, lambda row: row.update(change))
    assert [case.question for case in cases_of(audit_of(data), "contradicting_columns")] == ["train/2"]
