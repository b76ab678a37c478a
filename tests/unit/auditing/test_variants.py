"""Variants of the planted defects: spelled otherwise, smaller, or in another place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rft.audit import main
from rft.data.readers.perma import Perma
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
    write_table,
)
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.data.readers.test_perma import QUESTION as PERMA_QUESTION
from tests.unit.data.readers.test_perma import write as write_perma

Items = list[dict[str, Any]]


def plant_each(root: Path, changes: list[Callable[[Items], object]]) -> dict[str, int]:
    """One change per persona of train; returns each persona's history with the number of its change."""
    links = list(dict.fromkeys(row["chat_history_32k_link"] for row in read_table(root)))
    assert len(changes) <= len(links)
    for link, change in zip(links, changes, strict=False):
        change_history(root, link, change)
    return {link: number for number, link in enumerate(links[: len(changes)])}


# ------------------------------------------------------------------------------------------------------------ messages


def test_replies_that_show_nothing(data: Path) -> None:
    texts = ["\u200b\u200b\ufeff", "\u00a0\u2003", "\u3164", "None", "null", "[]", '""', "N/A"]
    planted = plant_each(data, [lambda items, t=text: items[2].update(content=t) for text in texts])
    cases = cases_of(audit_of(data), "empty_message")
    assert {(case.file, case.message) for case in cases} == {(link, 2) for link in planted}


def test_a_person_may_answer_none(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items.insert(1, {"role": "user", "content": "None"}))
    report = audit_of(data)
    assert [case.message for case in cases_of(report, "odd_text")] == [1]
    assert report.is_fit


def test_two_user_messages_in_a_row_right_to_left_text_and_emoji_are_no_findings(data: Path) -> None:
    said = ["Please keep it short.", "שלום, אני אוהב ג׳אז", "مرحبا بالعالم", "👩‍👩‍👧 🏳️‍🌈 yes"]
    change_history(data, link_of(data), lambda items: items.extend({"role": "user", "content": text} for text in said))
    assert audit_of(data).findings == ()


def test_stray_keys_of_every_spelling_are_found(data: Path) -> None:
    stray = [{"content ": "More."}, {"Content": "More."}, {"2": "More."}, {"message": {"content": "More."}},
             {"parts": [{"text": "More."}]}, {"": "More."}]  # fmt: skip
    planted = plant_each(data, [lambda items, s=one: items[2].update(s) for one in stray])
    cases = cases_of(audit_of(data), "stray_keys")
    assert {(case.file, case.message) for case in cases} == {(link, 2) for link in planted}
    assert all(case.detail.endswith("they hold text") for case in cases)


def test_a_secret_under_a_stray_key(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items[2].update(more="My card is 4539 1488 0343 6467."))
    assert [case.message for case in cases_of(audit_of(data), "secret")] == [2]


def test_a_table_of_messages_has_gaps_where_others_have_stray_keys(data: Path) -> None:
    path = data / link_of(data)
    payload = json.loads(path.read_text())
    for item in payload["chat_history"]:
        item["see you at noon"] = " and left." if item is payload["chat_history"][2] else None
    pq.write_table(pa.Table.from_pylist([payload]), path.with_suffix(".parquet"))
    path.unlink()
    report = audit_of(data)
    assert [case.message for case in cases_of(report, "stray_keys")] == [2]


# ----------------------------------------------------------------------------------------------------------- histories


def test_what_the_reader_refuses_is_no_fit_history(data: Path) -> None:
    link = link_of(data)
    change_history(data, link, lambda items: items[2].update(content="half \ud83d of it"))
    make_tokenizer(TEMPLATES["chatml"]).save_pretrained(data.parent / "tokenizer")
    report = audit_of(data, f"audit.tokenizer={data.parent / 'tokenizer'}")
    cases = cases_of(report, "history_unusable")
    assert [case.question for case in cases] == [f"train/{number}" for number in range(8)]
    assert "message 2 holds half of a surrogate pair" in cases[0].detail
    assert not report.is_fit


@pytest.mark.parametrize(("owner", "check"), [
    ({"persona_id": 0.0}, None), ({"persona_id": "0"}, None), ({"persona_id": 7}, "history_of_another"),
    ({"persona_id": None}, "history_unusable"), ({}, "history_unusable"),
])  # fmt: skip
def test_an_owner_is_told_as_the_reader_tells_it(data: Path, owner: dict[str, Any], check: str | None) -> None:
    path = data / link_of(data)
    payload = json.loads(path.read_text())
    del payload["metadata"]["persona_id"]
    payload["metadata"] |= owner
    path.write_text(json.dumps(payload))
    report = audit_of(data)
    assert {finding.check for finding in report.findings} == ({check} if check else set())
    assert str(data) not in json.dumps([finding.as_dict() for finding in report.findings])


