"""Who may write a folder of the cache; test_prepare.py damages whole ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.data.cache_folder import locked


def test_a_place_that_cannot_be_locked_is_one_line(tmp_path: Path):
    """A folder stands where the lock's file would; a file system without locks answers with an error of its own."""
    (tmp_path / "train.lock").mkdir()
    refused = pytest.raises(ValueError, match=r"data\.cache_dir: .* cannot be locked \(Is a directory\); name a folder")
    with refused, locked(tmp_path / "train.lock"):
        raise AssertionError("nobody holds it")


def test_an_error_under_the_lock_is_not_taken_for_one_of_it(tmp_path: Path):
    with pytest.raises(OSError, match="No space left"), locked(tmp_path / "train.lock"):
        raise OSError(28, "No space left on device")
