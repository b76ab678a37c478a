"""The vLLM engine before there is one; tests/e2e/test_vllm_sync.py has the rest."""

from __future__ import annotations

import subprocess
import sys


def test_vllm_is_imported_only_when_an_engine_is_made() -> None:
    code = "import sys, rft.rollout.vllm_engine; sys.exit('vllm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
