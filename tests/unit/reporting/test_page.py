"""The report of a run: what is on the page, and in a real browser what does not happen there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rft.eval.predictions import append_predictions
from rft.eval.results import make_results, write_results
from rft.report import main
from rft.reporting import run_folder
from rft.reporting.page import try_write_report, write_report
from rft.reporting.rollout_views import growth
from rft.reporting.run_charts import seconds_by_phase
from rft.reporting.run_folder import groups_of, read_run
from rft.telemetry.names import LOGPROB_GAP
from tests.unit.eval.builder import make_prediction, make_question
from tests.unit.reporting.builder import answer

EVIL = "</pre></details><script>document.title = 'ran'</script><img src='http://example.invalid/x.png'>"
CALLS_HOME = re.compile(r"https?://[\w.-]+\.(google|googleapis|gvt1|gstatic)\.com/")
"""Where the browser itself asks for the time and for updates."""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def write_run(folder: Path, *, memory: bool = False) -> Path:
    folder.mkdir()
    accuracy = {"n": 40, "accuracy": 0.5, "low": 0.4, "high": 0.6}
    rows: list[dict[str, Any]] = [
        {"step": 0, "eval/accuracy": 0.3, "eval/accuracy_low": 0.2, "eval/accuracy_high": 0.4}
    ]
    for step in range(1, 5):
        rows.append({"step": step, "reward": step / 5, LOGPROB_GAP: 1e-7, "entropy": None, "grad_norm": 0.5,
                     "time/rollout_s": 1.0, "time/update_s": 2.0, "time/reward_s": 0.5,
                     "tokens_per_second": 100.0})  # fmt: skip
    rows.append({"step": 4, "eval/accuracy": 0.5, "eval/accuracy_low": 0.4, "eval/accuracy_high": 0.6,
                 "time/eval_s": 3.0})  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5, "rew')
    pairs = [
        answer(text=f"<think>{EVIL}</think>{EVIL}"),
        answer(prompt_tail=EVIL, parsed=None, failure="no_box", tags={"kind": EVIL}),
    ]
    if memory:
        updates = [
            {"memory": text, "failure": failure, "memory_tokens": 3, "chunk_tokens": 90, "completion_tokens": 4}
            for text, failure in (("- jazz", None), (f"- jazz\n- {EVIL}", None), ("- tea", "too_long"))
        ]
        pairs = [
            {"step": 2, "context_id": "h4", "sibling": n, "reward": n / 2, "updates": updates, "answers": [answer()]}
            for n in range(2)
        ]
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    checkpoint = folder / "checkpoint-4"
    checkpoint.mkdir()
    evaluation = {
        "overall": accuracy, "groups": {"who": {"self": accuracy, EVIL: accuracy}}, "parse_rate": 1.0,
        "truncation_rate": 0.0, "failures": {"no_box": 2}, "letters": {"a": 20, "b": 18},
        "gold_letters": {"a": 20, "b": 20}, "chance": 0.5, "memory": None,
    }  # fmt: skip
    (checkpoint / "eval.json").write_text(json.dumps(evaluation))
    (folder / "config.yaml").write_text(f"output_dir: {EVIL}\n")
    (folder / "summary.json").write_text(json.dumps({"accuracy_before": 0.3, "accuracy_after": 0.5, "num_steps": 4}))
    return folder


def test_a_page_shows_the_run_and_escapes_what_models_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = write_run(tmp_path / "demo")
    assert main([str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert capsys.readouterr().out.strip() == str(folder / "report.html")
    assert "30.0% → 50.0%" in page
    assert "<script" not in page and "<img" not in page and "&lt;script&gt;" in page
    assert not re.findall(r"(?:src|href)=[\"'](?!#|data:)", page)
    for part in ("learning", "categories", "costs", "health", "rollouts", "config"):
        assert f'id="{part}"' in page
    assert 'id="systems"' not in page
    assert page.count("<polyline") == 5  # accuracy, reward, gradient norm, gap, tokens per second; no entropy
    assert page.count('<rect class="fill c0"') == 4 + 2  # four steps of rollout, two letters
    assert "train/1 (kind music, who self)" in page and "context h4" in page
    assert "<title>chance, 50%</title>" in page


STEERS = "\x1b[2J\x1b]0;title\x07a\x00b\x08\x9b31mc\x7f\ud83d"


@pytest.mark.parametrize("memory", [False, True])
def test_control_characters_in_a_model_s_text_are_not_in_the_report(tmp_path: Path, memory: bool):
    folder = write_run(tmp_path / "demo", memory=memory)
    said = {"text": f"<think>{STEERS}</think>{STEERS}", "prompt_tail": STEERS, "parsed": STEERS, "tags": {"k": STEERS}}
    rows = [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]
    for row in rows:
        for reply in row.get("answers", [row]):
            reply.update(said)
        for update in row.get("updates", []):
            update["memory"] = f"- {STEERS}\n- \x1b]never ended"
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluation = json.loads((folder / "checkpoint-4" / "eval.json").read_text())
    evaluation["groups"]["who"][STEERS] = evaluation["overall"]
    (folder / "checkpoint-4" / "eval.json").write_text(json.dumps(evaluation))
    page = write_report([folder]).read_text()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", page)
    assert "<pre>abc</pre>" in page
    assert not memory or ('<li class="added">- abc</li>' in page and "never ended" in page)
    assert page.rstrip().endswith("</html>")


def test_each_phase_that_a_step_names_is_shown(tmp_path: Path):
    seconds = seconds_by_phase(read_run(write_run(tmp_path / "demo")))
    assert list(seconds) == ["rollout", "update", "reward", "eval"]
    assert seconds["reward"] == [0.5] * 4 and seconds["eval"] == [0.0, 0.0, 0.0, 3.0]


def write_comparison(folder: Path, **changes: Any) -> None:
    """Two systems on four questions."""
    place = folder / "evaluation" / "users-val"
    for name in ("m/full_history", "m/no_history"):
        (place / name).mkdir(parents=True)
        predictions = [make_prediction(make_question(number), **changes) for number in range(4)]
        append_predictions(place / name / "predictions.jsonl", predictions)
    ids = [f"val/{number}" for number in range(4)]
    write_results(place, make_results(place, ids, ("who",), "no_history", {}, {}))


def test_controls_have_a_colour_and_options_a_line_of_chance(tmp_path: Path):
    write_comparison(tmp_path)
    page = write_report([tmp_path]).read_text()
    assert "users-val" in page and page.count("<tr><td>") == 2
    assert "<title>chance, 25%</title>" in page
    assert page.count('<circle class="dot c1"') == 1 and page.count('<circle class="dot c0"') == 1


def test_without_options_nothing_is_said_of_chance(tmp_path: Path):
    write_comparison(tmp_path, option_order=(), parsed=None, reward=1.5)
    page = write_report([tmp_path]).read_text()
    assert 'class="chance"' not in page and "150.0%" in page


def test_answers_without_a_reward_are_shown(tmp_path: Path):
    folder = write_run(tmp_path / "demo")
    (folder / "rollouts.jsonl").write_text(json.dumps(answer(reward=None, parsed=None)) + "\n")
    assert "reward none" in write_report([folder]).read_text()


def test_rollouts_of_an_earlier_version_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = write_run(tmp_path / "demo")
    (folder / "rollouts.jsonl").write_text('{"step": 1, "question_id": "train/1", "persona_id": 4}\n')
    with pytest.raises(ValueError, match=r"rollouts\.jsonl was written by an earlier version; move it"):
        write_report([folder])
    assert try_write_report(folder) is None
    assert "earlier version" in caplog.text and "Traceback" not in caplog.text


def test_several_runs_are_compared(tmp_path: Path):
    runs = [write_run(tmp_path / name) for name in ("one", "two")]
    page = write_report(runs, tmp_path / "both.html").read_text()
    assert page.count('<ul class="legend"><li><i class="key c0"></i>one</li><li><i class="key c1"></i>two</li>') == 5


def test_what_is_no_run_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(tmp_path)]) == 2
    assert "has no metrics.jsonl" in capsys.readouterr().err


def test_a_memory_grows_turn_by_turn(tmp_path: Path):
    run = read_run(write_run(tmp_path / "memory", memory=True))
    (group,) = run.groups
    first, second, third = growth(group.best["updates"])
    assert [(line.kind, line.text) for line in first["lines"]] == [("added", "- jazz")]
    assert [line.kind for line in second["lines"]] == ["same", "added"]
    assert [line.kind for line in third["lines"]].count("removed") == 2
    assert third["failure"] == "too_long"
    page = write_report([run.path]).read_text()
    assert "not taken: too_long" in page and 'class="removed"' in page


@pytest.mark.parametrize("line", ["- a", "- {}"])
def test_a_report_over_memories_of_many_short_lines_is_linear_and_bounded(tmp_path: Path, line: str):
    folder = write_run(tmp_path / "demo", memory=True)
    row = json.loads((folder / "rollouts.jsonl").read_text().splitlines()[0])
    for number, update in enumerate(row["updates"]):
        update["memory"] = "\n".join(line.format(n * (number + 1)) for n in range(3000))
    row["updates"] = row["updates"] * 20
    row["answers"] = [answer(text="jazz " * 20_000, question_id=f"q{number}") for number in range(20)]
    (folder / "rollouts.jsonl").write_text(json.dumps(row) + "\n")
    start = time.process_time()
    page = write_report([folder])
    assert time.process_time() - start < 3.0
    assert page.stat().st_size < 3_000_000
    text = page.read_text()
    assert "more lines)" in text and "more characters)" in text and "12 more answers" in text


def test_a_report_over_a_large_file_of_rollouts_reads_its_beginning_and_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = write_run(tmp_path / "demo")
    rows = [answer(step=step, question_id=f"q{step}", sibling=n) for step in range(2000) for n in (0, 1)]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rollouts.jsonl").write_text(data)
    assert len(read_run(folder).groups) == 2000 and read_run(folder).all_groups
    monkeypatch.setattr(run_folder, "FIRST_BYTES", 10_000)
    monkeypatch.setattr(run_folder, "LAST_BYTES", 30_000)
    for cut in (0, 7, 300):
        (folder / "rollouts.jsonl").write_text(data[: len(data) - cut])
        run = read_run(folder)
        steps = [group.step for group in run.groups]
        assert not run.all_groups and 20 < len(steps) < 200
        assert steps == sorted(set(steps)) and steps[0] == 0 and steps[-1] == 1999
        assert all(group.worst is not None for group in run.groups[:-1])
    assert "read at the beginning and the end of a large file" in write_report([folder]).read_text()


def test_a_report_of_very_many_steps_stays_small(tmp_path: Path):
    folder = write_run(tmp_path / "demo")
    rows = [{"step": step, "reward": step % 7 / 7, LOGPROB_GAP: 1e-7 + (step == 777), "time/rollout_s": 1.0}
            for step in range(1, 8000)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert write_report([folder]).stat().st_size < 300_000


def test_rows_of_one_question_and_step_are_a_group():
    rows = [answer(), answer(sibling=1), answer(question_id="train/2"), answer(step=3)]
    groups = groups_of(rows)
    assert [(group.step, group.worst is None) for group in groups] == [(2, False), (2, True), (3, True)]


def browse(page: Path, folder: Path) -> tuple[str, str, set[str]]:
    """The page's DOM after all scripts, what the browser's console said, the addresses that were asked for."""
    log = folder / "net.json"
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
        "--disable-sync", "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
        "--v=0", f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    console = "".join(line for line in finished.stderr.splitlines(keepends=True) if "CONSOLE" in line)
    urls = set(re.findall(r'"url":"(https?://[^"]*)"', log.read_text()))
    return finished.stdout, console, urls


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the PATH")
@pytest.mark.parametrize("memory", [False, True])
def test_in_a_browser_nothing_runs_nothing_is_fetched_and_nothing_is_wrong(tmp_path: Path, memory: bool):
    page = write_report([write_run(tmp_path / "demo", memory=memory)])
    dom, console, urls = browse(page, tmp_path)
    assert "<title>rft: demo</title>" in dom
    assert console == ""
    assert not [url for url in urls if not CALLS_HOME.match(url)]
    assert dom.count("<polyline") == page.read_text().count("<polyline") > 0


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium on the PATH")
def test_the_browser_would_run_and_fetch_what_is_not_escaped(tmp_path: Path):
    page = tmp_path / "unsafe.html"
    page.write_text(f"<!doctype html><title>x</title><pre>{EVIL}<script>undefined_name()</script>")
    dom, console, urls = browse(page, tmp_path)
    assert "<title>ran</title>" in dom
    assert "undefined_name" in console
    assert any("example.invalid" in url for url in urls)
