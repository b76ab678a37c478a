"""The pages: links lead somewhere, commands exist, the configuration is that of today, figures are those of files."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rft.config import load_config
from rft.config_parser import parse_config
from rft.eval.config import ComparisonConfig
from rft.telemetry.charts import CHARTS
from tests.curves_page import undescribed

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "llms.txt", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:python|accelerate launch|launch/\S+|make) .*$")


def page_id(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        place, _, anchor = target.partition("#")
        assert (page.parent / place).exists(), target
        assert not anchor, f"{target}: headings change, link pages"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_are_named_exist(page: Path):
    names = re.findall(r"`((?:rft|tests|bench|configs|launch|examples|docs)/[\w./-]+\.\w+)`", page.read_text())
    missing = [name for name in names if not (ROOT / name).exists()]
    assert missing == []


def commands() -> list[str]:
    """Every command of a code block or of a line's backticks."""
    found: list[str] = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [part for block in blocks for line in block.splitlines() for part in parts_of(line)]
        found += [line for line in (*lines, *re.findall(r"`([^`\n]+)`", text)) if COMMAND.match(line)]
    return sorted(set(found))


def parts_of(line: str) -> list[str]:
    """The commands of a line, without what explains them."""
    return [part.strip() for part in line.split("    #")[0].split("&&")]


@pytest.mark.parametrize("command", commands())
def test_commands_exist_and_their_configs_can_be_read(command: str):
    words = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    if words[0] == "make":
        assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in words[1:])
        return
    words = words[2:] if words[:2] == ["accelerate", "launch"] else words[1:] if words[0] == "python" else words
    script, arguments = words[0], [word for word in words[1:] if word not in ("--dry-run",)]
    assert (ROOT / script).exists(), script
    if not arguments or not arguments[0].endswith(".yaml"):
        return
    overrides = [word for word in arguments[1:] if "=" in word and not word.startswith("--")]
    if script == "rft/evaluate.py":
        parse_config(ComparisonConfig, ROOT / arguments[0], overrides)
    elif "sft" not in arguments[0]:
        load_config(ROOT / arguments[0], overrides)


def test_the_configuration_page_is_that_of_the_classes():
    page = script_in_docs("make_configuration").page()
    assert (ROOT / "docs" / "configuration.md").read_text() == page, "python docs/make_configuration.py"


