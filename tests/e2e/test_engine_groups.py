"""Contexts generated one after another: the same tokens, and every running sequence begins with one history, which is
what vLLM's cascade attention asks for. On a real vLLM; its scheduler is watched."""

from __future__ import annotations

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.config import RolloutConfig
from rft.records import Completion, TurnRequest
from rft.rollout.engine import EngineCounters, Sampling

VOCAB_SIZE = 64
HISTORY, NUM_CONTEXTS, NUM_QUESTIONS, NUM_SIBLINGS, LENGTH = 800, 3, 2, 10, 24
SAMPLED = Sampling(temperature=1.0, top_p=1.0, top_k=0)
BLOCK = 32
KV_CACHE_GB = 0.012
"""Holds the sequences of one history at their full length, and not those of three."""


@dataclass
class Report:
    completions: list[Completion]
    counters: EngineCounters
    common_blocks: list[int]
    """At every decode step, the blocks that all running sequences share."""
    kv_cache_tokens: int
    summary: str


def tiny_model() -> Qwen3ForCausalLM:
    """With as many key-value heads as Qwen3-4B: fewer than 17 sequences would not be worth cascade attention."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=16,
            num_key_value_heads=8, head_dim=32, max_position_embeddings=1024, initializer_range=0.1,
        )
    )  # fmt: skip


def requests() -> list[TurnRequest]:
    rng = random.Random(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(2, VOCAB_SIZE) for _ in range(count))

    prompts = [
        history + tokens(20) for history in (tokens(HISTORY) for _ in range(NUM_CONTEXTS)) for _ in range(NUM_QUESTIONS)
    ]
    return [
        TurnRequest(prompt_ids=prompt, seed=100 * number + sibling, max_tokens=LENGTH)
        for number, prompt in enumerate(prompts)
        for sibling in range(NUM_SIBLINGS)
    ]


def generate(folder: Path, cascade: Literal["on", "off"]) -> Report:
    from rft.rollout.vllm_engine import VllmEngine

    torch.set_num_threads(1)
    engine = VllmEngine(
        str(folder),
        RolloutConfig(vllm_kv_cache_gb=KV_CACHE_GB, cascade_attention=cascade),
        window=1024,
        dtype=torch.float32,
        seed=0,
        stop_token_ids=(1,),
    )
    scheduler = engine._llm.llm_engine.engine_core.engine_core.scheduler
    schedule, common = scheduler.schedule, []

    def watched(*args: Any, **kwargs: Any) -> Any:
        output = schedule(*args, **kwargs)
        if len(output.num_scheduled_tokens) > 1 and set(output.num_scheduled_tokens.values()) == {1}:
            common.append(output.num_common_prefix_blocks[0])
        return output

    scheduler.schedule = watched
    completions = engine.generate(requests(), SAMPLED)
    return Report(completions, engine.counters(), common, engine.kv_cache_tokens, engine.summary)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    folder = tmp_path_factory.mktemp("model")
    tiny_model().save_pretrained(folder)
    found = {}
    for cascade in ("on", "off"):
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            found[cascade] = pool.submit(generate, folder, cascade).result()
    return found


@pytest.mark.slow
def test_tokens_do_not_depend_on_what_is_generated_together(reports: dict[str, Report]) -> None:
    together, apart = reports["off"].completions, reports["on"].completions
    assert [one.token_ids for one in apart] == [one.token_ids for one in together]
    assert len({one.token_ids for one in apart}) > 0.9 * len(apart)
    gaps = [
        abs(a - b) for x, y in zip(apart, together, strict=True) for a, b in zip(x.logprobs, y.logprobs, strict=True)
    ]
    assert max(gaps) <= 1e-5


@pytest.mark.slow
def test_all_running_sequences_begin_with_one_history(reports: dict[str, Report]) -> None:
    apart, together = reports["on"].common_blocks, reports["off"].common_blocks
    assert min(apart) == HISTORY // BLOCK
    assert sum(blocks == 0 for blocks in together) > 0.5 * len(together)


@pytest.mark.slow
def test_preemptions_and_the_cache_are_told(reports: dict[str, Report]) -> None:
    for report in reports.values():
        assert report.kv_cache_tokens >= 1024
        assert f"KV cache of {report.kv_cache_tokens:,} tokens" in report.summary
        assert "model runner V1, CPU_ATTN attention" in report.summary and "cascade attention off" in report.summary
    assert reports["off"].counters.preemptions > 0 == reports["on"].counters.preemptions
    prefill = [report.counters.prompt_tokens - report.counters.cached_prompt_tokens for report in reports.values()]
    assert prefill[0] <= prefill[1], "one history after another is never read twice"
