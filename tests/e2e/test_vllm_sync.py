"""The real vLLM holds the trainer's weights: log-probs after every sync, prefix cache, seeds, sleep, bad streams.

Each engine lives in a process of its own, which returns what it measured; the tests look at different parts of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from rft.config import RolloutConfig
from rft.records import Completion, TurnRequest
from rft.rollout.engine import GREEDY, EngineCounters, Sampling
from rft.rollout.vllm_engine import VllmEngine
from rft.weights import named_full_weights

VOCAB_SIZE = 300  # no multiple of 64, to which vLLM pads
STOP_TOKEN_IDS = (1, 2)
WINDOW = 8192
SAMPLED = Sampling(temperature=1.0, top_p=1.0, top_k=0)
NUM_UPDATES = 5
BOUND = 1e-5
"""Largest mean |log p(engine) - log p(trainer)| of sampled tokens in float32."""


@dataclass
class Report:
    """What one engine process measured."""

    gaps: list[float]
    """Mean |log p(engine) - log p(trainer)|: at the start, then after each update."""
    moves: list[float]
    """Mean |log p(new) - log p(old)| that each update gave the same tokens: what a stale engine would show."""
    tempered_gap: float
    greedy_gap: float
    lora_gap: float
    lora_move: float
    versions: list[int]
    completions: list[Completion]
    """Of the last full update, the prefix cache just emptied."""
    repeated: list[Completion]
    """The same requests again, the prefix cache emptied again."""
    prefix: EngineCounters
    """Of 4 questions x 8 completions on one history."""
    scheduled_prompt_tokens: int
    """Prompt tokens that vLLM's scheduler sent through the model for them."""
    unique_prompt_tokens: int
    trainer_state_untouched: bool
    errors: dict[str, str]


def tiny_model(tied: bool) -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=tied,
        initializer_range=0.1,
    )
    return Qwen3ForCausalLM(config).eval()


def make_engine(folder: Path) -> VllmEngine:
    return VllmEngine(
        str(folder),
        RolloutConfig(vllm_kv_cache_gb=0.25),
        window=WINDOW,
        dtype=torch.float32,
        seed=0,
        stop_token_ids=STOP_TOKEN_IDS,
    )


def tokens(rng: random.Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(3, VOCAB_SIZE) for _ in range(count))


def requests() -> list[TurnRequest]:
    """Three prompts of unlike length, six siblings each."""
    rng = random.Random(0)
    prompts = [tokens(rng, count) for count in (150, 37, 64)]
    return [TurnRequest(prompt_ids=p, seed=100 * i + k, max_tokens=40) for i, p in enumerate(prompts) for k in range(6)]


def trainer_logprobs(model: nn.Module, asked: TurnRequest, reply: Completion, temperature: float) -> torch.Tensor:
    """float32 [T]: the trainer's log-probs of a reply's tokens."""
    ids = torch.tensor([asked.prompt_ids + reply.token_ids])
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits[0] / temperature, dim=-1)
    start = len(asked.prompt_ids)
    return logprobs[start - 1 : -1].gather(1, ids[0, start:, None])[:, 0]


def logprob_gap(model: nn.Module, replies: Sequence[Completion], temperature: float = 1.0) -> float:
    pairs = [
        (trainer_logprobs(model, asked, reply, temperature), torch.tensor(reply.logprobs))
        for asked, reply in zip(requests(), replies, strict=True)
    ]
    return (torch.cat([mine for mine, _ in pairs]) - torch.cat([engines for _, engines in pairs])).abs().mean().item()


