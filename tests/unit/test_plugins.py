"""A user's own code, by its dotted path: found in the current folder, and every mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.plugins import choose, load_dotted


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return tmp_path


def test_a_module_in_the_current_folder_is_found(folder: Path):
    (folder / "own_rewards_1.py").write_text("class Mine:\n    inner = 3\n")
    assert load_dotted("reward.function", "own_rewards_1:Mine").__name__ == "Mine"
    assert load_dotted("reward.function", "own_rewards_1:Mine.inner") == 3


@pytest.mark.parametrize("path", ["own", "own:", ":Mine", "own.:Mine", "own/rewards:Mine", "own:Mine()", "own:a-b"])
def test_what_is_no_dotted_path_is_refused(path: str):
    with pytest.raises(ValueError, match=r"task: '.*' is not of the form package\.module:Name"):
        load_dotted("task", path)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (None, "own_absent:Mine", "cannot import own_absent .ModuleNotFoundError"),
        ("import does_not_exist_now", "own_rewards_2:Mine", "does_not_exist_now.*current folder and on PYTHONPATH"),
        ("def (", "own_rewards_3:Mine", "cannot import own_rewards_3 .SyntaxError"),
        ("1 / 0", "own_rewards_4:Mine", "ZeroDivisionError"),
        ("x = 1", "own_rewards_5:Mine", "own_rewards_5 has no Mine"),
    ],
)
def test_what_cannot_be_loaded_is_named_with_its_key(folder: Path, text: str | None, path: str, message: str):
    if text is not None:
        (folder / f"{path.partition(':')[0]}.py").write_text(text)
    with pytest.raises(ValueError, match=f"^data.format: .*{message}") as caught:
        load_dotted("data.format", path)
    assert "\n" not in str(caught.value)


def test_a_known_name_comes_first_and_an_unknown_one_lists_the_known():
    assert choose("task", "mcq", {"mcq": 1}) == 1
    with pytest.raises(ValueError, match="task: unknown 'mqc'; choose of mcq, qa, or name your own"):
        choose("task", "mqc", {"mcq": 1, "qa": 2})
