"""What the engine takes of a card."""

from __future__ import annotations

import pytest
from transformers import Qwen2Config

from rft.config import RolloutConfig
from rft.planning.cards import CARDS, GIB
from rft.planning.engine import EngineMemory, engine_memory, head_dim, kv_bytes_per_token
from tests.unit.planning.small import shape_4b, tiny_shape

WEIGHTS_4B = 4_022_468_096


def engine_4b(share: float, window: int = 39_048) -> EngineMemory:
    memory = CARDS["h100"].memory
    return engine_memory(shape_4b(), RolloutConfig(), share, num_weights=WEIGHTS_4B, card_memory=memory, window=window)


def test_a_token_of_qwen3_4b_takes_144_kib():
    """A key and a value, 36 layers, 8 heads of 128 numbers of 2 bytes."""
    assert kv_bytes_per_token(shape_4b()) == 2 * 36 * 8 * 128 * 2 == 147_456


def test_a_model_that_names_no_size_of_heads_divides_its_width():
    assert head_dim(Qwen2Config(hidden_size=64, num_attention_heads=4)) == 64 // 4
    assert head_dim(tiny_shape(head_dim=32)) == 32


def test_weights_workspace_and_cache_make_up_the_share():
    engine = engine_4b(0.5)
    assert engine.total == pytest.approx(0.5 * 79.1 * GIB, rel=1e-6)
    assert engine.weights == 2 * WEIGHTS_4B
    assert engine.weights + engine.workspace + engine.kv_cache == pytest.approx(engine.total)
    assert 1.5 * GIB < engine.workspace < 4 * GIB


def test_tokens_at_half_a_card_are_about_those_of_the_audit():
    """208,000 tokens at 0.5 and 352,000 at 0.75 were worked out by hand with another workspace."""
    assert engine_4b(0.5).kv_tokens == pytest.approx(208_000, rel=0.06)
    assert engine_4b(0.75).kv_tokens == pytest.approx(352_000, rel=0.06)


def test_each_further_share_of_the_card_goes_to_the_cache():
    added = engine_4b(0.6).kv_cache - engine_4b(0.5).kv_cache
    assert added == pytest.approx(0.1 * CARDS["h100"].memory)


def test_a_share_that_weights_alone_exceed_holds_nothing():
    engine = engine_4b(0.05)
    assert engine.kv_cache < 0
    assert engine.kv_tokens == 0
    assert not engine.starts


def test_the_engine_starts_with_room_for_one_longest_sequence():
    tokens = engine_4b(0.5).kv_tokens
    assert engine_4b(0.5, window=tokens).starts
    assert not engine_4b(0.5, window=tokens + 1).starts
