"""The planner's command: what it prints, its statuses, and one line on a user's mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from rft.plan import DOES_NOT_FIT, FITS, USERS_MISTAKE, main
from rft.planning import remedies
from tests.unit.planning.small import RECIPE, tiny_shape

SHORT = ["data.max_prompt_length=1000", "rollout.max_completion_length=100"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A plan of a tiny model with the recipe's other settings."""
    tiny_shape().save_pretrained(tmp_path)
    return [RECIPE, f"model.model_name_or_path={tmp_path}", *SHORT]


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a wrong command says; its status is 2 and nothing is planned."""
    try:
        status: int | str | None = main(arguments)
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert status == USERS_MISTAKE
    assert said.out == ""
    assert said.err.startswith("error: ") and said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpus", "0"], "'0' is not a positive whole number"),
        (["--gpus", "-8"], "--gpus"),
        (["--gpus", "1.5"], "'1.5' is not a positive whole number"),
        (["--nodes", "two"], "'two' is not a positive whole number"),
        (["--gpu", "potato"], "no card 'potato'; choose one of a100-80, h100, h200, b200"),
        (["plan.gpu=potato"], "no card 'potato'"),
        (["--memory-gib", "-1"], "is no size of a GPU's memory"),
        (["--memory-gib", "0"], "is no size of a GPU's memory"),
        (["--memory-gib", "nan"], "is no size of a GPU's memory"),
        (["--memory-gib", "inf"], "is no size of a GPU's memory"),
        (["--memory-gib", "much"], "--memory-gib"),
        (["--potato"], "--potato"),
        (["--gpus", "7"], "make it a multiple of 14"),
        (["train.tiled_mpl=true"], "train.tiled_mpl"),
        (["train.deepspeed=nowhere.json"], "train.deepspeed: no file nowhere.json"),
        (["plan.num_questions=3"], "3 training questions are fewer than rollout.questions_per_batch = 32"),
        (["model.model_name_or_path=no/such-model"], "is not on this machine, and a plan downloads nothing"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, command: list[str], capsys: pytest.CaptureFixture[str]):
    assert said in refusal([*command, *arguments], capsys)


def test_a_config_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert "does not exist" in refusal(["configs/nowhere.yaml"], capsys)


def test_a_run_that_fits_has_status_0(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, "--gpus", "8", "--gpu", "h100", "plan.num_questions=3200"]) == FITS
    out = capsys.readouterr().out
    assert out.startswith("planned, not measured: 8 x h100 of 79.1 GiB; DeepSpeed ZeRO-3 on 8 ranks")
    assert "100 rollout batches, 200 optimizer steps" in out
    assert "verdict          fits" in out


def test_the_named_card_wins_over_the_config_s(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, "plan.gpu=b200"]) == FITS
    assert "8 x b200 of 178.3 GiB" in capsys.readouterr().out
    assert main([*command, "plan.gpu=b200", "--gpu", "h200", "--memory-gib", "60"]) == FITS
    assert "8 x h200 of 60.0 GiB" in capsys.readouterr().out


def test_a_run_that_does_not_fit_has_status_1(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(remedies, "MOST_PLANS", 0)
    assert main([*command, "--memory-gib", "2"]) == DOES_NOT_FIT
    out = capsys.readouterr().out
    assert "verdict          does not fit" in out
    assert "would fit        no setting was found that helps" in out


def test_several_machines_are_planned_as_one_run(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, "--gpus", "8", "--nodes", "2"]) == FITS
    assert "2 x 8 x h100" in capsys.readouterr().out