def script_in_docs(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_tables_are_those_of_their_files():
    tables = script_in_docs("make_tables")
    for page in tables.PAGES:
        assert page.read_text() == tables.with_tables(page.read_text()), f"{page.name}: python docs/make_tables.py"
    assert {name for page in tables.PAGES for name in tables.MARKED.findall(page.read_text())} == set(tables.TABLES)


def test_the_readme_names_the_day_and_commit_of_its_table():
    found = result("demo.json")["provenance"]
    assert (
        f"(`python bench/demo.py`, {found['date']}, commit {found['git_commit'][:7]}, two cores.)"
        in (ROOT / "README.md").read_text()
    )


def test_every_chart_is_on_the_page_that_reads_it():
    assert undescribed(metric for charts in CHARTS.values() for metrics in charts.values() for metric in metrics) == []


def test_a_metric_that_nobody_described_is_found():
    assert undescribed(["reward", "eval/pref_type/music", "time/rollout_s", "no_such_metric", "eval/a/b/c"]) == [
        "eval/a/b/c", "no_such_metric",
    ]  # fmt: skip


def result(name: str) -> Any:
    return json.loads((ROOT / "bench" / "results" / name).read_text())


FIGURES: list[tuple[str, str, str, Callable[[Any], Any]]] = [
    ("README.md", "trl_dropin.json", "is {:.1f} times as fast as trl's", lambda r: r["rows"][0]["speed_up"]),
    (
        "docs/evaluation.md",
        "prefill.json",
        "{:,.0f} prompt tokens per question",
        lambda r: r["prefill_per_question_together"],
    ),
    ("docs/evaluation.md", "prefill.json", "instead of {:,.0f}", lambda r: r["prompt_tokens_mean"]),
    ("docs/evaluation.md", "prefill.json", "{:.1f} times fewer", lambda r: r["ratio"]),
    (
        "docs/memory.md",
        "memory.json",
        "{:.1f} times fewer tokens",
        lambda r: r["about_500"]["tokens_per_question_ratio"],
    ),
    (
        "docs/memory.md",
        "memory.json",
        "and {:.1f} times fewer at 1,000",
        lambda r: r["about_1000"]["tokens_per_question_ratio"],
    ),
    ("docs/memory.md", "memory.json", "memories {:.0%}", lambda r: r["about_500"]["unique_token_ratio"]),
    (
        "docs/memory.md",
        "memory.json",
        "and {:.0%} of the tokens are unique",
        lambda r: r["about_1000"]["unique_token_ratio"],
    ),
    ("docs/servers.md", "overlap.json", "takes {:.2f} s in turns", lambda r: r["step_seconds"]["lag 0"]["step_time"]),
    ("docs/servers.md", "overlap.json", "{:.2f} s one step ahead", lambda r: r["step_seconds"]["lag 1"]["step_time"]),
    ("docs/servers.md", "overlap.json", "{:.2f} of it", lambda r: r["step_seconds"]["ratio"]),
    ("docs/servers.md", "overlap.json", "where {:.2f} is all", lambda r: r["step_seconds"]["ratio_of_limit"]),
    ("docs/servers.md", "overlap.json", "alone take {:.2f} s", lambda r: r["step_seconds"]["limit"]),
    (
        "docs/servers.md",
        "overlap.json",
        "ends at {:.3f} through",
        lambda r: r["two_servers"]["seed 0"]["accuracy_after"],
    ),
    (
        "docs/servers.md",
        "overlap.json",
        "at {:.3f} one step ahead",
        lambda r: r["one_step_ahead"]["seed 0"]["accuracy_after"],
    ),
    ("docs/forest.md", "demo.json", "an update takes {:.1f} s", lambda r: r["update"]["seconds_shared"]),
    ("docs/forest.md", "demo.json", "and {:.1f} s without", lambda r: r["update"]["seconds_plain"]),
]
"""Numbers inside sentences: page, file, how it stands there, and what it is in the file."""


@pytest.mark.parametrize(
    ("page", "file", "stands", "of"), FIGURES, ids=[f"{page} {text}" for page, _, text, _ in FIGURES]
)
def test_figures_in_sentences_are_those_of_their_files(page: str, file: str, stands: str, of: Callable[[Any], Any]):
    text = " ".join((ROOT / page).read_text().split())
    assert stands.format(of(result(file))) in text


def test_the_first_steps_with_and_without_shared_prefixes_are_the_same():
    update = result("demo.json")["update"]
    assert update["largest_difference_of_grad_norm"] < 1e-4
    assert update["num_steps_with_equal_reward"] == update["num_steps"] == 10
    assert "first ten steps have the same rewards" in " ".join((ROOT / "docs" / "forest.md").read_text().split())


OF_BEFORE = ("train_step.json",)
"""Measured when a result in the tree still made the next one `-dirty`, and an hour to measure again."""


@pytest.mark.parametrize("path", sorted((ROOT / "bench" / "results").glob("*.json")), ids=page_id)
def test_every_result_names_its_day_its_commit_and_its_machine(path: Path):
    whole = json.loads(path.read_text())
    found = whole["provenance"]
    if path.name in OF_BEFORE:
        return
    date.fromisoformat(found.get("date") or whole["date"])
    assert re.fullmatch("[0-9a-f]{40}", found["git_commit"]), "a clean tree"
    assert found["platform"] and found["num_cpus"]


def test_every_result_is_on_the_results_page():
    text = (ROOT / "docs" / "results.md").read_text()
    missing = [path.name for path in (ROOT / "bench" / "results").glob("*.json") if f"`{path.name}`" not in text]
    assert missing == []


@pytest.mark.parametrize("path", sorted((ROOT / "bench" / "results").glob("*.json")), ids=page_id)
def test_no_result_names_a_place_of_the_machine_that_wrote_it(path: Path):
    assert not re.search(r"(?<![\w.])/(?:work|root|home|tmp)/", path.read_text())
