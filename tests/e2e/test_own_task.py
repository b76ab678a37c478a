"""A task, a reward and a data layout of a user's own, none of them in the package: trained and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from rft import train
from tests.e2e.chain import make_chain_model
from tests.e2e.runs import launch, rows, run, steps

DATA = '''
"""Lines of `country capital`: the countries of a region share one text."""

from pathlib import Path

from rft.data.dataset import Dataset, Split
from rft.records import Context, Message, Question


class Capitals(Dataset):
    splits = ("train", "held_out")
    eval_split = "held_out"
    breakdowns = ("region",)
    strata = ("region",)

    @property
    def name(self):
        return "capitals"

    def lines(self, region):
        return [line.split() for line in Path(self.config.source, f"{region}.txt").read_text().splitlines()]

    def split(self, name):
        self.check_split(name)
        return Split(name=name, questions=tuple(
            Question(
                question_id=f"{region}/{country}", context_id=region, cluster=region, query=f"{country}?",
                correct_answer=capital, tags={"region": region}, columns={"letters": len(capital)},
            )
            for region in self.config.options[name]
            for country, capital in self.lines(region)
        ))

    def context(self, context_id):
        text = " ".join(f"{country} has {capital}." for country, capital in self.lines(context_id))
        return Context(context_id=context_id, messages=(Message(role="user", content=text),))
'''

TASK = '''
"""Asks for a capital; the reply itself is the answer."""

from rft.data.prompts import PlainWording
from rft.records import Score
from rft.tasks.single_turn import SingleTurnTask


class CapitalTask(SingleTurnTask):
    def __init__(self, config, tokenizer, dataset):
        super().__init__(config, tokenizer, dataset)
        self.wording = PlainWording(config.task_options["system_prompt"])

    def own_score(self, attempts):
        return [
            Score(reward=float(attempt.text == attempt.question.correct_answer), parsed=attempt.text)
            for attempt in attempts
        ]

    def outcomes(self, groups):
        return [answer.text for group in groups for rollout in group for answer in rollout.answers]

    def metrics(self, outcomes):
        return {"capitals/different": float(len(set(outcomes)))}
'''

REWARD = '''
def right_length(completions, letters, **kwargs):
    """None where the capital has six letters, to see it left out."""
    return [
        None if length == 6 else float(len(completion[0]["content"]) == length)
        for completion, length in zip(completions, letters)
    ]
'''

REGIONS = {
    "north": ("Norway Oslo", "Sweden Stockholm", "Finland Helsinki", "Latvia Riga"),
    "south": ("Italy Rome", "Spain Madrid", "Greece Athens", "Malta Valletta"),
    "west": ("Peru Lima", "Chile Santiago", "Cuba Havana", "Ecuador Quito"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    for name, code in {"own_data": DATA, "own_task": TASK, "own_reward": REWARD}.items():
        (folder / f"{name}.py").write_text(code)
    (folder / "data").mkdir()
    for region, lines in REGIONS.items():
        (folder / "data" / f"{region}.txt").write_text("\n".join(lines))
    text = " ".join(line for lines in REGIONS.values() for line in lines)
    make_chain_model(folder / "model", [f"Name the capital {text}? has ."], {"\n": ("Oslo", "Riga", "Rome", "Madrid")})
    config = {
        "output_dir": str(folder / "run"),
        "task": "own_task:CapitalTask",
        "task_options": {"system_prompt": "Name the capital."},
        "model": {"model_name_or_path": str(folder / "model")},
        "data": {
            "format": "own_data:Capitals",
            "source": str(folder / "data"),
            "options": {"train": ["north", "south"], "held_out": ["west", "south"]},
            "questions_per_context": 4,
            "max_prompt_length": 256,
            "cache_dir": str(folder / "cache"),
        },
        "reward": {"function": ["task", "own_reward:right_length"], "weights": [1.0, 0.5]},
        "rollout": {"questions_per_batch": 8, "num_generations": 8, "max_completion_length": 8},
        "train": {"learning_rate": 1e-3, "max_steps": 2, "max_logprob_gap": 1e-5},
        "eval": {"num_questions": 0},
        "checkpoint": {"save_steps": 2},
        "log": {"report_to": "none"},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_own_code_is_trained_on_and_evaluated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    launch(folder)
    output = folder / "run"
    trained = steps(output)
    assert [row["step"] for row in trained] == [1, 2]
    for row in trained:
        assert 0 < row["rewards/task/mean"] < row["reward"] < 1.5
        assert row["reward/left_out_ratio"] == 0, "the task's own score is always there"
        assert row["capitals/different"] == 4
        assert row["grad_norm"] > 0
    evals = [row for row in rows(output / "metrics.jsonl") if "eval/accuracy" in row]
    assert [row["step"] for row in evals] == [0, 2]
    assert all({"eval/region/west", "eval/region/south"} <= row.keys() for row in evals)
    result = json.loads((output / "checkpoint-2" / "eval.json").read_text())
    assert result["overall"]["n"] == 8
    assert result["groups"]["region"]["west"]["n"] == 4


def test_own_code_is_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    systems = "system=[full_history,no_history,other_history]"
    table = run([sys.executable, "rft/evaluate.py", str(folder / "run.yaml"), systems])
    assert "full_history" in table and "other_history" in table
    (found,) = (folder / "run" / "evaluation").glob("capitals*/results.json")
    compared = {row["system"]: row["result"] for row in json.loads(found.read_text())["systems"]}
    assert compared.keys() == {"full_history", "no_history", "other_history"}
    for result in compared.values():
        assert result["overall"]["n"] == 8
        assert result["groups"]["region"]["west"]["n"] == 4
        assert result["rewards"].keys() == {"task", "right_length"}
        # One town for every question: right where it is the capital.
        assert result["rewards"]["task"] in (0.0, 1 / 8)


def test_own_code_that_is_absent_costs_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([str(folder / "run.yaml"), "--dry-run"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "own_" in line and "cannot import" in line