def update(model: PreTrainedModel, optimizer: torch.optim.Optimizer, seed: int) -> None:
    ids = torch.randint(3, VOCAB_SIZE, (4, 48), generator=torch.Generator().manual_seed(seed))
    model(ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def measure(folder: Path, tied: bool) -> Report:
    """Everything asked of one engine, in one process."""
    torch.set_num_threads(1)  # models this small only wait for a second one
    model = tiny_model(tied)
    trainer_state = torch.get_rng_state(), torch.get_num_threads(), torch.set_num_threads
    engine = make_engine(folder / "start")
    replies = engine.generate(requests(), SAMPLED)
    gaps, moves, versions = [logprob_gap(model, replies)], [], [replies[0].policy_version]
    tempered = Sampling(temperature=0.6, top_p=1.0, top_k=0)
    tempered_gap = logprob_gap(model, engine.generate(requests(), tempered), temperature=0.6)
    greedy_gap = logprob_gap(model, engine.generate(requests(), GREEDY))

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(NUM_UPDATES):
        update(model, optimizer, seed=step)
        moves.append(logprob_gap(model, replies))
        engine.sync_weights(named_full_weights(model))
        replies = engine.generate(requests(), SAMPLED)
        gaps.append(logprob_gap(model, replies))
        versions.append(replies[0].policy_version)
    model.save_pretrained(folder / "trained")
    engine.reset_prefix_cache()
    repeated = engine.generate(requests(), SAMPLED)
    after = torch.get_rng_state(), torch.get_num_threads(), torch.set_num_threads
    untouched = torch.equal(after[0], trainer_state[0]) and after[1:] == trainer_state[1:]

    prefix, scheduled, unique = measure_prefix_cache(engine)
    lora_move, lora_gap = measure_lora(engine, model, repeated)
    return Report(
        gaps=gaps,
        moves=moves,
        tempered_gap=tempered_gap,
        greedy_gap=greedy_gap,
        lora_gap=lora_gap,
        lora_move=lora_move,
        versions=versions,
        completions=replies,
        repeated=repeated,
        prefix=prefix,
        scheduled_prompt_tokens=scheduled,
        unique_prompt_tokens=unique,
        trainer_state_untouched=untouched,
        errors=provoke_errors(engine, model),
    )


def measure_prefix_cache(engine: VllmEngine) -> tuple[EngineCounters, int, int]:
    """4 questions x 8 completions on one history, too long for one scheduler step: counters, scheduled, unique."""
    rng = random.Random(1)
    history = tokens(rng, 7000)
    questions = [tokens(rng, 60) for _ in range(4)]
    asked = [TurnRequest(prompt_ids=history + q, seed=k, max_tokens=4) for q in questions for k in range(8)]
    scheduler = engine._llm.llm_engine.engine_core.engine_core.scheduler
    schedule, scheduled = scheduler.schedule, []

    def recorded(*args: Any, **kwargs: Any) -> Any:
        output = schedule(*args, **kwargs)
        scheduled.append(output.total_num_scheduled_tokens)
        return output

    scheduler.schedule = recorded
    before = engine.counters()
    engine.generate(asked, SAMPLED)
    used = engine.counters() - before
    scheduler.schedule = schedule
    # Every generated token but a completion's last goes through the model, too.
    return used, sum(scheduled) - (used.generated_tokens - len(asked)), len(history) + sum(map(len, questions))


def measure_lora(engine: VllmEngine, model: PreTrainedModel, replies: Sequence[Completion]) -> tuple[float, float]:
    """How far adapters moved the log-probs of `replies`, and the gap after their sync."""
    policy = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-2)
    for step in range(2):
        update(policy, optimizer, seed=10 + step)
    move = logprob_gap(policy, replies)
    engine.sync_weights(named_full_weights(policy))
    gap = logprob_gap(policy, engine.generate(requests(), SAMPLED))
    policy.unload()
    return move, gap


def provoke_errors(engine: VllmEngine, model: PreTrainedModel) -> dict[str, str]:
    """The message of each misuse; the last ones leave the engine unusable."""
    engine.sleep()
    asleep = error_of(lambda: engine.generate(requests(), SAMPLED))
    engine.sync_weights(named_full_weights(model))
    synced = error_of(lambda: engine.generate(requests(), SAMPLED))
    without_v = [(name, tensor) for name, tensor in named_full_weights(model) if "1.self_attn.v_proj" not in name]
    missing_part = error_of(lambda: engine.sync_weights(without_v))
    without_norm = [(name, tensor) for name, tensor in named_full_weights(model) if name != "model.norm.weight"]
    missing = error_of(lambda: engine.sync_weights(without_norm))
    unknown = error_of(lambda: engine.sync_weights([("model.nope.weight", torch.zeros(3))]))
    refused = error_of(lambda: engine.sync_weights(refused_stream()))
    return {
        "asleep": asleep,
        "synced": synced,
        "missing part": missing_part,
        "missing": missing,
        "unknown": unknown,
        "refused": refused,
    }


