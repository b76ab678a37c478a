from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from rft.data import contexts
from rft.data.chat_template import ChatTemplate, TokenArray
from rft.data.contexts import Rendering, Tally, TokenizedContext, tokenize_contexts
from rft.data.dataset import RecordError
from rft.data.formats import open_dataset
from rft.data.prompts import McqWording
from tests.unit.data.builder import make_config, make_history, make_row, write_csv, write_dataset, write_history


@pytest.fixture
def chat(tokenizers: Callable[[str], PreTrainedTokenizerFast]) -> ChatTemplate:
    return ChatTemplate(tokenizers("chatml"))


def tokenize(root: Path, chat: ChatTemplate, **settings: Any) -> tuple[list[TokenizedContext], Tally]:
    data = make_config(root, **settings).data
    dataset, tally = open_dataset(data), Tally()
    rendering = Rendering(data=data, dataset=dataset, chat=chat, wording=McqWording())
    some = tokenize_contexts(rendering, dataset.split("benchmark").questions, tally)
    return [item for items in some for item in items], tally


@pytest.mark.parametrize("per_call", [1, 2, 3, 32])
def test_each_context_once_in_order_with_its_questions(
    tmp_path: Path, chat: ChatTemplate, monkeypatch: pytest.MonkeyPatch, per_call: int
) -> None:
    monkeypatch.setattr(contexts, "CONTEXTS_PER_CALL", per_call)
    write_dataset(tmp_path, {"benchmark": (5, 3, 7, 1, 2)})
    items, tally = tokenize(tmp_path, chat)
    assert [item.questions[0].cluster for item in items] == ["5", "3", "7", "1", "2"]
    for item in items:
        assert {question.context_id for question in item.questions} == {item.context_id}
        asked = [McqWording().ask(q, open_dataset(make_config(tmp_path).data).option_order(q)) for q in item.questions]
        texts = [item.parts.tail(text) for text in asked]
        assert item.tail_lengths == [len(ids) for ids in chat.encode(texts)]
        assert item.token_ids.tolist() == chat.encode([item.parts.history])[0].tolist()
    assert tally == Tally()


def test_contexts_are_tokenised_once(tmp_path: Path, chat: ChatTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dataset(tmp_path, {"benchmark": range(6)}, questions_per_persona=5)
    texts: list[str] = []
    encode = chat.encode

    def recorded(batch: Sequence[str]) -> list[TokenArray]:
        texts.extend(batch)
        return encode(batch)

    monkeypatch.setattr(chat, "encode", recorded)
    monkeypatch.setattr(contexts, "NUM_CHECKED", 0)
    items, _ = tokenize(tmp_path, chat)
    assert len(texts) == len(set(texts)) == 6 + 30
    assert sum(item.parts.history in texts for item in items) == 6


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "history_empty"),
        (b'{"metadata": {', "history_json"),
        (b'{"a": "\xff"}', "history_encoding"),
        (b"[]", "history_format"),
    ],
)
def test_a_broken_history_is_refused_or_skipped(
    tmp_path: Path, chat: ChatTemplate, content: bytes, reason: str
) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2)})
    (tmp_path / make_row(2, 0)["chat_history_32k_link"]).write_bytes(content)
    with pytest.raises(RecordError, match=r"chat_history_250913_163134_persona2\.json"):
        tokenize(tmp_path, chat)
    items, tally = tokenize(tmp_path, chat, bad_rows="skip")
    assert [item.questions[0].cluster for item in items] == ["1"]
    assert tally.bad_rows == {reason: 3}


def test_a_row_that_links_another_persona_s_history_is_refused_or_skipped(tmp_path: Path, chat: ChatTemplate) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2)})
    stolen = make_row(2, 0) | {"chat_history_32k_link": make_row(1, 0)["chat_history_32k_link"]}
    write_csv(tmp_path, "benchmark", [make_row(1, 0), make_row(2, 1), stolen])
    with pytest.raises(
        RecordError, match=r"question benchmark/2 belongs to 2, but its context .*persona1\.json says it is of 1"
    ):
        tokenize(tmp_path, chat)
    items, tally = tokenize(tmp_path, chat, bad_rows="skip")
    assert [[question.question_id for question in item.questions] for item in items] == [
        ["benchmark/0"],
        ["benchmark/1"],
    ]
    assert tally.bad_rows == {"context_of_another": 1}


def test_odd_contexts_are_counted_and_warned_of_once(tmp_path: Path, chat: ChatTemplate) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2, 3)})
    for persona in (1, 3):
        stored = make_history(persona)
        stored["metadata"]["total_messages"] += 100
        stored["chat_history"][2]["content"] = None
        write_history(tmp_path, persona, stored)
    _, tally = tokenize(tmp_path, chat)
    assert tally.odd_contexts == {"recorded_totals": 2, "messages_without_text": 2}
    with pytest.warns(UserWarning, match=r"total_messages is 112, but there are 12 \(and 3 more") as caught:
        tally.warn()
    assert len(caught) == 1


