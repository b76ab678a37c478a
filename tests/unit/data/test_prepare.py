from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from rft.config import Config
from rft.data import prepare
from rft.data.dataset import permuted_option_order
from rft.data.formats import open_dataset
from rft.data.prepare import PreparedSplit
from rft.data.prompts import McqWording, PlainWording, Wording, context_messages, gold_letter
from rft.data.readers.personamem_csv import csv_path
from rft.records import Message
from tests.unit.data.builder import (
    CHATML,
    TEMPLATES,
    make_config,
    make_history,
    make_row,
    make_tokenizer,
    write_csv,
    write_dataset,
    write_history,
)


@pytest.fixture(scope="module")
def chatml() -> PreTrainedTokenizerFast:
    return make_tokenizer(CHATML)


def prepared(
    config: Config, tokenizer: PreTrainedTokenizerFast, name: str, wording: Wording | None = None
) -> PreparedSplit:
    return prepare.prepare(config.data, open_dataset(config.data), tokenizer, wording or McqWording(), name)


def whole_prompt(
    config: Config, tokenizer: PreTrainedTokenizerFast, data: PreparedSplit, index: int, order: Any
) -> Any:
    """The plain way: the whole chat through the template and the tokenizer at once."""
    question = data.questions[index]
    context = open_dataset(config.data).context(question.context_id)
    messages = [
        *context_messages(context, McqWording(), config.data.persona_card),
        Message(role="user", content=McqWording().ask(question, order)),
    ]
    chat = [{"role": message.role, "content": message.content} for message in messages]
    return tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True, return_dict=False)


def decode(tokenizer: PreTrainedTokenizerFast, token_ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(token_ids)))


