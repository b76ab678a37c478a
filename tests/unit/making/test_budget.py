"""What a run may cost is a limit, also with many requests in flight and whatever an endpoint says of its tokens."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rft.chat.endpoint import ChatReply
from rft.making.actions import opened
from rft.making.config import BudgetConfig, MakingConfig, ModelSource
from rft.making.estimate import Part
from rft.making.prompts import PROMPTS
from rft.making.report import cost_of_rows
from rft.making.spending import Spending, charged_tokens, cost_of, most_prompt_tokens
from rft.records import Message
from tests.unit.chat.endpoint_server import Response, Server
from tests.unit.making.conftest import Make
from tests.unit.making.test_create import create, rows_of
from tests.unit.making.test_trouble import a_row
from tests.unit.making.writer import Writer

Load = Callable[..., MakingConfig]
MANY = {"train": {"personas": 1, "questions": 20}}


def most_of(body: dict[str, Any]) -> tuple[int, int]:
    """What a request may cost at most, as it is held back for."""
    messages = [Message(role="user", content=one["content"]) for one in body["messages"]]
    return most_prompt_tokens(messages, {"response_format": body["response_format"]}), body["max_tokens"]


class Greedy:
    """The writer behind an endpoint that charges for each request as much as it may; counts what it has charged."""

    def __init__(self, writer: Writer, usage: str) -> None:
        self.writer, self.usage = writer, usage
        self.lock = threading.Lock()
        self.tokens, self.in_flight, self.most_in_flight = 0, 0, 0

    def answer(self, body: dict[str, Any]) -> Response:
        with self.lock:
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        time.sleep(0.01)
        prompt, reply = most_of(body)
        status, text, *_ = self.writer.answer(body)
        found = json.loads(text)
        with self.lock:
            self.tokens += prompt + reply
            self.in_flight -= 1
        found["usage"] = {
            "whole": {"prompt_tokens": prompt, "completion_tokens": reply},
            "total alone": {"prompt_tokens": prompt, "completion_tokens": 1, "total_tokens": prompt + reply},
            "absent": None,
        }[self.usage]
        return status, json.dumps(found)


@pytest.mark.parametrize(("key", "usage"), [("max_cost", "whole"), ("max_tokens", "total alone")])
def test_no_request_goes_beyond_the_limit_with_many_in_flight(
    server: Server, writer: Writer, config_file: Make, capsys: pytest.CaptureFixture[str], usage: str, key: str
):
    greedy = Greedy(writer, usage)
    server.answer = greedy.answer
    config = config_file(splits=MANY)
    config.write_text(config.read_text().replace("concurrency: 4", "concurrency: 32"))
    prices = ("models.writer.price_in=1", "models.writer.price_out=1")
    tokens = 60_000
    limit = tokens if key == "max_tokens" else tokens / 1e6
    assert create(config, f"budget.{key}={limit}", *prices) == 75
    assert f"budget.{key}" in capsys.readouterr().err
    assert greedy.most_in_flight > 4, "many are in flight at once"
    assert tokens - 3_000 < greedy.tokens <= tokens


def test_what_an_endpoint_does_not_count_is_reckoned_and_limited(
    server: Server, writer: Writer, config_file: Make, tmp_path: Any
):
    server.answer = Greedy(writer, "absent").answer
    assert create(config_file(splits=MANY), "budget.max_tokens=60000") == 75
    rows = rows_of(tmp_path / "made")
    assert 50_000 < sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows) <= 60_000
    assert all(row["prompt_tokens"] and row["completion_tokens"] for row in rows)


def test_whoever_waits_for_money_is_not_forgotten():
    """Two requests that fit one after the other, and never together."""
    spending = Spending(BudgetConfig(max_tokens=100), {"m": ModelSource()})
    spending.hold("m", 60, 0)
    waits = threading.Thread(target=spending.hold, args=("m", 60, 0), daemon=True)
    waits.start()
    time.sleep(0.05)
    assert waits.is_alive()
    spending.settle("m", (60, 0), (10, 0))
    waits.join(timeout=10)
    assert not waits.is_alive() and spending.tokens == 10 and spending.held_tokens == 60


def test_a_price_is_reckoned_in_one_way_everywhere(load: Load):
    config = load("models.writer.price_in=0.25", "models.writer.price_out=2.0")
    source = config.models["writer"]
    assert cost_of(source, 3_000_000, 500_000) == pytest.approx(0.75 + 1.0)
    part = Part(stage="s", model="writer", requests=1, prompt_tokens=3_000_000, completion_tokens=500_000)
    assert part.cost(config) == cost_of(source, 3_000_000, 500_000)
    rows = [a_row(f"p{number}", tokens=(300_000, 50_000)) for number in range(10)]
    whole = config.models | {"m": source}
    assert cost_of_rows(MakingConfig(models=whole), rows) == pytest.approx(1.75)
    spending = Spending(config.budget, whole)
    for row in rows:
        spending.add(row)
    assert spending.cost == pytest.approx(1.75)


def test_what_was_spent_before_counts(writer: Writer, config_file: Make, load: Load):
    assert create(config_file(splits=MANY)) in (0, 1)
    config = load(splits=MANY)
    with opened(config, PROMPTS) as caller:
        rows = [row for found in caller.calls.rows.values() for row in found]
        assert caller.spending.tokens == 16 * len(rows)
        assert caller.spending.cost == pytest.approx(cost_of_rows(config, rows))


def test_a_reply_that_is_charged_more_than_was_held_is_counted_in_full():
    reply = ChatReply(text="x", cut_off=False, prompt_tokens=50_000, completion_tokens=9)
    assert charged_tokens(reply, (100, 300), ModelSource()) == (50_000, 9)
