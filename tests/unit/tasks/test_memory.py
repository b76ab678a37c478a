"""Turn by turn: what a memory is asked, what is kept, and from which memory a question is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rft.config import Config, MemoryConfig, RolloutConfig
from rft.data.chat_template import ChatTemplate
from rft.data.chunks import cut_chunks
from rft.records import Completion, Message, Prompt, Rollout, UpdateFailure
from rft.rollout.collect import score_episodes
from rft.tasks.memory import MemoryEpisode, MemoryTask
from tests.unit.data.builder import TEMPLATES, make_tokenizer
from tests.unit.tasks.builder import MemoryDataset, make_prompt, make_question

TOKENIZER = make_tokenizer(TEMPLATES["chatml"])
MESSAGES = [Message(role="user", content=f"Part {number}: jazz, tea and a walk.") for number in range(3)]
CHUNK_TOKENS = len(TOKENIZER.encode("user: Part 0: jazz, tea and a walk.\n")) + 1
CHUNKS = cut_chunks(MESSAGES, ChatTemplate(TOKENIZER), CHUNK_TOKENS)


def prompt(number: int, context_id: str = "h", evidence_turn: int | None = None) -> Prompt:
    text = f"Question {number}?<|im_end|>\n<|im_start|>assistant\n"
    question = make_question(number, context_id=context_id, options=2)
    return make_prompt(TOKENIZER.encode(text), question, (1, 0), evidence_turn=evidence_turn)


def reply(text: str, finish_reason: Any = "stop") -> Completion:
    ids = tuple(TOKENIZER.encode(text))
    ids += (TOKENIZER.convert_tokens_to_ids("<|im_end|>"),) if finish_reason == "stop" else ()
    return Completion(token_ids=ids, logprobs=(0.0,) * len(ids), finish_reason=finish_reason, policy_version=0)


def task(**memory: Any) -> MemoryTask:
    limits: dict[str, Any] = {"chunk_tokens": CHUNK_TOKENS, "max_memory_tokens": 30, "max_update_length": 50}
    config = Config(
        task="memory", memory=MemoryConfig(**limits | memory), rollout=RolloutConfig(max_completion_length=9)
    )
    return MemoryTask(config, TOKENIZER, MemoryDataset({"h": MESSAGES, "i": MESSAGES}))


def begin(questions: Sequence[Prompt], sibling: int = 0, **memory: Any) -> MemoryEpisode:
    return task(**memory).episode(questions, sibling, seed_of=lambda name: sum(name.encode()) + sibling)


def finished(episode: MemoryEpisode) -> Rollout:
    return score_episodes(task(), [episode])[0]


def asked(episode: MemoryEpisode) -> list[str]:
    return [TOKENIZER.decode(request.prompt_ids) for request in episode.requests()]


def test_the_history_is_three_chunks():
    assert [(chunk.first, chunk.last) for chunk in CHUNKS] == [(0, 0), (1, 1), (2, 2)]


def test_a_chunk_an_update_then_an_answer_per_question():
    episode = begin([prompt(0), prompt(1)])
    memories = ["Likes jazz.", "Likes jazz, tea.", "Likes tea."]
    for turn, (before, after) in enumerate(pairwise(["(nothing yet)", *memories])):
        (text,) = asked(episode)
        assert f"Part {turn}" in text and f"Memory so far:\n{before}<|im_end|>" in text
        assert "Question" not in text
        assert episode.requests() == episode.requests() and episode.requests()[0].max_tokens == 50
        episode.observe([reply(after)])
    questions = asked(episode)
    assert all("Likes tea." in text and "Part" not in text for text in questions)
    assert ["Question 0?" in questions[0], "Question 1?" in questions[1]] == [True, True]
    assert [request.max_tokens for request in episode.requests()] == [9, 9]
    with pytest.raises(AssertionError, match="not over"):
        episode.attempts()
    episode.observe([reply("\\boxed{b}"), reply("\\boxed{a}")])
    assert not episode.requests()
    rollout = finished(episode)
    assert [update.memory for update in rollout.updates] == memories
    assert [answer.score.reward for answer in rollout.answers] == [1.0, 0.0]
    assert [answer.turn for answer in rollout.answers] == [3, 3]
    assert [TOKENIZER.decode(answer.prompt.token_ids) for answer in rollout.answers] == questions
    assert [update.num_chunk_tokens for update in rollout.updates] == [len(chunk.token_ids) for chunk in CHUNKS]


def test_siblings_share_the_prompt_up_to_the_memory_and_no_seed():
    first, second = begin([prompt(0)], 0), begin([prompt(0)], 1)
    first.observe([reply("Likes jazz.")])
    second.observe([reply("Hates tea.")])
    (one,), (two,) = first.requests(), second.requests()
    shared = next(i for i, (a, b) in enumerate(zip(one.prompt_ids, two.prompt_ids, strict=False)) if a != b)
    assert TOKENIZER.decode(one.prompt_ids[:shared]).endswith("Memory so far:\n")
    assert one.seed != two.seed


@pytest.mark.parametrize(
    ("bad", "failure"),
    [
        (reply(""), UpdateFailure.EMPTY),
        (reply("jazz " * 40), UpdateFailure.TOO_LONG),
        (reply("Likes te", "length"), UpdateFailure.TOO_LONG),
        (reply("Likes tea.<|im_start|>user"), UpdateFailure.TAGS),
        (reply("I cannot help with that."), UpdateFailure.REFUSAL),
    ],
)
def test_a_reply_that_is_no_memory_leaves_the_one_before(bad: Completion, failure: UpdateFailure):
    episode = begin([prompt(0)])
    for each in (
        reply("Likes jazz."),
        bad,
        reply("Likes jazz and tea."),
    ):
        episode.observe([each])
    episode.observe([reply("\\boxed{b}")])
    updates = finished(episode).updates
    assert [update.failure for update in updates] == [None, failure, None]
    assert [update.memory for update in updates] == ["Likes jazz.", "Likes jazz.", "Likes jazz and tea."]
    assert updates[1].completion == bad
    assert updates[1].num_memory_tokens == len(TOKENIZER.encode("Likes jazz."))


def test_units_are_neighbours_of_one_context():
    prompts = [prompt(0), prompt(1), prompt(2, "i"), prompt(3)]
    ids = [[p.question_id for p in unit] for unit in task().units(prompts)]
    assert ids == [["val/0", "val/1"], ["val/2"], ["val/3"]]
    assert [len(unit) for unit in task(query_aware=True).units(prompts)] == [1, 1, 1, 1]


def test_a_query_aware_update_shows_its_question():
    (text,) = asked(begin([prompt(4)], query_aware=True))
    assert "(nothing yet)\n\nThe memory will be used to answer:\nQuestion 4?<|im_end|>" in text


def test_early_answers_come_from_the_memory_that_had_just_read_the_evidence():
    questions = [prompt(0, evidence_turn=0), prompt(1, evidence_turn=2), prompt(2)]
    episode = begin(questions, answer_at_evidence=True)
    for memory in ("One.", "Two.", "Three."):
        episode.observe([reply(memory)])
    texts = asked(episode)
    assert ["Three." in text for text in texts] == [True, True, True, False]
    assert "One." in texts[3] and "Question 0?" in texts[3]
    episode.observe([reply("\\boxed{a}")] * 3 + [reply("\\boxed{b}")])
    rollout = finished(episode)
    assert [answer.score.reward for answer in rollout.answers] == [0.0, 0.0, 0.0]
    assert [(answer.turn, answer.score.reward) for answer in rollout.early_answers] == [(1, 1.0)]
    assert replace(rollout.early_answers[0].prompt, token_ids=questions[0].token_ids) == questions[0]


def test_metrics_tell_letters_from_updates():
    episode = begin([prompt(0), prompt(1)])
    for text in ("Likes jazz.", "", "Likes jazz and tea."):
        episode.observe([reply(text)])
    episode.observe([reply("\\boxed{b}"), reply("?")])
    metrics = task().metrics(task().outcomes([[finished(episode)]]))
    assert metrics["letters/b"] == 0.5
    assert metrics["memory/failure_rate"] == metrics["memory/failures/empty"] == pytest.approx(1 / 3)
    assert metrics["memory/updates_per_rollout"] == 3
    assert metrics["memory/tokens_mean"] == len(TOKENIZER.encode("Likes jazz and tea."))
