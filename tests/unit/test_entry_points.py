"""Scripts run by path, from any folder: their own folder comes first on Python's path, and hides nothing of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for path in sorted(ROOT.glob("rft/*.py")) if 'if __name__ == "__main__":' in path.read_text("utf-8")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param("from the root", marks=pytest.mark.slow),
        pytest.param("from elsewhere", marks=pytest.mark.slow),
        "through a link",
    ],
)
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
