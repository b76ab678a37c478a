"""Demonstrations of a memory on synthetic data: right where they mean to be, careless by their share."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise
from pathlib import Path

import pytest

from rft.cold_start import memory_traces
from rft.cold_start.config import SftConfig, SftModelConfig, TargetConfig
from rft.cold_start.memory_sequences import MemorySequences
from rft.cold_start.memory_traces import NOTHING, Event, rewrite, text_of
from rft.cold_start.tokenizer import load_or_build_tokenizer
from rft.cold_start.traces import gist
from rft.cold_start.word_tokenizer import UNKNOWN
from rft.config import DataConfig, MemoryConfig
from rft.data.chunks import turn_that_reads
from rft.data.formats import open_dataset
from rft.data.memory_split import MemorySplit
from rft.data.prompts import gold_letter, offered_letters
from rft.reward.mcq import score_boxed_letter
from rft.sft import load_memories
from rft.synthetic.generator import write_dataset

CHUNK_TOKENS = 90


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
    return read_split(folder)


def read_split(folder: Path) -> MemorySplit:
    config = SftConfig(
        model=SftModelConfig(model_name_or_path=None),
        data=DataConfig(source=str(folder), train_split="paper"),
        memory=MemoryConfig(chunk_tokens=CHUNK_TOKENS),
        target=TargetConfig(reply="memory"),
    )
    dataset = open_dataset(config.data)
    return load_memories(config, dataset, load_or_build_tokenizer(config, dataset))


def sequences(split: MemorySplit, keep_share: float, seed: int = 0) -> MemorySequences:
    return MemorySequences(split, split.contexts.chat._tokenizer, keep_share, seed)


def test_a_right_memory_answers_every_question(split: MemorySplit):
    shown = sequences(split, 1.0)
    seen: set[tuple[str, str]] = set()
    for number, context_id in enumerate(shown.context_ids):
        notes = shown.demonstration(number).full
        for index in shown.of_context[context_id]:
            question, order = split.questions[index], split.eval_order(index)
            prompt = split.prompt(index, order)
            reply = memory_traces.answer_from(question, order, notes)
            score = score_boxed_letter(reply, offered_letters(order), gold_letter(order), rule="strict")
            assert score.reward == 1.0, reply
            assert prompt.evidence_turn is not None
            seen.add((question.tags["pref_type"], question.tags["who"]))
    assert {("ask_to_forget", "self"), ("sensitive_info", "self")} <= seen
    assert any(who == "others" for _, who in seen)


def test_the_right_memory_has_the_new_value_and_neither_what_was_forgotten_nor_what_is_others(split: MemorySplit):
    shown = sequences(split, 1.0)
    updates = 0
    for number, context_id in enumerate(shown.context_ids):
        found = shown.demonstration(number)
        for question in (split.questions[index] for index in shown.of_context[context_id]):
            topic = question.tags["topic"]
            told = [event.value for event in found.timeline if event.topic == topic]
            right, careless = gist(question.correct_answer), gist(question.incorrect_answers[0])
            if question.tags["who"] == "others":
                assert (told, topic in found.full) == ([], False)
            elif question.tags["pref_type"] == "ask_to_forget":
                assert (told, found.full[topic]) == ([careless, None], "nothing")
            elif question.tags["updated"] == "true":
                assert (told, found.full[topic]) == ([careless, right], right)
                updates += 1
            else:
                assert (told, found.full[topic]) == ([right], right)
    assert updates > 0


def test_notes_are_one_a_line_and_none_are_said_too():
    assert text_of({"music": "jazz", "insurance": "passport"}) == "1. music: jazz\n2. insurance: passport"
    assert text_of({}) == "nothing"


def test_nothing_is_noted_before_it_is_read(split: MemorySplit):
    shown = sequences(split, 1.0)
    for number, context_id in enumerate(shown.context_ids):
        chunks = split.contexts.chunks(context_id)
        for step in shown.demonstration(number).steps:
            words = set(re.findall(r"\w+", "".join(chunk.text for chunk in chunks[: step.turn + 1])))
            assert set(step.after.values()) <= words | {NOTHING}, (context_id, step)


def test_long_histories_are_demonstrated_too(tmp_path: Path):
    write_dataset(tmp_path, num_personas=12, questions_per_persona=5, history_tokens=2000, seed=3, style="full")
    shown = sequences(read_split(tmp_path), 1.0)
    for number in range(len(shown.context_ids)):
        found = shown.demonstration(number)
        assert found.steps[-1].after == found.full


def test_a_rewriting_replaces_forgets_and_starts_over():
    notes = {"music": "jazz", "pet": "geckos"}
    news = [Event(message=4, topic="music", value="opera"), Event(message=6, topic="pet", value=None)]
    assert list(rewrite(notes, news).items()) == [("music", "opera"), ("pet", "nothing")]
    assert rewrite(notes, news[:1]) == {"music": "opera", "pet": "geckos"}
    assert rewrite(notes, news[:1], keep=False) == {"music": "opera"}
    assert rewrite(notes, []) == notes and rewrite(notes, [], keep=False) == {}
    assert rewrite({}, [Event(message=1, topic="pet", value="cats"), news[1]]) == {"pet": "nothing"}
    assert rewrite({}, news[1:]) == {}
    assert notes == {"music": "jazz", "pet": "geckos"}


def test_nothing_is_dropped_with_a_keep_share_of_one(split: MemorySplit):
    shown = sequences(split, 1.0)
    for number in range(len(shown.context_ids)):
        found = shown.demonstration(number)
        assert found.steps[-1].after == found.full
        assert all(later.before == step.after for step, later in zip(found.steps, found.steps[1:], strict=False))


def test_the_keep_share_is_kept(split: MemorySplit):
    shown = sequences(split, 0.4)
    kept = []
    for number, context_id in enumerate(shown.context_ids):
        found, chunks = shown.demonstration(number), split.contexts.chunks(context_id)
        for step in found.steps:
            news = {event.topic for event in found.timeline if turn_that_reads(event.message, chunks) == step.turn}
            old = step.before.keys() - news
            if old:
                assert old <= step.after.keys() or not old & step.after.keys(), "all notes or none"
                kept.append(old <= step.after.keys())
    assert len(kept) > 80
    assert abs(sum(kept) / len(kept) - 0.4) < 4 * math.sqrt(0.4 * 0.6 / len(kept))


def test_every_second_demonstration_carries_full_notes_on(split: MemorySplit):
    shown = sequences(split, 0.0)
    full = []
    for number in range(len(shown.context_ids)):
        steps = shown.demonstration(number).steps
        assert steps[0].before == {}
        links = {later.before == step.after for step, later in pairwise(steps)}
        if any(len(later.before) > len(step.after) for step, later in pairwise(steps)):
            full.append(True)
        elif any(later.before and not later.before.keys() <= later.after.keys() for later in steps):
            assert links == {True}
            full.append(False)
    assert len(full) > 30
    assert abs(sum(full) / len(full) - 0.5) < 4 * math.sqrt(0.25 / len(full))


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
        assert re.match(r"1\. |nothing<", reply) if item[1] == 0 else "\\boxed{" in reply
