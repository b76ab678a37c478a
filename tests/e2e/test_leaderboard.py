"""The leaderboard's protocol from the shipped config to results.json, behind servers that do and do not take it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rft import evaluate
from rft.data.chat_template import ChatTemplate
from rft.eval.results import Results, read_results
from tests.unit.chat.endpoint_server import Response, Server, chat, error, scripted_endpoint
from tests.unit.data.builder import TEMPLATES, make_row, make_tokenizer, write_csv, write_dataset
from tests.unit.data.readers.test_perma import QUESTION as PERMA_QUESTION
from tests.unit.data.readers.test_perma import write as write_perma

CONFIG = str(Path(__file__).parents[2] / "configs" / "eval" / "leaderboard.yaml")


BUDGET = 60
"""Tokens of the messages that BM25 may show."""


def respond(body: dict[str, Any]) -> Response:
    """A model that always takes the second option, and a judge who is not quite content."""
    if body["model"] == "judge":
        return chat("Close. \\boxed{0.7}")
    shows_options = "Final Answer: [Letter]" in body["messages"][-1]["content"]
    return chat("I weigh them.\nFinal Answer: [B]" if shows_options else "Some jazz.")


def respond_without_system_at_the_end(body: dict[str, Any]) -> Response:
    if body["messages"][-1]["role"] == "system":
        return 400, '{"error": {"message": "System message must be at the beginning."}}'
    return respond(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        made.answer = respond
        yield made


def run(folder: Path, server: Server, *overrides: str, out: str = "out") -> int:
    return evaluate.main(arguments(folder, server, *overrides, out=out))


def arguments(folder: Path, server: Server, *overrides: str, out: str = "out") -> list[str]:
    """Of the command; a data set and a tokenizer are written where there are none."""
    if not (folder / "data").exists():
        write_dataset(folder / "data", {"train": (1,), "val": (2,), "benchmark": (3, 4)})
        make_tokenizer(TEMPLATES["chatml"]).save_pretrained(folder / "tokenizer")
    return [
        CONFIG, f"output_dir={folder / out}", f"data.source={folder / 'data'}", "data.revision=null",
        f"compare.endpoint.base_url={server.url}", "compare.endpoint.model=m", "compare.endpoint.max_retries=0",
        f"compare.tokenizer={folder / 'tokenizer'}", f"compare.retrieval_max_tokens={BUDGET}",
        "compare.retrieval_window=1", "compare.retrieval_overlap=0", *overrides,
    ]  # fmt: skip


def results_of(folder: Path, name: str) -> Results:
    return read_results(folder / "out" / "evaluation" / name / "results.json")


def test_options_stand_in_a_system_message_behind_the_question(tmp_path: Path, server: Server):
    assert run(tmp_path, server) == 0
    results = results_of(tmp_path, "personamem_v2-32k-benchmark-leaderboard")
    rows = {row.system: row for row in results.systems}
    assert list(rows) == ["full_history", "bm25", "no_history"]
    for row in rows.values():
        assert (row.result.overall.n, row.result.letters) == (6, {"b": 6})
        assert row.result.overall.accuracy == row.result.gold_letters.get("b", 0) / 6
        assert (row.settings["compare.protocol"], row.result.closed_by) == ("leaderboard", {"system": 6})
    assert all(body["temperature"] == 0 for body in server.asked)
    histories = [body["messages"][:-2] for body in server.asked]
    for body in server.asked:
        *history, query, options = body["messages"]
        assert (query["role"], options["role"]) == ("user", "system")
        assert "\nA. " in options["content"] and "\nA. " not in query["content"] and "What's next?" in query["content"]
        assert all(message["role"] != "system" for message in history), "neither a system line nor the persona card"
    assert sorted(map(len, histories))[:6] == [0] * 6 and sorted(map(len, histories))[-6:] == [11] * 6
    found = [history for history in histories if 0 < len(history) < 11]
    tokenizer = ChatTemplate(make_tokenizer(TEMPLATES["chatml"]))
    sizes = [sum(map(len, tokenizer.encode([message["content"] for message in history]))) for history in found]
    assert len(found) == 6 and max(sizes) <= BUDGET


def test_another_run_asks_the_same(tmp_path: Path, server: Server):
    asked = []
    for out in ("one", "two"):
        assert run(tmp_path, server, "system=no_history", out=out) == 0
        asked.append(sorted(str(body["messages"]) for body in server.asked))
        server.asked.clear()
    assert asked[0] == asked[1] and len(asked[0]) == 6


def test_perma_is_asked_in_the_same_way(tmp_path: Path, server: Server):
    write_perma(tmp_path / "perma", {f"SD-Books-task-{n}_2": PERMA_QUESTION for n in range(4)})
    perma = ("data.format=perma", f"data.source={tmp_path / 'perma'}", "system=full_history,no_history")
    assert run(tmp_path, server, *perma) == 0
    full, alone = results_of(tmp_path, "perma-c-benchmark-leaderboard").systems
    for row in (full, alone):
        assert (row.result.overall.n, row.result.closed_by) == (4, {"system": 4})
        assert row.result.chance == pytest.approx(1 / 3) and list(row.result.groups["stage"]) == ["in_time"]
    assert "\nC. " in server.asked[0]["messages"][-1]["content"]


def test_a_server_that_takes_no_system_message_there_gets_them_in_the_user_s_and_the_results_say_so(
    tmp_path: Path, server: Server
):
    server.answer = respond_without_system_at_the_end
    assert run(tmp_path, server, "system=no_history") == 0
    (row,) = results_of(tmp_path, "personamem_v2-32k-benchmark-leaderboard").systems
    assert (row.result.closed_by, row.result.letters) == ({"user": 6}, {"b": 6})
    query = server.asked[-1]["messages"][-1]["content"]
    assert query.index("What's next?") < query.index("\nA. ")


def test_open_answers_are_judged_once_and_kept_apart(tmp_path: Path, server: Server):
    judge = (f"compare.judge.endpoint.base_url={server.url}", "compare.judge.endpoint.model=judge")
    assert run(tmp_path, server, "system=no_history", "compare.answers=open", *judge) == 0
    (row,) = results_of(tmp_path, "personamem_v2-32k-benchmark-leaderboard-open").systems
    assert row.result.overall.accuracy == pytest.approx(0.7) and row.result.closed_by == {}
    assert row.judge is not None and (row.judge.num_verdicts, row.judge.layout_gap) == (6, None)
    asked = [body for body in server.asked if body["model"] == "m"]
    judged = [body["messages"][-1]["content"] for body in server.asked if body["model"] == "judge"]
    assert len(asked) == len(judged) == 6
    assert all(len(body["messages"]) == 1 and "\nA. " not in body["messages"][0]["content"] for body in asked)
    assert all("Likes jazz" in text and "Some jazz." in text for text in judged)
    recalled = asked[0]["messages"][0]["content"].rsplit("\n", 1)[-1]
    assert all(recalled not in text for text in judged), "the judge reads the query as the data set has it"


def test_the_letters_do_not_follow_the_order_of_the_rows(tmp_path: Path, server: Server):
    shown = []
    for out in ("one", "two"):
        assert run(tmp_path, server, "system=no_history", out=out) == 0
        shown.append({body["messages"][0]["content"]: body["messages"][1]["content"] for body in server.asked})
        server.asked.clear()
        write_csv(tmp_path / "data", "benchmark", [make_row(persona, n) for persona in (4, 3) for n in (2, 1, 0)])
    assert shown[0] == shown[1] and len(shown[0]) == 6


def test_a_run_that_is_killed_goes_on_and_asks_nothing_twice(tmp_path: Path, server: Server):
    running: list[subprocess.Popen[bytes]] = []

    def kill_at_the_fifth(body: dict[str, Any]) -> Response:
        if len(server.asked) == 5:
            os.kill(running[0].pid, signal.SIGKILL)
        return respond(body)

    server.answer = kill_at_the_fifth
    one_by_one = arguments(tmp_path, server, "system=full_history,no_history", "compare.endpoint.concurrency=1")
    program = [sys.executable, "-m", "rft.evaluate", *one_by_one]
    running.append(subprocess.Popen(program, cwd=Path(CONFIG).parents[2], stderr=subprocess.DEVNULL))
    assert running[0].wait(timeout=300) == -signal.SIGKILL
    folder = tmp_path / "out" / "evaluation" / "personamem_v2-32k-benchmark-leaderboard" / "m"
    answered = [json.loads(line) for line in (folder / "full_history" / "predictions.jsonl").read_text().splitlines()]
    assert len(answered) == 4
    server.answer, server.asked = respond, []
    assert run(tmp_path, server, "system=full_history,no_history") == 0
    assert len(server.asked) == 12 - 4
    for row in results_of(tmp_path, "personamem_v2-32k-benchmark-leaderboard").systems:
        assert (row.result.overall.n, row.result.closed_by) == (6, {"system": 6})
    lines = [json.loads(line) for line in (folder / "full_history" / "predictions.jsonl").read_text().splitlines()]
    assert lines[:4] == answered and len({line["question_id"] for line in lines}) == 6


def test_what_the_judge_does_not_give_is_counted_and_in_no_mean(tmp_path: Path, server: Server):
    judged: list[str] = []

    def answer(body: dict[str, Any]) -> Response:
        if body["model"] != "judge":
            return chat("Some jazz.")
        judged.append(body["messages"][-1]["content"])
        texts = ["\\boxed{0.0}", "\\boxed{1.0}", "Yes.", "\\boxed{0.0} \\boxed{1.0}", ""]
        return chat(texts[len(judged) - 1]) if len(judged) <= len(texts) else error(503, "busy")

    server.answer = answer
    judge = (
        "system=no_history", "compare.answers=open", f"compare.judge.endpoint.base_url={server.url}",
        "compare.judge.endpoint.model=judge", "compare.judge.endpoint.concurrency=1",
        "compare.judge.endpoint.max_retries=0",
    )  # fmt: skip
    assert run(tmp_path, server, *judge) == 0
    (row,) = results_of(tmp_path, "personamem_v2-32k-benchmark-leaderboard-open").systems
    assert row.judge is not None and row.judge.failures == {"no_box": 2, "overloaded": 1, "several_scores": 1}
    assert (row.judge.num_verdicts, row.judge.num_invalid, row.judge.num_unjudged) == (6, 4, 4)
    assert (row.result.overall.n, row.result.overall.accuracy, row.result.num_unrated) == (2, 0.5, 4)
    server.answer = respond
    num_asked = len(server.asked)
    assert run(tmp_path, server, *judge) == 0
    assert len(server.asked) == num_asked + 1, "the one verdict that did not come"
    (row,) = results_of(tmp_path, "personamem_v2-32k-benchmark-leaderboard-open").systems
    assert row.judge is not None and "overloaded" not in row.judge.failures
    assert (row.result.overall.n, row.result.overall.accuracy) == (3, pytest.approx(1.7 / 3))
