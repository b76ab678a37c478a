"""The tests that need a GPU (tests/gpu). The part fails with them; its log names each test and what became of it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # of a file that pytest writes for us  # nosec B405

from gpu_parts.common import Report, Sizes

ROOT = Path(__file__).resolve().parents[2]


def run(report: Report, sizes: Sizes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.xml"
        status = subprocess.run(
            [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", f"--junitxml={file}", "tests/gpu"],
            cwd=ROOT, check=False,
        ).returncode  # fmt: skip
        report.write(status=status, **counted(file))
    if status:
        raise SystemExit(status)


def counted(file: Path) -> dict[str, Any]:
    """How many tests passed, failed and were skipped, and the names of those that failed."""
    cases = list(ElementTree.parse(file).iter("testcase"))  # nosec B314
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    return {
        "passed": len(cases) - len(failed) - len(skipped),
        "failed": [f"{case.get('classname')}::{case.get('name')}" for case in failed],
        "skipped": len(skipped),
    }
