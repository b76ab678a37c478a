"""The pages: links lead somewhere, commands exist, the configuration is that of today, figures are those of files."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from rft.config import load_config
from rft.config_parser import parse_config
from rft.eval.config import ComparisonConfig

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
        lines = [line.split("    #")[0].strip() for block in blocks for line in block.splitlines()]
        found += [line for line in (*lines, *re.findall(r"`([^`\n]+)`", text)) if COMMAND.match(line)]
    return sorted(set(found))


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
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs" / "make_configuration.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (ROOT / "docs" / "configuration.md").read_text() == script.page(), "python docs/make_configuration.py"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def result(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((ROOT / "bench" / "results" / name).read_text())
    return found


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_the_demo_s_table_is_that_of_its_file(page: str):
    seeds = result("demo.json")["seeds"]
    assert isinstance(seeds, dict)
    text = (ROOT / page).read_text()
    for seed, run in seeds.items():
        gap = f"{run['max_logprob_gap']:.1e}".replace("e-0", "e-")
        row = (
            f"| {seed} | {run['accuracy_before']:.3f} | {run['accuracy_after']:.3f} | {run['num_steps']} | "
            f"{run['wall_seconds']:.0f} | {gap} | {run['prefix_cache_hit_rate']:.0%} |"
        )
        assert row in text


def test_every_result_is_on_the_results_page():
    text = (ROOT / "docs" / "results.md").read_text()
    missing = [path.name for path in (ROOT / "bench" / "results").glob("*.json") if f"`{path.name}`" not in text]
    assert missing == []
