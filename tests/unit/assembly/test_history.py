"""Histories from blocks, whoever made them: what stays where room is short, filler, and the numbers of the table."""

from __future__ import annotations

import json
import random
from pathlib import Path

from rft.assembly.blocks import Block, count_tokens, exchange
from rft.assembly.filler import brief_filler
from rft.assembly.history import History, distances_to_end, fill, fitting, make_folders, write_histories


def block(place: float, words: int, **more: object) -> Block:
    return Block(place=place, messages=exchange("word " * (words - 1), "yes"), **more)  # type: ignore[arg-type]


def test_spare_blocks_leave_where_there_is_no_room_and_the_others_stay():
    needed, large, small, last = block(0.1, 50), block(0.2, 60, spare=True), block(0.3, 20, spare=True), block(0.4, 30)
    assert fitting([needed, large, small, last], 1000) == [needed, large, small, last]
    assert fitting([needed, large, small, last], 110) == [needed, small, last]
    assert fitting([needed, large, small, last], 10) == [needed, last]


def test_filler_ends_before_the_budget():
    blocks = fill(random.Random(0), 200, brief_filler)
    total = sum(one.tokens for one in blocks)
    assert 200 - 20 < total <= 200 and not any(one.relevant for one in blocks)
    assert fill(random.Random(0), 0, brief_filler) == []


def test_distances_count_from_the_beginning_of_the_evidence():
    blocks = [block(0.1, 10, fact=1), block(0.2, 20), block(0.3, 30, fact=0)]
    assert distances_to_end(blocks) == {0: 30, 1: 60}


def test_each_window_has_its_file_and_one_without_a_budget_zeros(tmp_path: Path):
    history = History(
        persona_id=7, file_name="h7.json", raw_persona_file="raw7.json", card="Somebody.", num_facts=2,
        blocks=[block(0.9, 40, fact=0), block(0.1, 30, fact=1), block(0.5, 200, spare=True)],
    )  # fmt: skip
    make_folders(tmp_path, ["32k"])
    rows = write_histories(random.Random(1), tmp_path, history, {"32k": 150}, brief_filler)
    assert [row["chat_history_32k_link"] for row in rows] == ["data/chat_history_32k/h7.json"] * 2
    assert {row["total_tokens_in_chat_history_128k"] for row in rows} == {0}
    payload = json.loads((tmp_path / rows[0]["chat_history_32k_link"]).read_text())
    lengths = [count_tokens(message["content"]) for message in payload["chat_history"]]
    assert payload["chat_history"][0] == {"role": "system", "content": "Somebody."}
    assert payload["metadata"]["final_token_count"] == sum(lengths) == rows[0]["total_tokens_in_chat_history_32k"]
    assert 130 < sum(lengths) <= 150
    assert rows[0]["num_persona_relevant_tokens_32k"] == count_tokens("Somebody.") + 70
    assert rows[0]["distance_from_related_snippet_to_query_32k"] < rows[1]["distance_from_related_snippet_to_query_32k"]
