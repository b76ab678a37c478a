"""What comes with pip's extras is not needed by whoever does not use it, and is asked for before anything loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rft import evaluate
from rft.config import load_config
from rft.extras import EXTRAS, need
from rft.planning.checks import check
from tests.unit.chat.endpoint_server import chat, serving

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {"liger_kernel": "liger-kernel", "sentence_transformers": "sentence-transformers"}
DISTRIBUTIONS |= {"wandb_workspaces": "wandb-workspaces"}

WITHOUT = """
import sys
for name in {names}:
    sys.modules[name] = None  # so `import` and `find_spec` find nothing
from rft import evaluate
sys.exit(evaluate.main(sys.argv[1:]))
"""


def command_line(folder: Path, *overrides: str) -> list[str]:
    """Of rft/evaluate.py, for a question about a town."""
    (folder / "towns").mkdir(exist_ok=True)
    (folder / "towns" / "contexts.jsonl").write_text('{"context_id": "1", "text": "The town is Oslo."}\n')
    question = {"context_id": "1", "query": "Which town?", "answer": "Oslo", "split": "test"}
    (folder / "towns" / "questions.jsonl").write_text(json.dumps(question) + "\n")
    (folder / "run.yaml").write_text(
        f"{{output_dir: {folder / 'out'}, task: qa, reward: {{function: 'tests.unit.eval.builder:exact'}}, "
        f"data: {{format: jsonl, source: {folder / 'towns'}}}}}"
    )
    return [str(folder / "run.yaml"), *overrides]


def test_an_endpoint_is_evaluated_without_any_extra(tmp_path: Path):
    """As whoever installed nothing but the package has it: nothing that this process has imported is there."""
    with serving() as server:
        server.answer = lambda body: chat("Oslo")
        endpoint = [f"compare.endpoint.base_url={server.url}", "compare.endpoint.model=m", "system=full_history,bm25"]
        command = [sys.executable, "-c", WITHOUT.format(names=sorted(EXTRAS)), *command_line(tmp_path, *endpoint)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(server.asked) in (1, 2), "where both systems ask the same, it is asked once"
    assert "full_history" in done.stdout and "bm25" in done.stdout


def test_a_model_of_one_s_own_needs_the_engine_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for module in EXTRAS:
        monkeypatch.setitem(sys.modules, module, None)
    assert evaluate.main(command_line(tmp_path)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "needs vllm, which is not installed; run pip install 'rft[cuda]'" in said


def test_training_says_what_it_lacks_before_it_loads(monkeypatch: pytest.MonkeyPatch):
    config = load_config(ROOT / "configs" / "qwen3_4b.yaml")
    for module in ("peft", "deepspeed", "vllm", "wandb"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            with pytest.raises(ValueError, match=rf"needs {module}, which is not installed; run pip install 'rft\["):
                check(config, 8)


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extra_that_is_named_brings_the_module(module: str, monkeypatch: pytest.MonkeyPatch):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = [requirement.partition("=")[0].rstrip("><~") for requirement in extras[EXTRAS[module]]]
    assert DISTRIBUTIONS.get(module, module) in brought
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ValueError, match=f"^it needs {module}"):
        need(module, "it")
