"""Demonstrations of a memory on synthetic data: right where they mean to be, careless by their share."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rft.config import Config, DataConfig, MemoryConfig
from rft.data import memory_traces, personamem
from rft.data.memory_demonstrations import MemorySequences, training_texts
from rft.data.memory_split import MemorySplit, load_memory_split
from rft.data.memory_traces import Event, rewrite
from rft.data.splits import load_split
from rft.data.synthetic import write_dataset
from rft.data.word_tokenizer import UNKNOWN, build_word_tokenizer
from rft.reward.mcq import score


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    write_dataset(
        folder, num_personas=62, questions_per_persona=5, history_tokens=300, seed=3, style="brief", decoys=0.3,
        num_val_personas=1, num_benchmark_personas=1,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def split(folder: Path) -> MemorySplit:
    data = DataConfig(source=str(folder), train_split="paper")
    questions = load_split(data, folder, "train").questions
    texts = training_texts(questions, lambda name: personamem.load_history(folder, name)[0].messages)
    tokenizer = build_word_tokenizer(texts, model_max_length=1024)
    tokenizer.name_or_path = "words"
    config = Config(task="memory", data=data, memory=MemoryConfig(chunk_tokens=90))
    return load_memory_split(config, tokenizer, "train")


def sequences(split: MemorySplit, keep_share: float, seed: int = 0) -> MemorySequences:
    return MemorySequences(split, split.histories.chat._tokenizer, keep_share, seed)


def test_a_right_memory_answers_every_question(split: MemorySplit):
    shown = sequences(split, 1.0)
    seen: set[tuple[str, str]] = set()
    for number, history_id in enumerate(shown.histories):
        notes = shown.demonstration(number).full
        for index in shown.of_history[history_id]:
            question, order = split.questions[index], split.eval_order(index)
            prompt = split.prompt(index, order)
            reply = memory_traces.answer_from(question, order, notes)
            assert score(reply, prompt.letters, prompt.gold, rule="strict", thought_open=False).reward == 1.0, reply
            assert prompt.evidence_turn is not None
            seen.add((question.pref_type, question.who))
    assert {("ask_to_forget", "self"), ("sensitive_info", "self")} <= seen
    assert any(who == "others" for _, who in seen)


def test_a_rewriting_replaces_forgets_and_starts_over():
    notes = {"music": "jazz", "pet": "geckos"}
    news = [Event(message=4, topic="music", value="opera"), Event(message=6, topic="pet", value=None)]
    assert rewrite(notes, news) == {"music": "opera"}
    assert rewrite(notes, news[:1]) == {"pet": "geckos", "music": "opera"}
    assert rewrite(notes, news[:1], keep=False) == {"music": "opera"}
    assert notes == {"music": "jazz", "pet": "geckos"}


def test_nothing_is_dropped_with_a_keep_share_of_one(split: MemorySplit):
    shown = sequences(split, 1.0)
    for number in range(len(shown.histories)):
        found = shown.demonstration(number)
        assert found.steps[-1].after == found.full
        assert all(later.before == step.after for step, later in zip(found.steps, found.steps[1:], strict=False))


def test_the_keep_share_is_kept(split: MemorySplit):
    shown = sequences(split, 0.4)
    steps = [step for number in range(60) for step in shown.demonstration(number).steps if len(step.before) > 1]
    kept = sum(len(step.before.keys() & step.after.keys()) > 0 for step in steps) / len(steps)
    assert len(steps) > 60
    assert 0.2 < kept < 0.6  # three standard errors around 0.4


def test_the_same_seed_demonstrates_the_same(split: MemorySplit):
    first, second, other = (sequences(split, 0.4, seed) for seed in (0, 0, 1))
    assert [first.demonstration(n) for n in range(9)] == [second.demonstration(n) for n in range(9)]
    assert [first.demonstration(n) for n in range(9)] != [other.demonstration(n) for n in range(9)]


def test_a_sequence_is_learned_on_its_reply_alone_and_has_no_unknown_word(split: MemorySplit):
    shown = sequences(split, 0.4)
    tokenizer = shown.tokenizer
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    chosen = random.Random(0).sample(shown.indices(), 80)
    for item in chosen:
        ids, labels = shown.sequence(item)
        prompt = tokenizer.decode([token for token, label in zip(ids, labels, strict=True) if label == -100])
        reply = tokenizer.decode([label for label in labels if label != -100])
        assert unknown not in ids
        assert prompt.endswith("<|im_start|>assistant\n") and reply.endswith("<|im_end|>")
        assert labels[-len(reply) :] != [] and (reply.startswith("- ") if item[1] == 0 else "\\boxed{" in reply)
