"""Scripts run by path: their folder comes first on Python's path, and rft/types.py must not hide Python's own."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [path for path in sorted(ROOT.glob("rft/*.py")) if 'if __name__ == "__main__":' in path.read_text("utf-8")]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize("way", ["from the root", "from elsewhere", "through a link"])
def test_it_runs_by_path(script: Path, way: str, tmp_path: Path):
    checkout, folder = ROOT, ROOT
    if way != "from the root":
        folder = tmp_path
    if way == "through a link":  # Python resolves it for the path, not for __file__
        checkout = tmp_path / "link"
        checkout.symlink_to(ROOT)
    # -S, because what .pth files import at start-up would hide the fault by having imported `types` already.
    command = [sys.executable, "-S", str(checkout / "rft" / script.name), "--help"]
    environment = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
