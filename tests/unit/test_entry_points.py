"""Scripts run by path, from any folder: their own folder comes first on Python's path, and hides nothing of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for path in sorted(ROOT.glob("rft/*.py")) if 'if __name__ == "__main__":' in path.read_text("utf-8")]


# What Python does with a script: its folder comes first, and its name is __main__.
ONE_AFTER_ANOTHER = """
import json, runpy, sys
statuses = {}
for script in sys.argv[1:]:
    sys.path[0], sys.argv = script.rpartition("/")[0], [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        statuses[script] = end.code
print(json.dumps(statuses))
"""


def test_all_run_by_path_through_a_link(tmp_path: Path):
    """In one process, which imports what they have in common once."""
    (tmp_path / "link").symlink_to(ROOT)
    scripts = [str(tmp_path / "link" / "rft" / script.name) for script in SCRIPTS]
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER, *scripts]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(scripts, 0)
    assert done.stdout.count("usage:") == len(scripts) >= 12


AT_ONCE = [
    "audit",
    "doctor",
    "evaluate",
    "make_data",
    "memory_cli",
    "plan",
    "report",
    "review",
    "serve",
    "train",
]


def test_most_speak_before_torch_is_imported():
    """A misspelt key or a wrong path is told in a second, not in six."""
    imports = "; ".join(f"import rft.{name}" for name in AT_ONCE)
    code = f"import sys; {imports}; print(sorted({{'torch', 'transformers', 'vllm'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("way", ["from the root", "from elsewhere", "through a link"])
def test_it_runs_by_path(script: Path, way: str, tmp_path: Path):
    checkout, folder = ROOT, ROOT
    if way != "from the root":
        folder = tmp_path
    if way == "through a link":
        checkout = tmp_path / "link"
        checkout.symlink_to(ROOT)
    command = [sys.executable, str(checkout / "rft" / script.name), "--help"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


def test_no_module_of_the_package_hides_one_of_pythons_own():
    names = {path.stem for path in (ROOT / "rft").iterdir()} - {"__init__", "__pycache__"}
    assert not names & set(sys.stdlib_module_names)
