"""Rollouts: decoding on one long history with and without cascade attention, and the cycle of sleep, wake and sync."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from gpu_parts.common import Report, Sizes, make_model, timed
from rft.config import RolloutConfig
from rft.grpo.logprobs import dense_logprobs
from rft.records import Completion, Sample, TurnRequest
from rft.rollout.engine import Sampling
from rft.rollout.vllm_engine import VllmEngine
from rft.weights import named_full_weights

SIBLINGS = 16
QUESTIONS = (2, 4)
"""On one history: 32 and 64 sequences."""
SAMPLED = Sampling(temperature=1.0, top_p=1.0, top_k=0)
CYCLES = 2
NUDGE = 0.02
"""An update's size, as a share of each weight's standard deviation: it must show in log-probs."""


def run_with_cascade(report: Report, sizes: Sizes) -> None:
    engine = open_engine(report, sizes, cascade=True)
    decode(report, sizes, engine)
    cycle(report, sizes, engine)


def run_without_cascade(report: Report, sizes: Sizes) -> None:
    decode(report, sizes, open_engine(report, sizes, cascade=False))


def open_engine(report: Report, sizes: Sizes, *, cascade: bool) -> VllmEngine:
    with tempfile.TemporaryDirectory() as folder:
        Qwen3Config(**sizes.shape, architectures=["Qwen3ForCausalLM"]).save_pretrained(folder)
        seconds, engine = timed(
            lambda: VllmEngine(
                folder,
                RolloutConfig(
                    vllm_gpu_memory_utilization=sizes.memory_utilization,
                    vllm_kv_cache_gb=sizes.kv_cache_gb,
                    cascade_attention="on" if cascade else "off",
                ),
                window=sizes.prompt + sizes.question + sizes.decode,
                dtype=sizes.dtype,
                seed=0,
                stop_token_ids=(),
                load_format="dummy",
            )
        )
    report.write(
        case="start",
        seconds=seconds,
        engine=engine.summary,
        cascade=engine.cascade,
        kv_cache_tokens=engine.kv_cache_tokens,
    )
    return engine


# ----------------------------------------------------------------------------------------------------------- decoding


def decode(report: Report, sizes: Sizes, engine: VllmEngine) -> None:
    """Completions of questions on one history: its prefill alone, then all of them from the prefix cache."""
    rng = random.Random(0)
    history = tokens(rng, sizes.prompt, sizes)
    watched = watch_scheduler(engine)
    for num_questions in QUESTIONS:
        prompts = [history + tokens(rng, sizes.question, sizes) for _ in range(num_questions)]
        requests = [
            TurnRequest(prompt_ids=prompt, seed=number, max_tokens=sizes.decode)
            for prompt in prompts
            for number in range(SIBLINGS)
        ]
        engine.reset_prefix_cache()
        prefill, _ = timed(lambda: engine.generate([TurnRequest(prompt_ids=history, seed=0, max_tokens=1)], SAMPLED))
        before = engine.counters()
        watched.clear()
        seconds, completions = timed(partial(engine.generate, requests, SAMPLED))
        used = engine.counters() - before
        report.write(
            case=f"{len(requests)} completions on one history",
            cascade=engine.cascade,
            prefill_seconds=prefill,
            seconds=seconds,
            milliseconds_per_step=1000 * seconds / sizes.decode,
            tokens_per_second=sum(len(completion.token_ids) for completion in completions) / seconds,
            steps=len(watched),
            steps_with_one_prefix=sum(blocks > 0 for blocks in watched),
            prefix_cache_hit_rate=used.cached_prompt_tokens / used.prompt_tokens,
            preemptions=used.preemptions,
        )


def tokens(rng: random.Random, count: int, sizes: Sizes) -> tuple[int, ...]:
    return tuple(rng.randrange(3, sizes.shape["vocab_size"]) for _ in range(count))


def watch_scheduler(engine: VllmEngine) -> list[int]:
    """A list that grows with every step: the blocks that all running sequences share, which cascade attention reads
    once."""
    scheduler = engine._llm.llm_engine.engine_core.engine_core.scheduler
    schedule, seen = scheduler.schedule, []

    def watched(*args: Any, **kwargs: Any) -> Any:
        output = schedule(*args, **kwargs)
        if output.total_num_scheduled_tokens:
            seen.append(output.num_common_prefix_blocks[0])
        return output

    scheduler.schedule = watched
    return seen


# -------------------------------------------------------------------------------------------------- sleep, wake, sync


def cycle(report: Report, sizes: Sizes, engine: VllmEngine) -> None:
    """The engine has the trainer's weights after every sync; without one the difference would show."""
    model = make_model(sizes, "sdpa").eval().requires_grad_(False)
    rng = random.Random(1)
    requests = [
        TurnRequest(prompt_ids=tokens(rng, sizes.short_prompt, sizes), seed=seed, max_tokens=sizes.decode)
        for seed in range(SIBLINGS)
    ]
    sync, _ = timed(lambda: engine.sync_weights(named_full_weights(model)))
    replies = engine.generate(requests, SAMPLED)
    engine.reset_prefix_cache()
    same = [reply.token_ids for reply in engine.generate(requests, SAMPLED)] == [reply.token_ids for reply in replies]
    report.write(case="first sync", sync_seconds=sync, gap=gap(model, requests, replies), same_tokens_twice=same)
    for number in range(CYCLES):
        free = free_gib()
        sleep, _ = timed(engine.sleep)
        freed = free_gib() - free
        nudge(model, seed=number)
        stale = gap(model, requests, replies)
        sync, _ = timed(lambda: engine.sync_weights(named_full_weights(model)))
        replies = engine.generate(requests, SAMPLED)
        report.write(
            case=f"cycle {number + 1}",
            sleep_seconds=sleep,
            freed_gib=freed,
            sync_seconds=sync,
            gap=gap(model, requests, replies),
            gap_without_sync=stale,
            left_gib=free_gib(),
        )


def gap(model: Qwen3ForCausalLM, requests: Sequence[TurnRequest], replies: Sequence[Completion]) -> float:
    """Mean |log p(engine) - log p(trainer)| of the sampled tokens, in nats."""
    samples = [
        Sample(
            prompt_ids=asked.prompt_ids, completion_ids=reply.token_ids, sampling_logprobs=reply.logprobs,
            advantage=0.0, group="",
        )
        for asked, reply in zip(requests, replies, strict=True)
    ]  # fmt: skip
    with torch.no_grad():
        ours = torch.cat([dense_logprobs(model, [sample], 1.0, entropy=False).logps for sample in samples])
    theirs = torch.tensor([logprob for sample in samples for logprob in sample.sampling_logprobs])
    return (ours.cpu() - theirs).abs().mean().item()


def nudge(model: Qwen3ForCausalLM, seed: int) -> None:
    """As an update would, in place."""
    torch.manual_seed(seed)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.add_(torch.randn_like(weight), alpha=NUDGE * weight.float().std().item())


def free_gib() -> float:
    """Of the device, whoever holds it."""
    return torch.cuda.mem_get_info()[0] / 2**30 if torch.cuda.is_available() else 0.0