def error_of(action: Callable[[], object]) -> str:
    try:
        action()
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def refused_stream() -> Iterator[tuple[str, torch.Tensor]]:
    """A policy whose adapter cannot be merged."""
    yield "model.norm.weight", torch.ones(64)
    raise ValueError("LoRA on 'lm_head'")


def sample_in_a_fresh_engine(folder: Path) -> list[Completion]:
    """What a resumed run does: an engine on the first weights is sent the trained ones."""
    torch.set_num_threads(1)
    engine = make_engine(folder / "start")
    engine.sync_weights(named_full_weights(Qwen3ForCausalLM.from_pretrained(folder / "trained")))
    return engine.generate(requests(), SAMPLED)


def in_own_process(function: Callable[..., Any], *args: Any) -> Any:
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


@pytest.fixture(scope="module", params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["tied", "untied"])
def tied(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def folder(tied: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_model(tied).save_pretrained(path / "start")
    return path


@pytest.fixture(scope="module")
def report(folder: Path, tied: bool) -> Report:
    return in_own_process(measure, folder, tied)


def test_logprobs_equal_the_trainers_after_every_sync(report: Report) -> None:
    assert len(report.gaps) == 1 + NUM_UPDATES
    assert max(report.gaps) < BOUND
    assert min(report.moves) > 1000 * BOUND, "updates too small to show a stale engine"


def test_logprobs_are_of_the_tempered_distribution(report: Report) -> None:
    assert report.tempered_gap < BOUND
    assert report.greedy_gap < BOUND


def test_lora_is_merged_for_the_engine(report: Report) -> None:
    assert report.lora_gap < BOUND
    assert report.lora_move > 1000 * BOUND, "adapters too small to show a base model"


def test_completions_carry_the_policy_version_and_their_end(report: Report) -> None:
    assert report.versions == list(range(NUM_UPDATES + 1))
    for asked, reply in zip(requests(), report.completions, strict=True):
        assert len(reply.logprobs) == len(reply.token_ids) <= asked.max_tokens
        ended = [token for token in reply.token_ids if token in STOP_TOKEN_IDS]
        assert ended == ([reply.token_ids[-1]] if reply.finish_reason == "stop" else [])
        assert reply.finish_reason == "stop" or len(reply.token_ids) == asked.max_tokens
    assert {reply.finish_reason for reply in report.completions} == {"stop", "length"}


def test_siblings_differ_and_a_rerun_repeats_them_bit_for_bit(report: Report) -> None:
    assert len({reply.token_ids for reply in report.completions}) == len(report.completions)
    assert report.repeated == report.completions


def test_a_resumed_run_samples_the_same_bits(report: Report, folder: Path) -> None:
    resumed = in_own_process(sample_in_a_fresh_engine, folder)
    assert [(r.token_ids, r.logprobs) for r in resumed] == [(r.token_ids, r.logprobs) for r in report.completions]


def test_a_history_is_computed_once(report: Report) -> None:
    computed = report.prefix.prompt_tokens - report.prefix.cached_prompt_tokens
    assert computed == report.scheduled_prompt_tokens
    assert report.unique_prompt_tokens <= computed <= 1.1 * report.unique_prompt_tokens


def test_the_trainers_generators_and_threads_are_left_alone(report: Report) -> None:
    assert report.trainer_state_untouched


def test_misuse_is_named(report: Report) -> None:
    assert "sync_weights" in report.errors["asleep"]
    assert report.errors["synced"] == "none"
    assert "RuntimeError: weight sync sent" in report.errors["missing part"]
    assert "model.norm.weight" in report.errors["missing"]
    assert "RuntimeError: weight sync: vLLM cannot place 'model.nope.weight'" in report.errors["unknown"]
    assert report.errors["refused"] == "ValueError: LoRA on 'lm_head'"
