"""An evaluation for real: the shipped model on synthetic data, on this machine's vLLM and behind vLLM's own server."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft.eval.results import Results, SystemResult, read_results
from rft.eval.systems import SYSTEM_SETS
from rft.evaluate import main
from rft.synthetic.generator import write_dataset
from tests.e2e.runs import ROOT, rows, run

MODEL = ROOT / "checkpoints" / "demo_sft"
MEMORY_MODEL = ROOT / "checkpoints" / "demo_memory_sft"
NUM_QUESTIONS = 60
CONTROLS = SYSTEM_SETS["controls"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    write_dataset(
        folder / "data", num_personas=92, questions_per_persona=5, history_tokens=300, seed=5, style="brief",
        decoys=0.3, num_val_personas=30, num_benchmark_personas=1,
    )  # fmt: skip
    config = {
        "base": str(ROOT / "configs" / "demo.yaml"),
        "model": {"model_name_or_path": str(MODEL)},
        "data": {"source": str(folder / "data"), "cache_dir": str(folder / "cache")},
        "compare": {"batch_size": 40, "max_context_tokens": 400},
        "memory": {"chunk_tokens": 90, "max_memory_tokens": 60, "max_update_length": 60},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@dataclass
class Told:
    """How a comparison ended, and what it said."""

    status: str
    output: str
    errors: str


SYSTEMS = "system=full_history,truncated_history,bm25,evidence_only,controls"
SHORT = ("system=full_history,other_history", "eval.num_questions=40", "data.max_prompt_length=560")
WITH_AN_ENGINE = {
    "local": (SYSTEMS,),
    # The leaderboard's protocol, whose options stand in a message of their own, takes the room of both.
    "cut": (*SHORT, "data.length_policy=truncate_middle", "compare.protocol=leaderboard"),
    "dropped": (*SHORT, "data.length_policy=drop"),
    "engine": ("system=full_history", f"eval.num_questions={NUM_QUESTIONS}"),
    "refused": ("data.max_prompt_length=100", "system=full_history"),
}
"""What this machine's vLLM is asked, by output folder."""

