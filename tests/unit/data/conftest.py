"""Fixtures over `builder`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from tests.unit.data.builder import TEMPLATES, make_tokenizer, write_dataset


@pytest.fixture(scope="session")
def tokenizers() -> Callable[[str], PreTrainedTokenizerFast]:
    """The tokenizer with the template of that name, trained once."""
    made = {name: make_tokenizer(template) for name, template in TEMPLATES.items()}
    return made.__getitem__


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """train 1-6, val 3-8 (3-6 in both), benchmark 8-9 (8 in val too); 3 questions each."""
    return write_dataset(tmp_path, {"train": range(1, 7), "val": range(3, 9), "benchmark": (8, 9)})


@pytest.fixture(scope="session")
def sample() -> Path:
    """One real row and two excerpts of real histories."""
    root = Path(__file__).parents[3].parent / "shared" / "data" / "personamem_v2_sample"
    if not root.is_dir():
        pytest.skip("the sample of the real data set is not at ../shared/data/personamem_v2_sample")
    return root


@pytest.fixture(scope="session")
def personamem_v1() -> Path:
    """The released questions of PersonaMem v1, without their contexts."""
    root = Path(__file__).parents[3].parent / "shared" / "data" / "personamem_v1"
    if not root.is_dir():
        pytest.skip("the real questions of PersonaMem v1 are not at ../shared/data/personamem_v1")
    return root


@pytest.fixture(scope="session")
def qwen3() -> str:
    """The folder of Qwen3's tokenizer, named by the environment."""
    folder = os.environ.get("RFT_QWEN3_TOKENIZER", "")
    if not os.path.isdir(folder):
        pytest.skip("RFT_QWEN3_TOKENIZER does not name a folder with Qwen3's tokenizer")
    return folder
