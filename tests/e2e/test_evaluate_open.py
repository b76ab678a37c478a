"""Open-ended answers and their judge, from the command line to results.json, for the data sets that have them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rft import evaluate
from rft.eval.results import read_results
from tests.unit.chat.endpoint_server import Response, Server, chat, scripted_endpoint
from tests.unit.data.builder import write_dataset
from tests.unit.data.readers.test_locomo_plus import ITEM as CUE
from tests.unit.data.readers.test_locomo_plus import write as write_locomo_plus
from tests.unit.data.readers.test_longmemeval import ITEM


def respond(body: dict[str, Any]) -> Response:
    """A model that says jazz, and a judge who likes that better when it reads the preference first."""
    if body["model"] == "talker":
        return chat("<think>Let me see.</think>Some jazz.")
    text = body["messages"][-1]["content"]
    assert "Let me see" not in text
    known, reply = text.index("What is known of the user"), text.index("The reply")
    return chat("Fits. \\boxed{0.8}" if known < reply else "Fits. \\boxed{0.6}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        made.answer = respond
        yield made


def settings(folder: Path, server: Server, **compare: Any) -> str:
    endpoint = {"base_url": server.url, "max_retries": 0}
    config = {
        "output_dir": str(folder / "out"),
        "system": "full_history,no_history",
        "data": {"source": str(folder / "data"), "train_split": "paper"},
        "compare": {
            "answers": "open",
            "endpoint": endpoint | {"model": "talker"},
            "judge": {"endpoint": endpoint | {"model": "judge"}},
            **compare,
        },
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return str(folder / "run.yaml")


def test_answers_are_judged_in_both_layouts(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]):
    write_dataset(tmp_path / "data", {"train": (1,), "val": (2, 3), "benchmark": (4,)})
    assert evaluate.main([settings(tmp_path, server)]) == 0
    folder = tmp_path / "out" / "evaluation" / "personamem_v2-32k-val-open"
    results = read_results(folder / "results.json")
    for row in results.systems:
        assert row.result.overall.n == 6 and row.result.overall.accuracy == pytest.approx(0.7)
        assert row.result.parse_rate == 1.0 and row.result.letters == {}
        assert row.judge is not None and row.judge.model == "judge"
        assert (row.judge.num_verdicts, row.judge.num_invalid) == (12, 0)
        assert row.judge.layout_gap == pytest.approx(0.2)
    full, alone = results.systems
    assert full.difference is not None and full.difference.mean == 0
    assert alone.cost.prompt_tokens_mean == 12
    assert "full_history" in capsys.readouterr().out
    num_asked = len(server.asked)
    assert num_asked == 2 * 6 * 3
    assert evaluate.main([settings(tmp_path, server)]) == 0
    assert len(server.asked) == num_asked, "nothing is asked twice"
    # No options are shown, and the chat is the history's.
    asked = next(body for body in server.asked if body["model"] == "talker" and len(body["messages"]) > 3)
    assert "(a)" not in asked["messages"][-1]["content"]
    assert {message["role"] for message in asked["messages"]} == {"system", "user", "assistant"}


def test_longmemeval_is_judged_by_its_gold_answer(tmp_path: Path, server: Server):
    (tmp_path / "data").mkdir()
    items = [ITEM | {"question_id": f"q{n}"} for n in range(3)]
    (tmp_path / "data" / "longmemeval_s.json").write_text(json.dumps(items))
    systems = "system=full_history,evidence_only"
    assert evaluate.main([settings(tmp_path, server), "data.format=longmemeval", systems]) == 0
    results = read_results(tmp_path / "out" / "evaluation" / "longmemeval_s-benchmark-open" / "results.json")
    assert [row.result.overall.n for row in results.systems] == [3, 3]
    judged = [body["messages"][-1]["content"] for body in server.asked if body["model"] == "judge"]
    assert all("What is known of the user:\n7" in text for text in judged)
    assert list(results.systems[0].result.groups["question_type"]) == ["knowledge-update"]


def test_locomo_plus_is_judged_by_its_cue(tmp_path: Path, server: Server):
    (tmp_path / "data").mkdir()
    write_locomo_plus(tmp_path / "data", [CUE, CUE, CUE])
    systems = "system=full_history,bm25,evidence_only,no_history"
    assert evaluate.main([settings(tmp_path, server), "data.format=locomo_plus", systems]) == 0
    results = read_results(tmp_path / "out" / "evaluation" / "locomo_plus-benchmark-open" / "results.json")
    assert [row.result.overall.n for row in results.systems] == [3, 3, 3, 3]
    assert list(results.systems[0].result.groups["relation_type"]) == ["causal"]
    judged = [body["messages"][-1]["content"] for body in server.asked if body["model"] == "judge"]
    assert all("A wasp stung me at the fair." in text for text in judged)
    alone = [body["messages"][-1] for body in server.asked if len(body["messages"]) == 2 and body["model"] == "talker"]
    assert len(alone) == 3 and all("A wasp" not in message["content"] for message in alone)


def test_a_judge_that_is_gone_costs_one_line_and_the_answers_stay(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    write_dataset(tmp_path / "data", {"train": (1,), "val": (2, 3), "benchmark": (4,)})
    server.answer = lambda body: respond(body) if body["model"] == "talker" else (500, "{}")
    assert evaluate.main([settings(tmp_path, server), "system=no_history"]) == 2
    assert "model judge" in capsys.readouterr().err
    server.answer = respond
    assert evaluate.main([settings(tmp_path, server), "system=no_history"]) == 0
    talked = [body for body in server.asked if body["model"] == "talker"]
    assert len(talked) == 6