@pytest.mark.parametrize("card", ["drop", "keep"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_prepared_prompt_is_the_whole_chat_tokenised_at_once(
    dataset: Path, tokenizers: Callable[[str], PreTrainedTokenizerFast], template: str, card: str
) -> None:
    tokenizer = tokenizers(template)
    config = make_config(dataset, persona_card=card)
    for name in ("train", "val", "benchmark"):
        data = prepared(config, tokenizer, name)
        for index in range(len(data)):
            for order in (
                data.eval_order(index),
                permuted_option_order(0, 1, data.questions[index]),
            ):
                prompt = data.prompt(index, order)
                assert list(prompt.token_ids) == whole_prompt(config, tokenizer, data, index, order)


def test_questions_of_a_context_share_its_tokens(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    data = prepared(make_config(dataset), chatml, "train")
    shared: dict[str, set[tuple[int, ...]]] = {}
    for index in range(len(data)):
        prompt = data.prompt(index, (0, 1, 2, 3))
        shared.setdefault(prompt.context_id, set()).add(prompt.token_ids[: prompt.num_context_tokens])
        assert decode(chatml, prompt.token_ids[prompt.num_context_tokens :]).startswith("<|im_start|>user")
    assert all(len(prefixes) == 1 for prefixes in shared.values())
    assert len({prefix for prefixes in shared.values() for prefix in prefixes}) == len(shared)


def test_the_gold_letter_shows_the_right_answer(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    data = prepared(make_config(dataset), chatml, "benchmark")
    for index, question in enumerate(data.questions):
        prompt = data.prompt(index, data.eval_order(index))
        text = decode(chatml, prompt.token_ids)
        assert f"({gold_letter(prompt.option_order)}) {question.correct_answer}" in text
        assert prompt.option_order == open_dataset(make_config(dataset).data).option_order(question)
        assert prompt.question == question


def test_questions_survive_the_cache(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    data = prepared(make_config(dataset), chatml, "benchmark")
    assert data.questions == list(open_dataset(make_config(dataset).data).split("benchmark").questions)


def test_the_real_sample(sample: Path, tmp_path: Path, chatml: PreTrainedTokenizerFast) -> None:
    config = make_config(sample, cache_dir=str(tmp_path))
    with pytest.warns(UserWarning, match="total_messages is 189"):
        data = prepared(config, chatml, "benchmark")
    assert data.manifest["odd_contexts"] == {"recorded_totals": 1}
    expected = whole_prompt(config, chatml, data, 0, data.eval_order(0))
    assert list(data.prompt(0, data.eval_order(0)).token_ids) == expected


# ---------------------------------------------------------------------------------------------------------- the limit


def test_no_option_order_exceeds_the_limit(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CHATML)
    # One token for what only the paper's order of row 3 shows, so that every other order is longer.
    tokenizer.add_tokens(["(a) Right answer"])
    write_dataset(tmp_path, {"benchmark": (1,)})
    rows = [make_row(1, number) for number in range(4)]
    rows[3]["correct_answer"] = "Right answer " + "lake " * 40
    write_csv(tmp_path, "benchmark", rows)
    free = prepared(make_config(tmp_path), tokenizer, "benchmark")
    assert free.eval_order(3)[0] == 0
    limit = len(free.prompt(3, free.eval_order(3)).token_ids)
    order = (3, 0, 1, 2)
    assert len(free.prompt(3, order).token_ids) > limit
    tight = prepared(make_config(tmp_path, max_prompt_length=limit), tokenizer, "benchmark")
    prompt = tight.prompt(3, order)
    assert len(prompt.token_ids) == limit
    assert prompt.option_order == tight.eval_order(3)


@pytest.mark.parametrize("policy", ["drop", "truncate_middle", "truncate_oldest"])
def test_length_policies(dataset: Path, chatml: PreTrainedTokenizerFast, policy: str) -> None:
    whole = prepared(make_config(dataset), chatml, "train").manifest["tokens"]["prompt"]
    limit = int((whole["min"] + whole["max"]) // 2)
    with pytest.raises(ValueError, match=r"data\.max_prompt_length is"):
        prepared(make_config(dataset, max_prompt_length=limit), chatml, "train")
    data = prepared(make_config(dataset, max_prompt_length=limit, length_policy=policy), chatml, "train")
    lengths = [len(data.prompt(index, data.eval_order(index)).token_ids) for index in range(len(data))]
    assert max(lengths) <= limit
    assert data.manifest["tokens"]["prompt"] == {
        "min": min(lengths),
        "median": statistics.median(lengths),
        "max": max(lengths),
        "sum": sum(lengths),
    }
    counts = data.manifest["length_policy"]
    assert counts["questions_dropped" if policy == "drop" else "contexts_truncated"] > 0


def test_dropping_everything_is_an_error(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"no question of the train split is left.*questions_dropped"):
        prepared(make_config(dataset, max_prompt_length=20, length_policy="drop"), chatml, "train")


# ---------------------------------------------------------------------------------------------------------- the cache


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were built, in order."""
    built: list[Path] = []
    build = prepare.build

    def counted(*arguments: Any, **settings: Any) -> None:
        build(*arguments, **settings)
        built.append(arguments[2])

    monkeypatch.setattr(prepare, "build", counted)
    return built


def test_the_second_time_nothing_is_built(
    dataset: Path, chatml: PreTrainedTokenizerFast, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(make_config(dataset), chatml, "train")
    # Settings that change no token.
    for settings in ({}, {"questions_per_context": 4}, {"permute_options": True}):
        data = prepared(make_config(dataset, **settings), make_tokenizer(CHATML), "train")
        assert data.manifest == first.manifest
        assert data.prompt(0, (0, 1, 2, 3)) == first.prompt(0, (0, 1, 2, 3))
    assert len(builds) == 1
    assert sorted(path.name for path in builds[0].iterdir()) == ["contexts.arrow", "manifest.json", "questions.arrow"]


def touch_history(root: Path) -> None:
    write_history(root, 1, make_history(1) | {"extra": 1})


def touch_csv(root: Path) -> None:
    write_csv(root, "val", [make_row(3, 0, who="others"), make_row(4, 0)])


def touch_time(root: Path) -> None:
    path = csv_path(root, "train")
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


CHANGES: dict[str, tuple[dict[str, Any], str, Callable[[Path], None] | None]] = {
    "persona_card": ({"persona_card": "keep"}, CHATML, None),
    "max_prompt_length": ({"max_prompt_length": 36_999}, CHATML, None),
    "length_policy": ({"length_policy": "drop"}, CHATML, None),
    "bad_rows": ({"bad_rows": "skip"}, CHATML, None),
    "train_split": ({"train_split": "paper"}, CHATML, None),
    "num_val_clusters": ({"num_val_clusters": 3}, CHATML, None),
    "chat template": ({}, TEMPLATES["trimming"], None),
    "a history": ({}, CHATML, touch_history),
    "a CSV file": ({}, CHATML, touch_csv),
    "the time of a file": ({}, CHATML, touch_time),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_tokens_builds_anew(dataset: Path, builds: list[Path], change: str) -> None:
    prepared(make_config(dataset), make_tokenizer(CHATML), "train")
    settings, template, touch = CHANGES[change]
    if touch:
        touch(dataset)
    prepared(make_config(dataset, **settings), make_tokenizer(template), "train")
    assert len(set(builds)) == 2


def test_another_wording_builds_anew_and_an_equal_one_does_not(dataset: Path, builds: list[Path]) -> None:
    config, tokenizer = make_config(dataset), make_tokenizer(CHATML)
    for wording in (McqWording(), McqWording(), PlainWording(), PlainWording("Be brief."), McqWording("final_answer")):
        prepared(config, tokenizer, "train", wording)
    assert len(set(builds)) == 4


def test_a_split_that_is_not_there_is_refused_by_name(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="personamem_v2-32k has no split 'test'; it has train, val, benchmark"):
        prepared(make_config(dataset), chatml, "test")


def test_another_window_reads_other_files(dataset: Path, chatml: PreTrainedTokenizerFast, builds: list[Path]) -> None:
    prepared(make_config(dataset), chatml, "benchmark")
    with pytest.raises(ValueError, match="question benchmark/0: .*chat_history_128k/.* does not exist"):
        prepared(make_config(dataset, window="128k"), chatml, "benchmark")
    os.rename(dataset / "data" / "chat_history_32k", dataset / "data" / "chat_history_128k")
    data = prepared(make_config(dataset, window="128k"), chatml, "benchmark")
    assert data.questions[0].tags["distance_tokens"] == "32k-64k"
    assert data.prompt(0, (0, 1, 2, 3)).context_id.startswith("data/chat_history_128k/")


def test_a_cache_folder_that_cannot_be_made(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    (dataset / "file").write_text("")
    with pytest.raises(ValueError, match=r"data\.cache_dir: cannot make .*file/cache/prepared"):
        prepared(make_config(dataset, cache_dir=str(dataset / "file" / "cache")), chatml, "train")


def test_an_interrupted_build_leaves_nothing_that_counts(
    dataset: Path, chatml: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, builds: list[Path]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prepare, "write_questions", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(ValueError, match=r"data\.cache_dir: cannot write .* \(disk full\); name a folder"):
            prepared(make_config(dataset), chatml, "train")
    cache = dataset / "cache" / "prepared"
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    # What a killed process leaves behind.
    partial = next(cache.iterdir()).with_suffix(".partial")
    partial.mkdir()
    (partial / "contexts.arrow").write_bytes(b"half")
    assert len(prepared(make_config(dataset), chatml, "train")) > 0
    assert len(builds) == 1
    assert not partial.exists()


def test_a_split_wanted_several_times_at_once_is_built_once(
    dataset: Path, chatml: PreTrainedTokenizerFast, builds: list[Path]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        splits = list(pool.map(lambda _: prepared(make_config(dataset), chatml, "train"), range(4)))
    assert len(builds) == 1
    assert len({len(split) for split in splits}) == 1


def test_the_manifest_says_what_was_read_and_left_out(tmp_path: Path, chatml: PreTrainedTokenizerFast) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2, 3)})
    rows = [make_row(persona, number) for number in range(3) for persona in (1, 2, 3)]
    write_csv(tmp_path, "benchmark", [*rows, rows[0], make_row(1, 9, who="")])
    (tmp_path / rows[2]["chat_history_32k_link"]).write_text("{", encoding="utf-8")
    data = prepared(make_config(tmp_path, bad_rows="skip"), chatml, "benchmark")
    manifest = data.manifest
    assert (manifest["num_questions"], manifest["num_contexts"], manifest["num_clusters"]) == (6, 2, 2)
    assert manifest["csv_rows"] == {"benchmark": 11}
    assert manifest["rows_skipped"] == {"duplicate": 1, "history_json": 3, "who": 1}
    contexts = {data.prompt(i, (0, 1, 2, 3)).num_context_tokens for i in range(6)}
    assert manifest["tokens"]["context"]["min"] == min(contexts)
    assert manifest["tokens"]["context"]["max"] == max(contexts)
    assert manifest["cache_identity"]["settings"]["source"] == str(tmp_path)
    (folder,) = [path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir()]
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8")) == manifest


def test_any_access_order_gives_the_same_prompts(dataset: Path, chatml: PreTrainedTokenizerFast) -> None:
    data = prepared(make_config(dataset), chatml, "train")
    expected = [data.prompt(index, (0, 1, 2, 3)) for index in range(len(data))]
    order = list(range(len(data))) * 2
    random.Random(0).shuffle(order)
    assert [data.prompt(index, (0, 1, 2, 3)) for index in order] == [expected[index] for index in order]


# --------------------------------------------------------------------------------------------------- a damaged cache


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def zero(path: Path) -> None:
    """What a crash of the machine can leave of a file that was just written."""
    path.write_bytes(bytes(path.stat().st_size))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def rewrite_manifest(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "contexts cut": lambda folder: cut(folder / "contexts.arrow", 0.5),
    "contexts cut at the end": lambda folder: cut(folder / "contexts.arrow", 0.98),
    "contexts empty": lambda folder: cut(folder / "contexts.arrow", 0),
    "contexts absent": lambda folder: (folder / "contexts.arrow").unlink(),
    "contexts zeroed": lambda folder: zero(folder / "contexts.arrow"),
    "one bit of contexts": lambda folder: flip(folder / "contexts.arrow"),
    "contexts a folder": lambda folder: replace_with_folder(folder / "contexts.arrow"),
    "questions cut": lambda folder: cut(folder / "questions.arrow", 0.5),
    "questions empty": lambda folder: cut(folder / "questions.arrow", 0),
    "questions absent": lambda folder: (folder / "questions.arrow").unlink(),
    "manifest cut": lambda folder: cut(folder / "manifest.json", 0.5),
    "manifest empty": lambda folder: cut(folder / "manifest.json", 0),
    "manifest absent": lambda folder: (folder / "manifest.json").unlink(),
    "manifest zeroed": lambda folder: zero(folder / "manifest.json"),
    "manifest nested deeply": lambda folder: (folder / "manifest.json").write_text("[" * 200_000),
    "manifest a list": lambda folder: (folder / "manifest.json").write_text("[]"),
    "manifest without hashes": lambda folder: rewrite_manifest(folder / "manifest.json", sha256=None),
    "manifest of another cache": lambda folder: rewrite_manifest(folder / "manifest.json", cache_identity={}),
    "folder empty": lambda folder: [path.unlink() for path in folder.iterdir()],
    "folder a file": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
    "folder a broken link": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_prepared_cache_that_is_cut_or_changed_is_built_again_and_said(
    dataset: Path, chatml: PreTrainedTokenizerFast, builds: list[Path], damage: str
) -> None:
    before = prepared(make_config(dataset), chatml, "train")
    expected = [before.prompt(i, before.eval_order(i)) for i in range(len(before))]
    del before
    DAMAGES[damage](builds[0])
    with pytest.warns(UserWarning, match=f"{builds[0]} is damaged .*; it is removed and built again") as said:
        after = prepared(make_config(dataset), chatml, "train")
    assert "\n" not in str(said[0].message)
    assert len(builds) == 2
    assert [after.prompt(i, after.eval_order(i)) for i in range(len(after))] == expected
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(make_config(dataset), chatml, "train")
    assert len(builds) == 2


def test_a_damaged_cache_is_built_again_once_for_all_that_want_it(
    dataset: Path, chatml: PreTrainedTokenizerFast, builds: list[Path]
) -> None:
    prepared(make_config(dataset), chatml, "train")
    cut(builds[0] / "questions.arrow", 0.5)
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("ignore")
        splits = list(pool.map(lambda _: prepared(make_config(dataset), chatml, "train"), range(4)))
    assert len(builds) == 2
    assert len({len(split) for split in splits}) == 1


# ------------------------------------------------------------------------------------------------ content fingerprint


def test_the_fingerprint_of_a_split_follows_its_rows_and_contexts_and_nothing_else(
    dataset: Path, tmp_path_factory: pytest.TempPathFactory, chatml: PreTrainedTokenizerFast
) -> None:
    def fingerprint(root: Path, **data: Any) -> str:
        return str(prepared(make_config(root, train_split="paper", **data), chatml, "train").manifest["fingerprint"])

    rows = [make_row(persona, number) for number in (0, 1) for persona in (1, 2, 3)]
    write_csv(dataset, "train", rows)
    before = fingerprint(dataset)
    copy = tmp_path_factory.mktemp("copy") / "elsewhere"
    shutil.copytree(dataset, copy, ignore=shutil.ignore_patterns("cache"))
    write_csv(copy, "train", rows)
    assert fingerprint(copy) == before
    assert fingerprint(copy, follow_links=True, questions_per_context=2) == before
    found = [before]
    for changed in (
        rows[:-1],
        [*rows, make_row(4, 0)],
        rows[::-1],
        [rows[1], rows[0], *rows[2:]],
        [rows[0] | {"correct_answer": "Another one."}, *rows[1:]],
        [rows[0] | {"preference": "Another one."}, *rows[1:]],
    ):
        write_csv(copy, "train", changed)
        found.append(fingerprint(copy))
    write_csv(copy, "train", rows)
    write_history(copy, 2, make_history(2, num_messages=13))
    found.append(fingerprint(copy))
    assert len(set(found)) == len(found)
