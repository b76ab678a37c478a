"""What can be known before anything is paid: checks, the estimate, a preview; and that mistakes cost one line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rft.assembly.filler import full_filler
from rft.config_parser import parse_config
from rft.make_data import main, parse_data_arguments
from rft.making.actions import STAGE_KEYS, STAGE_PROMPTS, check_config, listed_models, settings_of_stages, validate
from rft.making.calls import STAGES
from rft.making.config import BudgetConfig, MakingConfig, ModelSource
from rft.making.dataset import filler_of
from rft.making.estimate import estimate
from rft.making.prompts import PROMPTS
from rft.making.rounds import candidates_of_first_round
from rft.making.seeds import rng_of
from rft.making.spending import Spending, Unfinished
from tests.unit.chat.endpoint_server import Server, error
from tests.unit.making.conftest import Make
from tests.unit.making.writer import Writer

ROOT = Path(__file__).parents[3]
Load = Callable[..., MakingConfig]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.judges=[]", "stages.judges: name at least one model"),
        ("stages.questions=poet", "stages.questions: there is no models.poet; models has ['writer']"),
        ("stages.judges=[writer, judge]", "stages.judges[1]: there is no models.judge"),
        ("models.writer.endpoint.model=null", "models.writer.endpoint.model: say by which name"),
        ("models.writer.endpoint.modle=x", "unknown config key 'models.writer.endpoint.modle'; did you mean"),
        ("models.writer.endpoint.concurrency=x", "config key 'models.writer.endpoint.concurrency': Input should be"),
        ("splits.train.personas=0", "splits.train.personas: 6 questions need at least one persona"),
        ("splits={train: {questions: 0}}", None),
        ("history.windows={}", None),
        ("history.windows={64k: 5}", "config key 'history.windows': Input should be '32k' or '128k'"),
        ("history.filler=none.jsonl", "history.filler: none.jsonl cannot be read"),
        ("budget.candidates_per_persona=3", "budget.candidates_per_persona = 3 gives 0 candidates for"),
        ("prompts.hints=file.txt", "config key 'prompts': Input should be"),
        ("prompts.hint=none.txt", "prompts.hint: none.txt cannot be read"),
        ("seed_sentences=none.txt", "seed_sentences: none.txt cannot be read"),
        ("kinds={stereotypical_pref: 0, anti_stereotypical_pref: 0, neutral_preferences: 0, therapy_background: 0, "
         "health_and_medical_conditions: 0, ask_to_forget: 0, sensitive_info: 0}", "kinds: every weight is 0"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_costs_nothing(
    writer: Writer, config_file: Make, capsys: pytest.CaptureFixture[str], override: str, words: str | None
):
    status = main(["llm", "validate", str(config_file()), override])
    said = capsys.readouterr().err
    if words is not None:
        assert status == 2 and said.startswith("error: ") and words in said and said.count("\n") == 1
    assert not writer.seen


def test_the_example_config_is_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-a-key-of-the-test")
    config: MakingConfig = parse_config(MakingConfig, ROOT / "configs/making/people.yaml", [])
    assert check_config(config) == PROMPTS
    assert sum(part.requests for part in estimate(config, PROMPTS, candidates_of_first_round(config))) > 10_000


def test_validate_says_what_it_will_cost_and_asks_no_model(
    server: Server, writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["llm", "validate", str(config_file())]) == 0
    said = capsys.readouterr().out
    assert "model scripted answers, and does not list its models" in said
    assert "one round: about" in said and "budget.max_cost: no limit" in said
    assert not writer.seen and not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"object": "list", "data": [{"id": "a"}, {"id": 3}]}', ["a", "3"]),
        (b'{"object": "list"}', []),
        (b'{"data": "none"}', []),
        (b'{"data": null}', []),
        (b"[]", []),
        (b"<html>", []),
        (b"\xff", []),
    ],
)
def test_whatever_an_endpoint_lists_is_read(body: bytes, names: list[str]):
    assert listed_models(body) == names


def test_a_model_that_no_stage_names_need_not_be_there(load: Load):
    absent = "models.other={endpoint: {model: m, base_url: 'http://127.0.0.1:9/v1'}}"
    assert "one round: about" in validate(load(absent))


def test_validate_refuses_an_endpoint_where_nobody_is(config_file: Make, capsys: pytest.CaptureFixture[str]):
    assert main(["llm", "validate", str(config_file()), "models.writer.endpoint.base_url=http://127.0.0.1:9/v1"]) == 2
    assert "http://127.0.0.1:9/v1, model scripted: " in capsys.readouterr().err


def test_the_estimate_counts_the_requests_of_a_first_round_in_which_nothing_fails(load: Load):
    config = load()
    slots = candidates_of_first_round(config)
    parts = {part.stage: part for part in estimate(config, PROMPTS, slots)}
    assert parts["personas"].requests == 3 and parts["conflicts"].requests == 3
    assert parts["questions"].requests == len(slots)
    secrets = sum(slot.source is None for slot in slots)
    assert secrets and parts["checks"].requests == (3 + 2 * 2) * (len(slots) - secrets), "nobody judges a secret"
    assert parts["questions"].cost(config) == pytest.approx(
        (parts["questions"].prompt_tokens + 2 * parts["questions"].completion_tokens) / 1e6
    )
    fewer = {part.stage: part for part in estimate(load("filters.use=[hint]"), PROMPTS, slots)}
    assert set(parts) - set(fewer) == {"conflicts", "options"}
    assert fewer["checks"].requests == len(slots) - secrets


def test_a_limit_of_money_needs_a_price(load: Load):
    config = load("models.writer.price_in=0", "budget.max_cost=3")
    assert check_config(config) == PROMPTS, "one of the two is a price"
    with pytest.raises(ValueError, match=r"budget.max_cost: no model has a price"):
        check_config(load("models.writer.price_in=0", "models.writer.price_out=0", "budget.max_cost=3"))


def test_personas_of_a_split_without_questions_are_neither_made_nor_counted(load: Load):
    splits = {"train": {"personas": 9}, "val": {"personas": 1, "questions": 4}}
    config = load("preferences_per_request=60", splits=splits)
    slots = candidates_of_first_round(config)
    parts = {part.stage: part for part in estimate(config, PROMPTS, slots)}
    assert parts["personas"].requests == parts["conflicts"].requests == 1
    assert {slot.persona for slot in slots} == {9}
    assert parts["preferences"].requests <= 5


def test_a_preview_shows_a_few_candidates_and_is_not_paid_for_again(
    writer: Writer, config_file: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = config_file()
    assert main(["llm", "preview", str(config), "--rows", "5"]) == 0
    page = (tmp_path / "made/preview.html").read_text()
    assert page.count("<article>") == 5 and "<script" not in page and "Polish this:" in page
    previewed = set(writer.seen)
    assert main(["llm", "create", str(config)]) == 0
    assert all(writer.seen[sent] == 1 for sent in previewed)


@pytest.mark.parametrize(
    ("words", "overrides"),
    [
        (["preview", "c.yaml", "--rows", "2", "seed=3", "domain=a bank"], ["seed=3", "domain=a bank"]),
        (["preview", "c.yaml", "seed=3", "--rows", "2", "seed=4"], ["seed=3", "seed=4"]),
        (["preview", "c.yaml", "--rows", "2", "seed"], None),
        (["preview", "c.yaml", "--row=2", "--many=2"], None),
    ],
)  # fmt: skip
def test_overrides_may_stand_on_both_sides_of_an_option(words: list[str], overrides: list[str] | None):
    if overrides is None:
        with pytest.raises(SystemExit):
            parse_data_arguments(["llm", *words])
        return
    found = parse_data_arguments(["llm", *words])
    assert (found.overrides, found.rows) == (overrides, 2)


def test_the_page_shows_markup_of_a_model_as_text(writer: Writer, config_file: Make, tmp_path: Path):
    plain = writer.PersonaReply

    def persona(prompt: str, body: dict[str, Any], rng: Any) -> dict[str, Any]:
        return plain(prompt, body, rng) | {"job": "<img src=x onerror=alert(1)>"}

    writer.PersonaReply = persona  # type: ignore[method-assign]
    assert main(["llm", "preview", str(config_file()), "--rows", "1"]) == 0
    page = (tmp_path / "made/preview.html").read_text()
    assert "<img" not in page and "&lt;img src=x" in page


def test_a_key_that_is_refused_ends_it_in_one_line(
    server: Server, config_file: Make, capsys: pytest.CaptureFixture[str]
):
    server.answers = [error(401, "Incorrect API key provided")]
    assert main(["llm", "create", str(config_file())]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Incorrect API key" in said


def test_each_stage_depends_on_its_own_prompts_models_and_keys(load: Load):
    assert set(STAGE_KEYS) == set(STAGE_PROMPTS) == set(STAGES)
    assert sorted(name for names in STAGE_PROMPTS.values() for name in names) == sorted(PROMPTS)
    before = settings_of_stages(load(), PROMPTS)

    def touched(*overrides: str, **prompts: str) -> list[str]:
        after = settings_of_stages(load(*overrides), PROMPTS | prompts)  # type: ignore[arg-type]
        return [stage for stage in STAGES if after[stage] != before[stage]]

    assert touched("seed=3") == ["personas"]
    assert touched("domain=a pharmacy") == list(STAGES)
    assert touched("filters.option_orders=3") == []
    assert touched("stages.judges=[writer, writer]") == ["checks"]
    assert touched("filters.use=[lengths]") == []
    assert touched("filters.use=[hint]") == ["options"]
    assert touched("models.writer.price_in=9", "budget.max_cost=1", "history.windows={32k: 9}") == []
    assert touched(question_others="?") == ["questions"]
    assert touched("models.writer.endpoint.model=other") == list(STAGES)
    assert touched("models.writer.endpoint.options={reasoning: {effort: low}}") == list(STAGES)


def test_filler_of_ones_own(load: Load, tmp_path: Path):
    assert filler_of(load()) is full_filler
    file = tmp_path / "filler.jsonl"
    pairs = [{"user": f"question {number}", "assistant": f"answer {number}"} for number in range(4)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    draw = filler_of(load(f"history.filler={file}"))
    found = Counter(draw(rng_of(0, number)) for number in range(200))
    assert set(found) == {(pair["user"], pair["assistant"]) for pair in pairs}
    file.write_text('\ufeff{"user": "half \\ud800", "assistant": "bell\\u0007"}\n')
    assert filler_of(load(f"history.filler={file}"))(rng_of(0)) == ("half", "bell"), "what no file can hold is left out"
    file.write_text('{"user": "only"}\n')
    with pytest.raises(ValueError, match="line 1 is no object with texts"):
        check_config(load(f"history.filler={file}"))


def test_money_that_may_be_needed_is_held_until_it_is_known():
    spending = Spending(BudgetConfig(max_cost=1.0), {"m": ModelSource(price_in=10.0, price_out=100.0)})
    spending.hold("m", 10_000, 5_000)  # at most 0.6
    assert spending.held_cost == pytest.approx(0.6)
    spending.settle("m", (10_000, 5_000), (10_000, 1_000))
    assert spending.cost == pytest.approx(0.2) and spending.held_cost == pytest.approx(0.0)
    spending.hold("m", 30_000, 5_000)
    spending.settle("m", (30_000, 5_000), (30_000, 5_000))
    with pytest.raises(Unfinished, match="budget.max_cost = 1.0 leaves no room"):
        spending.hold("m", 1, 1)
