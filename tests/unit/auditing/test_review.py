"""A sample for a person: the page, in a real browser too, and the data set without what was dropped."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rft.auditing.review import draw, review_material
from rft.config import DataConfig
from rft.data.formats import open_dataset
from rft.review import main, open_source
from tests.unit.auditing.builder import (
    audit_of,
    change_history,
    change_row,
    evidence_of,
    query_of,
    read_table,
    set_query,
    write_clean,
)

EVIL = "</script><script>document.title = 'ran'</script><b>not bold</b>"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clean(tmp_path_factory.mktemp("made"), personas=6, questions=4, tokens=600)


def material_of(root: Path, number: int = 5, seed: int = 0) -> dict[str, Any]:
    source = open_source(str(root))
    return review_material(source, draw(source, number, seed), seed)


def verdicts_on(root: Path, **verdicts: str) -> dict[str, Any]:
    """A file as the page saves it; `train_1="drop"` is the verdict on train/1."""
    digests = {question["id"]: question["digest"] for question in material_of(root, 1000)["questions"]}
    names = {key.replace("_", "/"): verdict for key, verdict in verdicts.items()}
    return {"verdicts": {n: {"verdict": v, "digest": digests[n], "note": f"on {n}"} for n, v in names.items()}}


def test_a_sample_is_drawn_by_its_seed(data: Path) -> None:
    source = open_source(str(data))
    assert draw(source, 5, 1) == draw(source, 5, 1) != draw(source, 5, 2)
    assert len(draw(source, 1000, 0)) == 24
    assert {question.question_id.split("/")[0] for question in draw(source, 10, 0, "val")} == {"val"}
    with pytest.raises(ValueError, match="--split test: the data set has train, val, benchmark"):
        draw(source, 5, 0, "test")


def test_material_says_where_the_evidence_is(data: Path) -> None:
    material = material_of(data, 1000)
    question = next(one for one in material["questions"] if one["id"] == "train/1")
    row = read_table(data)[1]
    history = material["histories"][row["chat_history_32k_link"]]
    assert query_of(row) == question["query"]
    assert {message["content"] for message in evidence_of(row)} <= {history[n]["text"] for n in question["evidence_at"]}
    assert [option["text"] for option in question["options"] if option["right"]] == [row["correct_answer"]]
    assert question["evidence_note"] == ""


def test_the_page_is_one_file_that_holds_texts_as_texts(data: Path, tmp_path: Path) -> None:
    change_row(data, 1, lambda row: set_query(row, EVIL))
    assert main(["sample", str(data), str(tmp_path / "review"), "--questions", "24"]) == 0
    page = (tmp_path / "review" / "review.html").read_text()
    assert EVIL not in page and "<b>not bold" not in page
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert "default-src 'none'" in page and "script-src 'sha256-" in page


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_page_shows_a_question_and_its_evidence(data: Path, tmp_path: Path) -> None:
    for name in ("train", "val", "benchmark"):
        change_row(data, 0, lambda row: set_query(row, f"{EVIL} {query_of(row)}"), name)
    assert main(["sample", str(data), str(tmp_path / "review"), "--questions", "24"]) == 0
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", (tmp_path / "review" / "review.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert "<title>rft: review of personamem_v2-32k</title>" in done.stdout
    assert "1 of 24" in done.stdout
    assert "&lt;b&gt;not bold&lt;/b&gt;" in done.stdout
    assert re.search(r'class="message user evidence"', done.stdout)
    assert re.search(r"messages \d+ to \d+: show", done.stdout)


DRIVER = """
(async () => {
  const told = {}, place = () => byId("place").textContent;
  const press = (key, target = document, more = {}) =>
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  const pressed = () => [...document.querySelectorAll("[aria-pressed=true]")].map((one) => one.dataset.verdict);
  press("k"); told.first = place();
  press("2"); told.dropped = [pressed(), byId("done").textContent];
  press("n"); told.focus = document.activeElement.id;
  byId("note").value = "why <b>not</b>"; byId("note").dispatchEvent(new Event("input", { bubbles: true }));
  press("j", byId("note")); told.typed = place();
  press("Escape", byId("note")); told.left = document.activeElement.id;
  press("j"); told.second = [place(), pressed(), byId("note").value];
  press("1"); press("2", document, { ctrlKey: true }); told.kept = pressed();
  press("j"); press("3"); press("k"); press("k"); told.back = [place(), pressed(), byId("note").value];
  window.scrollTo(0, 0); press("e"); told.scrolled = window.scrollY > 0;
  const shown = document.querySelectorAll(".message").length;
  document.querySelector(".gap").click(); told.opened = document.querySelectorAll(".message").length > shown;
  let saved = null;
  URL.createObjectURL = (blob) => { saved = blob; return "#"; };
  HTMLAnchorElement.prototype.click = function () { told.file = this.download; };
  press("s"); told.saved = JSON.parse(await saved.text());
  for (const _ of questions) press("j");
  told.last = place();
  const dark = document.createElement("p"); dark.style.color = "var(--page)"; document.body.append(dark);
  told.page = getComputedStyle(dark).color;
  document.body.replaceChildren(JSON.stringify(told));
})();
"""
"""Presses every key of the page and leaves what came of it as its only text."""


def told_by_browser(page: Path, profile: Path, *flags: str) -> dict[str, Any]:
    """What `DRIVER` tells of a copy of the page, whose policy lets it run."""
    text = page.read_text()
    digest = base64.b64encode(hashlib.sha256(DRIVER.encode()).digest()).decode()
    driven = page.with_name("driven.html")
    driven.write_text(
        text.replace("script-src '", f"script-src 'sha256-{digest}' '").replace(
            "</body>", f"<script>{DRIVER}</script></body>"
        )
    )
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic", *flags,
         f"--user-data-dir={profile}", "--virtual-time-budget=3000", "--dump-dom", driven.as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)
    assert found is not None
    return dict(json.loads(html.unescape(found[1])))


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_the_keys_of_the_page_and_what_it_saves_become_drops(data: Path, tmp_path: Path) -> None:
    assert main(["sample", str(data), str(tmp_path / "review"), "--questions", "24"]) == 0
    page = tmp_path / "review" / "review.html"
    told = told_by_browser(page, tmp_path / "profile")
    assert told["first"] == told["typed"] == "1 of 24" and told["last"] == "24 of 24"
    assert told["dropped"] == [["drop"], "1 judged, 1 to drop"]
    assert (told["focus"], told["left"]) == ("note", "")
    assert told["second"] == ["2 of 24", [], ""] and told["kept"] == ["keep"]
    assert told["back"] == ["1 of 24", ["drop"], "why <b>not</b>"]
    assert told["scrolled"] and told["opened"] and told["file"] == "verdicts.json"
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(json.dumps(told["saved"]))
    assert [one["verdict"] for one in told["saved"]["verdicts"].values()] == ["drop", "keep", "unsure"]
    assert main(["drop", str(data), str(verdicts), str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out/drops.json").read_text())["dropped"] == {"train/0": "why <b>not</b>"}
    before, after = (trained_on(root) for root in (data, tmp_path / "out"))
    assert len(before) == len(after) + 1 and set(after) < set(before)
    dark = told_by_browser(page, tmp_path / "dark", "--blink-settings=preferredColorScheme=0")
    assert (told["page"], dark["page"]) == ("rgb(252, 252, 251)", "rgb(19, 20, 23)")


def trained_on(root: Path) -> list[tuple[str, str, str]]:
    """What tells the questions of the train split apart, as a run reads them."""
    dataset = open_dataset(DataConfig(source=str(root), train_split="paper"))
    return [(q.cluster, q.query, q.correct_answer) for q in dataset.split("train").questions]


def test_drops_leave_a_data_set_that_can_be_trained_on(data: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(json.dumps(verdicts_on(data, train_1="drop", train_2="keep", val_0="drop", val_1="unsure")))
    out = tmp_path / "out"
    assert main(["drop", str(data), str(verdicts), str(out)]) == 0
    before = read_table(data)
    assert read_table(out) == [before[0], *before[2:]]
    assert read_table(out, "val") == read_table(data, "val")[1:]
    assert audit_of(out).findings == ()
    manifest = json.loads((out / "drops.json").read_text())
    assert manifest["dropped"] == {"train/1": "on train/1", "val/0": "on val/0"}
    assert manifest["unsure"] == {"val/1": "on val/1"}
    assert manifest["rows_before"] == {"train": 8, "val": 8, "benchmark": 8} and manifest["reviewed"] == 4


def test_verdicts_on_other_questions_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(json.dumps(verdicts_on(data, train_1="drop")))
    change_row(data, 1, lambda row: set_query(row, "Something else?"))
    assert main(["drop", str(data), str(verdicts), str(tmp_path / "out")]) == 2
    assert "train/1 is not what was shown" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for text in ("{", "[]", '{"verdicts": {"train/1": {"verdict": "maybe", "digest": ""}}}'):
        verdicts.write_text(text)
        assert main(["drop", str(data), str(verdicts), str(tmp_path / "out")]) == 2
    assert "must be keep, drop, unsure" in capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(data: Path, tmp_path: Path) -> None:
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(json.dumps(verdicts_on(data, train_1="drop")))
    assert main(["drop", str(data), str(verdicts), str(data)]) == 2
    assert len(read_table(data)) == 8


def test_drops_of_a_jsonl_folder(tmp_path: Path) -> None:
    root = tmp_path / "jsonl"
    root.mkdir()
    lines = [
        json.dumps({"question_id": f"q{n}", "query": f"What is {n}?", "answer": str(n), "cluster": f"c{n}"})
        for n in range(3)
    ]
    (root / "questions.jsonl").write_text("\n".join(lines) + "\n")
    verdicts = tmp_path / "verdicts.json"
    verdicts.write_text(json.dumps(verdicts_on(root, q1="drop")))
    assert main(["drop", str(root), str(verdicts), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "questions.jsonl").read_text().splitlines() == [lines[0], lines[2]]


def test_a_history_that_cannot_be_read_still_shows_its_question(data: Path) -> None:
    change_history(data, read_table(data)[0]["chat_history_32k_link"], lambda items: items.clear())
    (data / read_table(data)[4]["chat_history_32k_link"]).unlink()
    material = material_of(data, 1000)
    assert len(material["questions"]) == 24
    assert material["histories"][read_table(data)[4]["chat_history_32k_link"]] == []
    note = next(one["evidence_note"] for one in material["questions"] if one["id"] == "train/0")
    assert "is in no message" in note
