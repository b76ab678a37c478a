"""The folder of one system's answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rft.eval.answer_folder import add_counters, check_settings


def test_answers_of_other_settings_are_not_added_to(tmp_path: Path):
    folder = tmp_path / "demo" / "memory"
    check_settings(folder, {"protocol": "boxed", "temperature": 0.0})
    check_settings(folder, {"protocol": "final_answer"})  # nothing was answered yet
    (folder / "predictions.jsonl").write_text("{}\n")
    check_settings(folder, {"protocol": "final_answer"})
    with pytest.raises(ValueError, match="another protocol, temperature; remove it"):
        check_settings(folder, {"protocol": "boxed", "temperature": 0.0})
    # Which judge read the answers does not change them.
    (folder / "settings.json").write_text(json.dumps({"protocol": "final_answer", "judge": "j"}))
    check_settings(folder, {"protocol": "final_answer"})


def test_counters_add_up_over_interruptions(tmp_path: Path):
    path = tmp_path / "counters.json"
    for _ in range(2):
        add_counters(path, {"prompt_tokens": 5, "generated_tokens": 1})
    assert json.loads(path.read_text()) == {"prompt_tokens": 10, "generated_tokens": 2}
