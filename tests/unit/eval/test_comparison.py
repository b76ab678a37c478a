"""The whole command behind a small endpoint: any task, any data, and mistakes told before anything is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedTokenizerBase

from rft import evaluate
from rft.config import Config
from rft.data.dataset import Dataset
from rft.data.prompts import PlainWording
from rft.eval.results import Results, SystemResult, read_results
from rft.tasks.single_turn import SingleTurnTask
from tests.unit.chat.endpoint_server import Response, Server, chat, scripted_endpoint
from tests.unit.data.builder import TEMPLATES, make_tokenizer

EXACT = "tests.unit.eval.builder:exact"
PLACES = {"Oslo": "north", "Rome": "south", "Lima": "west"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with scripted_endpoint(monkeypatch) as made:
        made.answer = find_town
        yield made


def find_town(body: dict[str, Any]) -> Response:
    """Reads the town out of the context; without one it has none to say."""
    text = " ".join(message["content"] for message in body["messages"])
    return chat(next((town for town in PLACES if f"is {town}." in text), "None."))


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_data(folder: Path, **changes: Any) -> None:
    """Two questions about each of three texts."""
    folder.mkdir()
    write_jsonl(
        folder / "contexts.jsonl", [{"context_id": n, "text": f"The town is {town}."} for town, n in PLACES.items()]
    )
    write_jsonl(folder / "questions.jsonl", [
        {"context_id": n, "query": f"Which town, {k}?", "answer": town, "tags": {"place": n}, "split": "test"} | changes
        for town, n in PLACES.items() for k in range(2)
    ])  # fmt: skip


def compare(folder: Path, server: Server, *overrides: str, **sections: Any) -> int:
    endpoint = {"base_url": server.url, "model": "m", "max_retries": 0, "concurrency": 1}
    config: dict[str, Any] = {
        "output_dir": str(folder / "out"),
        "task": "qa",
        "reward": {"function": EXACT},
        "data": {"format": "jsonl", "source": str(folder / "towns")},
        "compare": {"endpoint": endpoint},
    }
    for name, value in sections.items():
        config[name] = {**config.get(name, {}), **value} if isinstance(value, dict) else value
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return evaluate.main([str(folder / "run.yaml"), *overrides])


def results_of(folder: Path, name: str = "jsonl-towns-test") -> Results:
    return read_results(folder / "out" / "evaluation" / name / "results.json")


def by_system(results: Results) -> dict[str, SystemResult]:
    return {row.system: row for row in results.systems}


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    told = capsys.readouterr().err.splitlines()
    (line,) = [line for line in told if line.startswith("error: ")]
    assert told[-1] == line
    return line


def test_a_plain_question_is_compared_by_a_reward_function(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    write_data(tmp_path / "towns")
    assert compare(tmp_path, server) == 0
    told = capsys.readouterr()
    # The evidence is named nowhere, and there are no options.
    assert told.err.count("note: system ") == 5 and "longest_option is left out: it needs options" in told.err
    results = results_of(tmp_path)
    rows = by_system(results)
    assert list(rows) == ["full_history", "no_history", "other_history"]
    full, *controls = rows.values()
    assert [row.result.overall.accuracy for row in (full, *controls)] == [1.0, 0.0, 0.0]
    assert full.result.rewards == {"exact": 1.0} and full.result.chance is None
    assert list(full.result.groups["place"]) == ["north", "south", "west"]
    assert [row.is_control for row in rows.values()] == [False, True, True]
    assert "full_history" in told.out and len(results.data["systems_left_out"]) == 5
    # What was asked is the task's wording.
    assert server.asked[0]["messages"] == [
        {"role": "user", "content": "The town is Oslo."}, {"role": "user", "content": "Which town, 0?"},
    ]  # fmt: skip
    num_asked = len(server.asked)
    assert num_asked == 3 * 6
    assert compare(tmp_path, server) == 0
    assert len(server.asked) == num_asked, "nothing is asked twice"


def test_an_answer_that_no_function_is_for_is_counted(tmp_path: Path, server: Server):
    write_data(tmp_path / "towns")
    server.answer = lambda body: chat("" if "Rome" in str(body) else find_town(body)[1] and "Oslo")
    assert compare(tmp_path, server, "system=full_history") == 0
    (row,) = results_of(tmp_path).systems
    assert (row.result.num_unrated, row.result.overall.n, row.result.overall.accuracy) == (2, 4, 0.5)
    server.answer = lambda body: chat("")
    assert compare(tmp_path, server, "system=no_history") == 2


def test_answers_keep_what_is_needed_to_read_them(tmp_path: Path, server: Server):
    write_data(tmp_path / "towns")
    assert compare(tmp_path, server, "system=full_history") == 0
    folder = tmp_path / "out" / "evaluation" / "jsonl-towns-test" / "m" / "full_history"
    row = json.loads((folder / "predictions.jsonl").read_text().splitlines()[0])
    assert row["reference"] in PLACES and row["tags"].keys() == {"place"} and row["option_order"] == []
    assert (row["reward"], row["parts"], row["parsed"]) == (1.0, {"exact": 1.0}, None)
    settings = json.loads((folder / "settings.json").read_text())
    assert (settings["dataset"], settings["task"], settings["reward.function"]) == ("jsonl-towns", "qa", EXACT)


def test_answers_of_another_reward_are_not_mixed(tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]):
    write_data(tmp_path / "towns")
    assert compare(tmp_path, server, "system=no_history") == 0
    assert compare(tmp_path, server, "system=no_history", "reward.weights=[2.0]") == 2
    assert "made with another reward.weights; remove it, or set compare.label" in last_line(capsys)


def test_a_context_that_cannot_be_used_is_an_error_or_left_out(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    write_data(tmp_path / "towns")
    with (tmp_path / "towns" / "questions.jsonl").open("a") as file:
        file.write(json.dumps({"context_id": "east", "query": "?", "answer": "Baku", "split": "test"}) + "\n")
    assert compare(tmp_path, server) == 2
    assert "east" in last_line(capsys) and server.asked == []
    assert compare(tmp_path, server, "system=no_history", "data.bad_rows=skip") == 0
    results = results_of(tmp_path)
    assert results.num_questions == 6 and sum(results.data["rows_skipped"].values()) == 1


# ------------------------------------------------------------------------------------------------ multiple choice


def test_multiple_choice_in_the_other_wording(tmp_path: Path, server: Server):
    write_data(tmp_path / "towns", incorrect_answers=["Paris", "Bonn"])
    server.answer = lambda body: chat("Final Answer: A")
    protocol = "compare.protocol=final_answer"
    assert (
        compare(tmp_path, server, protocol, "system=no_history,options_only", task="mcq", reward={"function": None})
        == 0
    )
    alone, hidden = results_of(tmp_path).systems
    assert alone.result.letters == {"a": 6} and alone.result.chance == pytest.approx(1 / 3)
    assert alone.result.gold_letters == hidden.result.gold_letters
    assert "Final Answer: [Letter]" in server.asked[0]["messages"][-1]["content"]
    assert any("Which town" not in body["messages"][-1]["content"] for body in server.asked)


def test_rules_need_no_model(tmp_path: Path, server: Server):
    write_data(tmp_path / "towns", incorrect_answers=["Y", "Zu"])
    rules = "system=longest_option,majority_letter"
    absent = {"endpoint": {"model": None}}
    assert compare(tmp_path, server, rules, task="mcq", reward={"function": None}, compare=absent) == 0
    rows = by_system(results_of(tmp_path))
    assert rows["longest_option"].result.overall.accuracy == 1.0
    assert rows["majority_letter"].model == "rules" and server.asked == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("task=mcq", "reward.function=null"),
            "has no options, and task mcq asks for a letter; set compare.answers=open",
        ),
        (("system=longest_option",), "system longest_option needs options, and questions/1 is asked without any"),
        (("system=evidence_only",), "system evidence_only needs evidence"),
        (("eval.split=val",), "has no split 'val'"),
        (("reward.function=tests.unit.eval.builder:absent",), "has no absent"),
        (("system=truncated_history",), "compare.tokenizer: cannot read a tokenizer from m"),
    ],
)
def test_a_mistake_is_told_before_anything_is_asked(
    tmp_path: Path, server: Server, overrides: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
):
    write_data(tmp_path / "towns")
    assert compare(tmp_path, server, *overrides) == 2
    assert message in last_line(capsys) and server.asked == []


def test_a_task_that_reads_a_tokenizer_says_so_where_there_is_none(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
):
    write_data(tmp_path / "towns")
    own = "tests.unit.eval.test_comparison:CountingTask"
    assert compare(tmp_path, server, f"task={own}", "system=no_history") == 2
    assert "reads a tokenizer, and this comparison has none" in last_line(capsys)
    make_tokenizer(TEMPLATES["chatml"]).save_pretrained(tmp_path / "tokenizer")
    counted = f"compare.tokenizer={tmp_path / 'tokenizer'}"
    assert compare(tmp_path, server, f"task={own}", "system=no_history", counted) == 0
    assert server.asked[0]["messages"][0]["content"].startswith("There are ")


class CountingTask(SingleTurnTask):
    """A task of a user's own."""

    def __init__(self, config: Config, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> None:
        super().__init__(config, tokenizer, dataset)
        self.wording = PlainWording(f"There are {len(tokenizer)} tokens.")


# --------------------------------------------------------------------------------------------------------- memories


def test_a_memory_goes_on_in_the_middle_of_a_context(tmp_path: Path, server: Server):
    write_data(tmp_path / "towns")
    make_tokenizer(TEMPLATES["chatml"]).save_pretrained(tmp_path / "tokenizer")
    options = ("system=memory", f"compare.tokenizer={tmp_path / 'tokenizer'}", "memory.chunk_tokens=6")
    written: list[str] = []

    def write(body: dict[str, Any]) -> Response:
        text = body["messages"][-1]["content"]
        if "Memory so far" not in text:
            return find_town(body)
        if len(written) == 4:
            return 500, "{}"
        written.append(text)
        return chat(f"- is {text.split('user: ')[-1][:9]}. {len(written)}")

    server.answer = write
    assert compare(tmp_path, server, *options) == 0
    (row,) = results_of(tmp_path).systems
    assert (row.result.failures["server_error"], row.result.num_unrated) == (4, 4), "two memories are not written"
    folder = tmp_path / "out" / "evaluation" / "jsonl-towns-test" / "m" / "memory"
    before = (folder / "memories.jsonl").read_text().splitlines()
    assert len(before) == 4
    written.append("and on")
    assert compare(tmp_path, server, *options) == 0
    after = [json.loads(line) for line in (folder / "memories.jsonl").read_text().splitlines()]
    turns = [(row["context_id"], row["turn"]) for row in after]
    assert len(turns) == len(set(turns)), "no update is asked for twice"
    assert [json.dumps(row) for row in after[:4]] == before
    (row,) = results_of(tmp_path).systems
    assert row.result.memory is not None and row.result.memory.num_memories == 3
    assert "server_error" not in row.result.failures and row.result.num_unrated == 0