ONE_AFTER_ANOTHER = """
import json, os, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from vllm import LLM
from rft.evaluate import main
for name, arguments in json.loads(sys.argv[1]).items():
    told = Path(sys.argv[2], name)
    told.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        with (told / "output").open("w") as output, (told / "errors").open("w") as errors:
            with redirect_stdout(output), redirect_stderr(errors):
                status = main(arguments)
        (told / "status").write_text(str(status))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""
"""Each in a process of its own, as vLLM needs it; what takes longest, the imports, is done once before."""


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[str, Told]:
    """All comparisons with an engine."""
    runs = {name: arguments(folder, name, *overrides) for name, overrides in WITH_AN_ENGINE.items()}
    run([sys.executable, "-c", ONE_AFTER_ANOTHER, json.dumps(runs), str(folder / "told")], VLLM_LOGGING_LEVEL="ERROR")
    return {
        name: Told(*((folder / "told" / name / part).read_text() for part in ("status", "output", "errors")))
        for name in runs
    }


def arguments(folder: Path, out: str, *overrides: str) -> list[str]:
    return [str(folder / "run.yaml"), f"output_dir={folder / out}", *overrides]


def evaluate(folder: Path, out: str, *overrides: str) -> None:
    """In a process of its own, which an engine needs."""
    run([sys.executable, "rft/evaluate.py", *arguments(folder, out, *overrides)])


def results_of(folder: Path, out: str, name: str = "personamem_v2-32k-val") -> Results:
    return read_results(folder / out / "evaluation" / name / "results.json")


def by_system(results: Results) -> dict[str, SystemResult]:
    return {row.system: row for row in results.systems}


def predictions(folder: Path, out: str, system: str, label: str = "demo_sft") -> list[dict[str, Any]]:
    path = folder / out / "evaluation" / "personamem_v2-32k-val" / label / system / "predictions.jsonl"
    return rows(path)


def test_the_shipped_model_stands_between_the_controls_and_the_oracle(
    folder: Path, told: dict[str, Told], capsys: pytest.CaptureFixture[str]
):
    assert told["local"].status == "0"
    results = results_of(folder, "local")
    rows = by_system(results)
    assert len(rows) == 4 + len(CONTROLS)
    for name in CONTROLS:
        overall = rows[name].result.overall
        assert overall.n == 150
        assert overall.low <= 0.25 <= overall.high, (name, overall)
        assert f" {name} " in told["local"].output
    full, oracle = rows["full_history"], rows["evidence_only"]
    assert full.difference is not None and full.difference.low > 0.1
    assert oracle.result.overall.accuracy >= full.result.overall.accuracy
    assert rows["truncated_history"].messages_dropped > 0
    # One prefill per history: five questions share it, and vLLM computes it once.
    assert full.cost.prefill_tokens_mean is not None
    assert full.cost.prefill_tokens_mean < 0.5 * full.cost.prompt_tokens_mean
    assert all(row.cost.prompt_tokens_max == 0 for row in rows.values() if row.model == "rules")
    page = (folder / "local" / "report.html").read_text()
    assert 'id="systems"' in page and page.count("<tr><td>") == len(rows)
    assert "answer/s" in told["local"].errors
    assert main(arguments(folder, "local", SYSTEMS)) == 0
    assert "answer/s" not in capsys.readouterr().err, "nothing is asked twice"
    assert results_of(folder, "local").systems == results.systems


def test_a_planted_length_leak_shows_in_the_controls(folder: Path):
    leaky = folder / "leaky"
    (leaky / "benchmark" / "text").mkdir(parents=True)
    (leaky / "data").symlink_to(folder / "data" / "data")
    for name in ("train", "val", "benchmark"):
        source = folder / "data" / "benchmark" / "text" / f"{name}.csv"
        with source.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["correct_answer"] += " That would suit you well."
        with (leaky / "benchmark" / "text" / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    rules = "system=longest_option,shortest_option,majority_letter"
    settings = (f"output_dir={folder / 'leaky-out'}", f"data.source={leaky}", "data.follow_links=true")
    assert main([str(folder / "run.yaml"), rules, *settings]) == 0
    rows = by_system(results_of(folder, "leaky-out"))
    assert rows["longest_option"].result.overall.accuracy == 1.0
    assert rows["shortest_option"].result.overall.accuracy == 0.0
    assert rows["majority_letter"].result.overall.low <= 0.25


def test_histories_that_are_too_long_are_cut_or_their_questions_are_wrong_answers(folder: Path, told: dict[str, Told]):
    assert (told["cut"].status, told["dropped"].status) == ("0", "0")
    for row in results_of(folder, "cut", "personamem_v2-32k-val-leaderboard").systems:
        assert row.messages_dropped > 0 and "prompt_too_long" not in row.result.failures
        assert row.cost.prompt_tokens_max <= 560 and row.result.closed_by == {"system": 40}
    for row in results_of(folder, "dropped").systems:
        assert row.result.overall.n == 40
        unasked = [p for p in predictions(folder, "dropped", row.system) if p["failure"] == "prompt_too_long"]
        assert 0 < len(unasked) == row.result.failures["prompt_too_long"] < 40
        assert all(p["reward"] == 0.0 and p["prompt_tokens"] > 560 for p in unasked)


def test_answers_of_other_settings_are_not_mixed(folder: Path, capsys: pytest.CaptureFixture[str]):
    short = [
        str(folder / "run.yaml"),
        f"output_dir={folder / 'mixed'}",
        "eval.num_questions=20",
        "system=longest_option",
    ]
    assert main(short) == 0
    assert main([*short, "eval.split=benchmark"]) == 0  # another folder
    assert "longest_option" in capsys.readouterr().out
    assert main([*short, "data.train_split=persona", "data.num_val_clusters=20"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "train_split" in told and "compare.label" in told


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("system=no_histroy",), "unknown system 'no_histroy'"),
        (("task=qa",), "reward.function"),
        (("evaluate.label=x",), "'evaluate.label' is now 'compare.label'"),
        (("compare.answers=open", "system=full_history"), "compare.judge.endpoint.model"),
        (("compare.num_samples=2",), "compare.temperature"),
        (("model.model_name_or_path=absent", "system=no_history"), "model.model_name_or_path"),
        (("compare.endpoint.model=m", "system=no_history"), "OPENAI_API_KEY"),
        (
            ("compare.endpoint.model=m", "compare.endpoint.base_url=u", "system=memory", "memory.query_aware=true"),
            "query-blind",
        ),
    ],
)
def test_a_mistake_costs_one_line(
    folder: Path,
    overrides: tuple[str, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main([str(folder / "run.yaml"), f"output_dir={folder / 'wrong'}", *overrides]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and message in told


def test_a_prompt_that_is_too_long_is_named(told: dict[str, Told]):
    last = [line for line in told["refused"].errors.splitlines() if line.strip()][-1]
    assert told["refused"].status == "2" and last.startswith("error: ") and "data.length_policy" in last


# ----------------------------------------------------------------------------------------------------- vLLM's server


class Server:
    """vLLM's own OpenAI-compatible server with a shipped model, on this machine's CPU."""

    def __init__(self, model: Path, log: Path) -> None:
        self.model = model
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        self.start()

    def start(self) -> None:
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(self.model),
            "--served-model-name", "demo", "--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32",
            "--max-model-len", "1024", "--max-num-seqs", "32", "--enforce-eager", "--generation-config", "vllm",
        ]  # fmt: skip
        environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_NO_USAGE_STATS": "1"}
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + 240
        while True:
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url[:-3]}/health", timeout=5)
            except OSError:
                time.sleep(0.5)
            else:
                return

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    made = Server(MODEL, folder / "server.log")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NO_PROXY", "127.0.0.1")
        yield made
    made.kill()


@pytest.fixture(scope="module")
def memory_server(folder: Path) -> Iterator[Server]:
    made = Server(MEMORY_MODEL, folder / "memory_server.log")
    yield made
    made.kill()


def served(server: Server, *more: str) -> tuple[str, ...]:
    return (
        f"compare.endpoint.base_url={server.url}", "compare.endpoint.model=demo", "compare.endpoint.max_retries=0",
        "compare.endpoint.concurrency=4", f"compare.tokenizer={server.model}",
        f"eval.num_questions={NUM_QUESTIONS}", *more,
    )  # fmt: skip


@pytest.mark.slow
def test_a_server_that_dies_costs_a_clear_error_and_no_answer_is_asked_twice(folder: Path, server: Server):
    evaluate(folder, "straight", *served(server, "system=full_history"))
    straight = {row["question_id"]: row for row in predictions(folder, "straight", "full_history", "demo")}
    assert len(straight) == NUM_QUESTIONS

    # Killed in the middle: when a part of the answers is there.
    command = [sys.executable, "rft/evaluate.py", str(folder / "run.yaml"), f"output_dir={folder / 'broken'}",
               *served(server, "system=full_history", "compare.endpoint.concurrency=1")]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"NO_PROXY": "127.0.0.1"}, stderr=subprocess.PIPE, text=True
    )
    path = folder / "broken" / "evaluation" / "personamem_v2-32k-val" / "demo" / "full_history" / "predictions.jsonl"
    while not path.exists() or path.read_text().count("\n") < 5:
        assert process.poll() is None
        time.sleep(0.05)
    server.kill()
    _, told = process.communicate(timeout=120)
    assert process.returncode == 2
    assert told.strip().splitlines()[-1].startswith(f"error: {server.url}, model demo: ")
    before = predictions(folder, "broken", "full_history", "demo")
    assert 5 <= len(before) < NUM_QUESTIONS

    server.start()
    evaluate(folder, "broken", *served(server, "system=full_history"))
    after = predictions(folder, "broken", "full_history", "demo")
    assert after[: len(before)] == before
    assert {row["question_id"]: row for row in after} == straight
    one, two = (by_system(results_of(folder, out))["full_history"] for out in ("straight", "broken"))
    assert one.result == two.result


def test_the_server_answers_as_the_engine_does(folder: Path, server: Server, told: dict[str, Told]):
    assert main(arguments(folder, "straight", *served(server, "system=full_history"))) == 0
    assert told["engine"].status == "0"
    remote = {row["question_id"]: row for row in predictions(folder, "straight", "full_history", "demo")}
    local = {row["question_id"]: row for row in predictions(folder, "engine", "full_history")}
    assert remote.keys() == local.keys()
    for name, row in local.items():
        assert (row["text"], row["prompt_tokens"]) == (remote[name]["text"], remote[name]["prompt_tokens"])


@pytest.mark.slow
def test_a_memory_behind_a_server_is_the_one_of_the_engine(folder: Path, memory_server: Server):
    short = ("system=memory", "eval.num_questions=20")
    evaluate(folder, "memory", *served(memory_server), *short)
    evaluate(folder, "memory", *short, f"model.model_name_or_path={MEMORY_MODEL}")
    remote = {row["question_id"]: row for row in predictions(folder, "memory", "memory", "demo")}
    local = {row["question_id"]: row for row in predictions(folder, "memory", "memory", "demo_memory_sft")}
    assert sum(len(row["memory"]["memory"]) > 10 for row in local.values()) > 10, "the memories hold something"
    assert remote.keys() == local.keys()
    for name, row in local.items():
        assert row["memory"] == remote[name]["memory"] and row["text"] == remote[name]["text"]
    results = results_of(folder, "memory")
    assert all(row.result.memory is not None for row in results.systems)


@pytest.mark.slow
def test_the_memory_commands_work_behind_a_server_as_they_do_here(folder: Path, memory_server: Server):
    (history, *_) = sorted((folder / "data" / "data" / "chat_history_32k").iterdir())
    limits = ("--chunk-tokens", "90", "--max-memory-tokens", "60", "--max-update-length", "64")
    limits += ("--max-answer-length", "32")
    endpoint = ("--endpoint", memory_server.url, "--tokenizer", str(MEMORY_MODEL))
    models = {"here": ("--model", str(MEMORY_MODEL)), "there": ("--model", "demo", *endpoint)}
    command = [sys.executable, "rft/memory_cli.py"]
    written, said = {}, {}
    for name, model in models.items():
        memory = folder / f"{name}.md"
        run([*command, "build", str(history), str(memory), *model, *limits])
        written[name] = memory.read_text()
        memory.write_text("1. music: jazz\n")  # a person may write it
        options = ("--options", "opera, I think.", "jazz, I think.")
        said[name] = run([*command, "ask", str(memory), "Any ideas for my music?", *options, *model, *limits])
    assert written["here"] == written["there"] and said["here"] == said["there"]
    assert written["here"].startswith("1. ") and "\\boxed{" in said["here"]


def test_an_open_answer_that_is_cut_inside_its_thought_is_wrong_and_no_judge_is_asked(
    folder: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    judge = (f"compare.judge.endpoint.base_url={server.url}", "compare.judge.endpoint.model=demo")
    more = ("compare.answers=open", "system=evidence_only", "eval.num_questions=4", *judge)
    # The shipped model thinks about options; without any its thought does not end. test_evaluate_open.py has verdicts.
    assert main(arguments(folder, "open", *served(server), *more)) == 0
    shown = capsys.readouterr().out.splitlines()
    (row,) = (line for line in shown if "evidence_only" in line and " 0.000 " in line)
    assert "100.0%" in row, "all are cut off"
    verdicts = folder.glob("open/evaluation/*/demo/evidence_only/verdicts.jsonl")
    assert not any(path.read_text() for path in verdicts)