# ---------------------------------------------------------------------------------------------------- length policies


def longest(root: Path, chat: ChatTemplate) -> tuple[list[TokenizedContext], int]:
    items, _ = tokenize(root, chat)
    return items, max(len(item.token_ids) + max(item.tail_lengths) for item in items)


def test_a_prompt_at_the_limit_passes_and_one_token_less_is_refused(tmp_path: Path, chat: ChatTemplate) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2, 3)})
    items, limit = longest(tmp_path, chat)
    assert len(tokenize(tmp_path, chat, max_prompt_length=limit)[0]) == 3
    (item,) = [item for item in items if len(item.token_ids) + max(item.tail_lengths) == limit]
    question = item.questions[item.tail_lengths.index(max(item.tail_lengths))]
    problem = (
        f"question {question.question_id} has {limit} tokens, data.max_prompt_length is {limit - 1};.*length_policy"
    )
    with pytest.raises(ValueError, match=problem):
        tokenize(tmp_path, chat, max_prompt_length=limit - 1)


def test_drop_leaves_out_the_questions_that_do_not_fit(tmp_path: Path, chat: ChatTemplate) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2, 3)})
    items, limit = longest(tmp_path, chat)
    expected = sum(len(item.token_ids) + tail < limit for item in items for tail in item.tail_lengths)
    kept, tally = tokenize(tmp_path, chat, max_prompt_length=limit - 1, length_policy="drop")
    assert sum(len(item.questions) for item in kept) == expected < 9
    assert all(len(item.questions) == len(item.tail_lengths) for item in kept)
    assert tally.too_long == {"questions_dropped": 9 - expected}
    assert tokenize(tmp_path, chat, max_prompt_length=10, length_policy="drop")[0] == []


@pytest.mark.parametrize("policy", ["truncate_middle", "truncate_oldest"])
def test_truncation_is_once_per_context_for_its_longest_question(
    tmp_path: Path, chat: ChatTemplate, policy: str
) -> None:
    write_dataset(tmp_path, {"benchmark": (1, 2, 3)})
    whole, limit = longest(tmp_path, chat)
    limit -= 60
    items, tally = tokenize(tmp_path, chat, max_prompt_length=limit, length_policy=policy)
    assert [item.context_id for item in items] == [item.context_id for item in whole]
    assert all(len(item.token_ids) + max(item.tail_lengths) <= limit for item in items)
    shortened = [len(item.token_ids) < len(before.token_ids) for item, before in zip(items, whole, strict=True)]
    assert tally.too_long["contexts_truncated"] == sum(shortened) > 0
    assert tally.too_long["questions_truncated"] == 3 * sum(shortened)
    assert tally.too_long["messages_dropped"] >= sum(shortened)


def test_a_question_too_long_for_any_context_is_refused(tmp_path: Path, chat: ChatTemplate) -> None:
    write_dataset(tmp_path, {"benchmark": (1,)})
    with pytest.raises(
        ValueError, match=r"question benchmark/\d: .*alone have \d+ tokens; data.max_prompt_length is 50; raise"
    ):
        tokenize(tmp_path, chat, max_prompt_length=50, length_policy="truncate_oldest")


def test_a_question_whose_evidence_was_cut_away_can_be_left_out(tmp_path: Path, chat: ChatTemplate) -> None:
    """One question's evidence is the oldest message, another's the newest, a third's is in no history."""
    history = make_history(1)
    oldest, newest = history["chat_history"][1], history["chat_history"][-1]
    snippets = [[oldest], [newest], [{"role": "user", "content": "I hum jazz."}]]
    rows = [make_row(1, i, related_conversation_snippet=json.dumps(snippet)) for i, snippet in enumerate(snippets)]
    write_csv(tmp_path, "benchmark", rows)
    write_history(tmp_path, 1, history)
    _, limit = longest(tmp_path, chat)
    cut = {"max_prompt_length": limit - 40, "length_policy": "truncate_oldest"}
    (kept,), _ = tokenize(tmp_path, chat, **cut)
    assert len(kept.questions) == 3
    (found,), tally = tokenize(tmp_path, chat, lost_evidence="drop", **cut)
    assert [question.question_id for question in found.questions] == ["benchmark/1", "benchmark/2"]
    assert len(found.tail_lengths) == 2 and found.token_ids.tolist() == kept.token_ids.tolist()
    assert tally.too_long["questions_without_evidence"] == 1