def copy_to_val(root: Path, persona: int, change: Callable[[Items], object]) -> tuple[str, str]:
    """The history of the first persona of train, changed, under another id with one row in val; both links."""
    row = read_table(root)[0]
    link = row["chat_history_32k_link"]
    other = str(Path(link).with_name(f"copy_{persona}.json"))
    payload = json.loads((root / link).read_text())
    payload["metadata"]["persona_id"] = persona
    (root / other).write_text(json.dumps(payload))
    change_history(root, other, change)
    copied = row | {"persona_id": str(persona), "chat_history_32k_link": other}
    write_table(root, [*read_table(root, "val"), copied], "val")
    return link, other


def test_a_user_under_another_id_in_another_split(data: Path) -> None:
    def shorten(items: Items) -> None:
        del items[-len(items) // 4 :]
        items[3]["content"] += " And one more thing."

    changes: list[Callable[[Items], object]] = [
        lambda items: items.append({"role": "user", "content": "Goodbye."}),
        lambda items: [item.update(content=item["content"].upper().replace(" ", "  ")) for item in items],
        lambda items: items.__setitem__(slice(1, None), items[:0:-1]),
        shorten,
    ]
    copies = [copy_to_val(data, 900 + number, change)[1] for number, change in enumerate(changes)]
    cases = cases_of(audit_of(data), "repeated_history")
    assert {case.file for case in cases} >= set(copies)
    assert any(case.question == "train/0, val/16" for case in cases)


def test_a_split_without_a_row(data: Path) -> None:
    path = data / "benchmark/text/val.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    report = audit_of(data)
    assert over(report) == {"empty_split"}
    assert cases_of(report, "empty_split")[0].detail.startswith("val ")


@pytest.mark.parametrize("change", [lambda b: b"\xef\xbb\xbf" + b, lambda b: b.replace(b"\n", b"\r\n"),
                                    lambda b: b + b"\n\n"])  # fmt: skip
def test_tables_as_other_programs_write_them(data: Path, change: Callable[[bytes], bytes]) -> None:
    path = data / "benchmark/text/train.csv"
    path.write_bytes(change(path.read_bytes()))
    report = audit_of(data)
    assert report.is_fit
    assert report.counts["rows"]["train"] == 64


def test_a_link_that_is_spelled_otherwise(data: Path) -> None:
    change_row(data, 3, lambda row: row.update(chat_history_32k_link="./" + row["chat_history_32k_link"]))
    assert audit_of(data).counts["rows"]["train"] == 64


# ------------------------------------------------------------------------------------------------------------ evidence


def test_evidence_that_only_the_description_of_the_user_has(data: Path) -> None:
    said = [message["content"] for message in evidence_of(read_table(data)[3])]

    def move(items: Items) -> None:
        items[:] = [item for item in items if item["content"] not in said]
        items[0]["content"] += "\n".join(said)

    change_history(data, link_of(data), move)
    assert [case.question for case in cases_of(audit_of(data), "evidence_missing")] == ["train/3"]


def test_evidence_whose_fact_was_exchanged_is_missing(data: Path) -> None:
    number = find_row(data, lambda row: row["preference"].startswith("Goes with ") and row["updated"] == "False")
    row = read_table(data)[number]
    fact = row["preference"].split()[2]
    change_history(
        data,
        row["chat_history_32k_link"],
        lambda items: [item.update(content=item["content"].replace(fact, "tulips")) for item in items],
    )
    (case,) = cases_of(audit_of(data), "evidence_missing")
    assert case.question == f"train/{number}"
    assert repr(fact) in case.detail


# ---------------------------------------------------------------------------------------------------------------- rows


def rewrite(change: Callable[[str, list[str]], list[str]]) -> Callable[[Row], object]:
    """A change of the wrong answers, from the right one and them."""
    return lambda row: row.update(
        incorrect_answers=json.dumps(change(row["correct_answer"], json.loads(row["incorrect_answers"])))
    )


def test_the_right_answer_among_the_wrong_ones_as_a_person_sees_it(data: Path) -> None:
    wide = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
    same: list[Callable[[str], str]] = [
        str.upper, lambda text: text.replace(" ", "  "), lambda text: f"{text[:4]}\u200b{text[4:]}",
        lambda text: f"{text[:4]}\u00ad{text[4:]}", lambda text: text.translate(wide), lambda text: f'**"{text}"**',
    ]  # fmt: skip
    for number, change in enumerate(same):
        change_row(data, number, rewrite(lambda right, wrong, c=change: [*wrong[:2], c(right)]))
    cases = cases_of(audit_of(data), "repeated_option")
    assert [case.question for case in cases] == [f"train/{number}" for number in range(len(same))]


def test_wrong_answers_of_other_numbers_and_forms(data: Path) -> None:
    change_row(data, 0, rewrite(lambda right, wrong: wrong[:2]))
    change_row(data, 1, lambda row: row.update(incorrect_answers=repr(json.loads(row["incorrect_answers"]))))
    change_row(data, 2, lambda row: row.update(incorrect_answers=json.dumps(row["incorrect_answers"])))
    change_row(data, 3, rewrite(lambda right, wrong: [*wrong, right]))
    change_row(data, 4, rewrite(lambda right, wrong: [*wrong[:2], "None"]))
    change_row(data, 5, lambda row: row.update(correct_answer="nan"))
    report = audit_of(data)
    assert {case.question for case in cases_of(report, "unreadable_row")} == {"train/0", "train/1", "train/2"}
    assert [case.question for case in cases_of(report, "hidden_options")] == ["train/3"]
    assert {case.question for case in cases_of(report, "empty_text")} == {"train/4", "train/5"}


def test_token_counts_that_lie(data: Path) -> None:
    change_row(data, 1, lambda row: row.update(total_tokens_in_chat_history_32k="31999"))
    change_row(data, 2, lambda row: row.update(total_tokens_in_chat_history_32k="many"))
    change_row(data, 3, lambda row: row.update(num_persona_relevant_tokens_32k="999999"))
    report = audit_of(data)
    assert [case.question for case in cases_of(report, "recorded_totals")] == ["train/1"]
    assert [case.question for case in cases_of(report, "unknown_value")] == ["train/2"]
    assert [case.question for case in cases_of(report, "contradicting_columns")] == ["train/3"]


def test_a_small_kind_of_which_every_right_option_is_the_longest(data: Path) -> None:
    tables = {name: read_table(data, name) for name in ("train", "val", "benchmark")}
    counts = Counter(row["pref_type"] for rows in tables.values() for row in rows)
    kind = next(name for name, count in counts.items() if 8 <= count < 20)
    for name, rows in tables.items():
        for row in rows:
            row["correct_answer"] += " And there is a little more to say." if row["pref_type"] == kind else ""
        write_table(data, rows, name)
    kinds = {case.detail.split(":")[0] for case in cases_of(audit_of(data), "length_leak")}
    assert f"longest, pref_type={kind}" in kinds


def test_the_right_option_is_of_average_length_too_often(data: Path) -> None:
    rows = read_table(data)
    for row in rows:
        wrong = json.loads(row["incorrect_answers"])
        row["correct_answer"] += " Well, so it is."
        row["incorrect_answers"] = json.dumps([wrong[0], wrong[1] + " Well, so it is." * 2, wrong[2]])
    write_table(data, rows)
    details = [case.detail for case in cases_of(audit_of(data), "length_leak")]
    assert any(detail.startswith("average, all: right in ") for detail in details)


def test_leftovers_in_rows(data: Path) -> None:
    change_row(data, 2, lambda row: set_query(row, f"{query_of(row)} {{topic}}"))
    change_row(data, 4, lambda row: row.update(correct_answer=f"{row['correct_answer']}<|im_end|>"))
    assert {case.question for case in cases_of(audit_of(data), "odd_text")} == {"train/2", "train/4"}


def test_a_near_duplicate_names_the_query_that_is_most_alike(data: Path) -> None:
    rows = read_table(data)
    texts = ("What should I cook for my guests this evening", "What should I cook for my guests this very evening")
    for number, text in enumerate((*texts, f"{texts[1]} please")):
        set_query(rows[number], text)
    write_table(data, rows)
    details = {case.question: case.detail for case in cases_of(audit_of(data), "near_duplicate_query")}
    assert details["train/2"].startswith("train/1 asks nearly the same")


def test_a_persona_with_a_thousand_rows(data: Path) -> None:
    rows = read_table(data)
    many = [dict(rows[5]) for _ in range(1000)]
    for number, row in enumerate(many):
        set_query(row, f"Any idea number {number} for colour{number} and shape{number * 7}?")
    write_table(data, [*rows, *many])
    report = audit_of(data)
    assert report.counts["rows"]["train"] == 1064
    assert not cases_of(report, "near_duplicate_query")


def test_a_cell_that_no_question_needs(data: Path) -> None:
    change_row(data, 5, lambda row: row.update(expanded_persona='{"a": '))
    change_row(data, 6, lambda row: row.update(short_persona="{oops", chat_history_128k_link="x"))
    report = audit_of(data)
    assert [case.question for case in cases_of(report, "unreadable_cell")] == ["train/5", "train/6"]
    assert report.is_fit


def test_options_and_replies_of_punctuation_marks_alone(data: Path) -> None:
    change_row(data, 2, rewrite(lambda right, wrong: ["...", *wrong[1:]]))
    change_row(data, 3, lambda row: set_query(row, "?"))
    change_row(data, 4, rewrite(lambda right, wrong: [*wrong[:2], "TODO"]))
    change_history(data, link_of(data), lambda items: items[2].update(content="..."))
    report = audit_of(data)
    assert {case.question for case in cases_of(report, "empty_text")} == {"train/2", "train/3", "train/4"}
    assert [case.message for case in cases_of(report, "empty_message")] == [2]


def test_an_option_that_is_another_one_with_a_word_more(data: Path) -> None:
    change_row(data, 5, rewrite(lambda right, wrong: [f"Well, {right}", *wrong[1:]]))
    report = audit_of(data)
    assert [case.question for case in cases_of(report, "nearly_repeated_option")] == ["train/5"]
    assert report.is_fit


def test_what_programs_leave_in_a_reply(data: Path) -> None:
    left = [
        "I'm sorry, but I can't help with that.",
        "Human: hello there\n\nAssistant: hello to you",
        "First line.\\nSecond line.",
        "caf\\u00e9 is nice",
        "<p>One</p>",
        "Dear [INSERT NAME], hello",
        "\ue000 is nobody's character",
    ]
    planted = plant_each(data, [lambda items, t=text: items[2].update(content=t) for text in left])
    cases = cases_of(audit_of(data), "odd_text")
    assert {(case.file, case.message) for case in cases} == {(link, 2) for link in planted}


def test_turns_that_are_in_a_history_twice(data: Path) -> None:
    payload = json.loads((data / link_of(data)).read_text())
    change_history(data, link_of(data), lambda items: items.extend(items[-10:]))
    (case,) = cases_of(audit_of(data), "repeated_turns")
    assert (case.file, case.message) == (link_of(data), len(payload["chat_history"]))
    assert case.detail == "10 messages from here on are there before"


def test_evidence_that_somebody_else_says(data: Path) -> None:
    row = read_table(data)[3]
    said = evidence_of(row)[0]["content"]
    change_history(
        data,
        row["chat_history_32k_link"],
        lambda items: [item.update(role="assistant") for item in items if item["content"] == said],
    )
    (case,) = cases_of(audit_of(data), "evidence_changed")
    assert case.question == "train/3" and case.detail.endswith("is said by the assistant there")


def test_a_history_without_spaces_is_over_its_budget(data: Path) -> None:
    change_history(data, link_of(data), lambda items: items.append({"role": "user", "content": "\u5b57" * 90_000}))
    assert [case.file for case in cases_of(audit_of(data), "over_budget")] == [link_of(data)]


def test_a_copied_user_in_letters_that_look_alike(data: Path) -> None:
    def disguise(items: Items) -> None:
        for item in items:
            item["content"] = item["content"].replace("e", "\u0435")

    _, other = copy_to_val(data, 900, disguise)
    assert [case.file for case in cases_of(audit_of(data), "repeated_history")] == [other]


def test_questions_without_contexts_are_fit(tmp_path: Path) -> None:
    lines = [
        {"query": f"What of thing{number}?", "answer": f"thing{number}s", "incorrect_answers": ["a one", "b two"]}
        for number in range(7)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert audit_of(tmp_path).is_fit


# ---------------------------------------------------------------------------------------------------------- the program


def test_what_is_printed_steers_no_terminal(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_row(data, 2, lambda row: row.update(chat_history_32k_link="data/chat_history_32k/\x1b[2Jgone\x07.json"))
    assert main([str(data), "--output", str(tmp_path / "audit")]) == 1
    assert "\x1b" not in (out := capsys.readouterr().out) and "\x07" not in out
    assert "\x1b" not in (tmp_path / "audit/audit.html").read_text()


def test_texts_stay_texts_on_the_page(data: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    change_row(data, 2, lambda row: row.update(who=evil))
    change_history(data, link_of(data), lambda items: items[2].update(role=evil))
    assert main([str(data), "--output", str(tmp_path / "audit")]) == 1
    page = (tmp_path / "audit/audit.html").read_text()
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page


def test_perma_is_told_from_its_files(tmp_path: Path) -> None:
    write_perma(tmp_path / "perma", {"SD-Books-task-1_2": PERMA_QUESTION})
    report = audit_of(tmp_path / "perma")
    assert report.name == "perma-c" and set(report.counts) >= set(Perma.breakdowns)
