"""Views of a run in wandb, trackio and tensorboard: what they are shown, and that none of them can stop a run."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate.tracking import GeneralTracker

from rft.config import Config, LogConfig, load_config
from rft.config_schema import tracker_names
from rft.planning.checks import check
from rft.telemetry import trackers
from rft.telemetry.run_log import RunLog
from rft.telemetry.trackers import TABLE_ROWS, Trackers, shown_name
from tests.unit.data.builder import TEMPLATES, make_tokenizer

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])
ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("wandb", ["wandb"]),
        ("none", []),
        ("[wandb, tensorboard]", ["wandb", "tensorboard"]),
        ("[trackio]", ["trackio"]),
        ("[]", []),
    ],
)
def test_one_tracker_several_or_none(text: str, names: list[str]):
    config = load_config(ROOT / "configs" / "demo.yaml", [f"log.report_to={text}"])
    assert tracker_names(config.log.report_to) == names


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mlflow", "a list of these"),
        ("[wandb, none]", "trackio"),
        ("[wandb, wandb]", "each tracker once"),
        ("3", "wandb"),
    ],
)
def test_another_tracker_is_one_line(text: str, says: str):
    with pytest.raises(ValueError, match=rf"log\.report_to.*{says}") as caught:
        load_config(ROOT / "configs" / "demo.yaml", [f"log.report_to={text}"])
    assert "\n" not in str(caught.value)


def test_a_tracker_that_is_not_installed_is_said_before_anything_loads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    config = load_config(ROOT / "configs" / "demo.yaml", ["log.report_to=[wandb, trackio]"])
    with pytest.raises(
        ValueError, match=r"^log.report_to=trackio needs trackio, which is not installed; .*rft\[trackers\]"
    ):
        check(config, 1)


def test_names_fall_into_sections_and_trl_s_are_those_of_its_own_runs():
    names = ["reward", "loss", "completions/mean_length", "eval/accuracy", "engine/prompt_tokens", "time/update_s"]
    assert [shown_name(name) for name in names] == [
        "train/reward", "train/loss", "train/completions/mean_length", "eval/accuracy", "engine/prompt_tokens",
        "time/update_s",
    ]  # fmt: skip


def test_tensorboard_forgets_the_steps_that_a_resume_repeats(tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = Config(output_dir=str(tmp_path / "run"), log=LogConfig(report_to="tensorboard"))
    first = Trackers(config, None)
    for step in (1, 2, 3, 4):
        first.metrics(step, {"reward": 0.1 * step, "kl": float("nan")})
    first.close()
    time.sleep(1.1)  # a file of events is named by its second
    second = Trackers(config, 2)
    second.metrics(3, {"reward": 0.9})
    second.close()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard" / "run")).Reload()
    assert events.Tags()["scalars"] == ["train/reward"], "what is no number is left out"
    shown = [(event.step, round(event.value, 6)) for event in events.Scalars("train/reward")]
    assert shown == [(1, 0.1), (2, 0.2), (3, 0.9)]


def test_trackio_keeps_the_curves_on_this_machine(tmp_path: Path):
    """In a process of its own: trackio reads its folder from the environment when it is imported."""
    script = (
        "import sys; from rft.config import *; from rft.telemetry.trackers import Trackers\n"
        "config = Config(output_dir=sys.argv[1], log=LogConfig(report_to='trackio', project='seen', run_name='one'))\n"
        "shown = Trackers(config, None); shown.metrics(1, {'reward': 0.5, 'eval/accuracy': 0.25}); shown.close()"
    )
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], env=environment, check=True, timeout=120)
    with sqlite3.connect(tmp_path / "trackio" / "seen.db") as database:
        ((run, step, values),) = database.execute("select run_name, step, metrics from metrics").fetchall()
    assert (run, step) == ("one", 1)
    assert json.loads(values) == {"train/reward": 0.5, "eval/accuracy": 0.25}


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_trackio_s_dashboard_shows_the_sections_in_a_browser(tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        "import sys; from rft.config import *; from rft.telemetry.trackers import Trackers; import trackio\n"
        "log = LogConfig(report_to='trackio', project='seen', run_name='first-run')\n"
        "shown = Trackers(Config(output_dir=sys.argv[1], log=log), None)\n"
        "for step in (1, 2, 3):\n"
        "    shown.metrics(step, {'reward': 0.1 * step, 'eval/accuracy': 0.25, 'engine/prompt_tokens': 9.0})\n"
        "shown.close()\n"
        f"trackio.show('seen', open_browser=False, block_thread=True, server_port={port})"
    )
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "run")], env=environment)
    try:
        page = ""
        until = time.monotonic() + 120
        while "first-run" not in page and time.monotonic() < until:
            time.sleep(2)
            page = dom_of(f"http://127.0.0.1:{port}/?project=seen", tmp_path / "browser")
    finally:
        process.kill()
        process.wait()
    assert "first-run" in page
    for shown in ("train", "eval", "engine", "reward", "accuracy"):
        assert shown in page, shown


def dom_of(url: str, profile: Path) -> str:
    """A page as Chromium has it once its scripts have run."""
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", url,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout


def test_a_tracker_that_fails_on_the_way_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    class Full(GeneralTracker):
        name, requires_logging_directory, tracker = "full", False, None
        calls = 0

        def log(self, values, step=None, **kwargs):
            Full.calls += 1
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(trackers.OPENERS, "trackio", lambda config, first_step: Full())
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to=["trackio", "tensorboard"]))
    log = RunLog(config, first_step=0, num_steps=2, tokenizer=TOKENIZER, main=True)
    for step in (1, 2):
        log.metrics(step, {"reward": 0.5})
    log.close()
    assert Full.calls == 1 and "No space left" in caplog.text
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    assert list((tmp_path / "tensorboard").rglob("events*"))


def test_wandb_gets_the_curves_a_table_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="wandb"))
    log = RunLog(config, first_step=0, num_steps=1, tokenizer=TOKENIZER, main=True)
    log.metrics(1, {"reward": 0.5})
    log.table(1, "eval/predictions", [{"question_id": f"val/{number}", "text": "?"} for number in range(3)])
    (tmp_path / "report.html").write_text("<p>")
    log.artifact("report", tmp_path / "report.html")
    log.close()
    (stored,) = tmp_path.glob("wandb/offline-run-*")
    (table,) = stored.glob("files/media/table/eval/predictions_*.json")
    rows = json.loads(table.read_text())
    assert len(rows["data"]) == 3 and rows["columns"] == ["question_id", "text"]
    (record,) = stored.glob("run-*.wandb")
    until = time.monotonic() + 20  # wandb's own process writes it
    while b"report.html" not in record.read_bytes() and time.monotonic() < until:
        time.sleep(0.1)
    assert b"report.html" in record.read_bytes()


@pytest.mark.parametrize(
    "variables",
    [
        {"WANDB_MODE": "Offline"},
        {"WANDB_MODE": "offlin"},
        {"WANDB_BASE_URL": "wandb.example.org"},
        {"WANDB_API_KEY": "too-short", "WANDB_BASE_URL": "http://127.0.0.1:9"},
        {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "https://127.0.0.1:9"},
    ],
    ids=["another case", "no mode", "a base URL without https", "a malformed key", "a key that cannot be checked"],
)
def test_trouble_with_wandb_is_a_warning_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], caplog: pytest.LogCaptureFixture
):
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # it reads the variables once
    real = trackers.open_wandb

    def impatient(config: Config, mode: str | None) -> object:
        if mode == "online" or (mode is None and "WANDB_API_KEY" in variables):
            raise OSError("nobody answers at 127.0.0.1:9")  # wandb itself tries for a minute and more
        return real(config, mode)

    monkeypatch.setattr(trackers, "open_wandb", impatient)
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="wandb"))
    log = RunLog(config, first_step=None, num_steps=1, tokenizer=TOKENIZER, main=True)
    log.metrics(1, {"reward": 0.5})
    log.close()
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 1
    assert "recorded offline" in caplog.text
    assert {name: os.environ[name] for name in variables} == variables


def test_a_table_in_wandb_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = Config(output_dir=str(tmp_path), log=LogConfig(report_to="wandb"))
    log = RunLog(config, first_step=0, num_steps=1, tokenizer=TOKENIZER, main=True)
    log.table(1, "many", [{"number": number} for number in range(500)])
    log.close()
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/many_*.json")
    assert len(json.loads(table.read_text())["data"]) == TABLE_ROWS
