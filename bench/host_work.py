"""What one rank's Python does between two uses of the accelerator, for one batch of the recipe at its full size.

    python bench/host_work.py [--repeats 3]

32 questions x 16 completions of 100 to 1,640 tokens, prompts of 37,000 tokens (configs/qwen3_4b.yaml) and of 140,000
(configs/qwen3_4b_128k.yaml), no model: token ids are random. Rank 0 of 8 takes its eighth of the rollouts, all ranks'
samples, and its eighth of the micro-batches; one rank alone takes all of it. Two optimizer steps and one pass for the
old log-probs. Seconds are of the processor, on one core, the least of the repeats. Prints a table and writes
bench/results/host_work.json.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import numpy as np
import torch
from vllm import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
from vllm.v1.request import Request

from rft.config import Config, load_config
from rft.grpo.forest import build_forest
from rft.grpo.forest_attention import plan_attention
from rft.grpo.packing import packs_of_rank
from rft.grpo.replay import save_samples
from rft.grpo.samples import token_paths, trained_tokens, training_samples
from rft.planning.auto import natural_sizes, with_limit, without_gpu
from rft.records import Answer, Completion, Prompt, Question, Rollout, Sample, Score
from rft.telemetry.provenance import provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "host_work.json"
CONFIGS = {"32k": "configs/qwen3_4b.yaml", "128k": "configs/qwen3_4b_128k.yaml"}
BOUNDS = {"32k": 2.0, "128k": 5.0}
"""Seconds that a batch may take on one core."""
BLOCK_SIZE = 16
"""Tokens per block of vLLM's prefix cache on a GPU."""
VLLM = "vLLM's requests and block hashes"
"""The phase that is vLLM's own Python: it hashes the blocks of each request, also of siblings with one prompt."""
ON_REQUEST = "replay (log.save_samples)"
"""The phase that most runs do not have; it is in no sum."""
QUESTION_TOKENS = 300
VOCAB_SIZE = 151_000
CPU = torch.device("cpu")

T = TypeVar("T")


@dataclass(kw_only=True)
class Stopwatch:
    """Processor seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, phase: str, work: Callable[[], T]) -> T:
        started = time.process_time()
        result = work()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.process_time() - started
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    init_none_hash(sha256)
    measured = {
        window: {f"rank 0 of {ranks}": measure(ROOT / path, ranks, repeats) for ranks in (8, 1)}
        for window, path in CONFIGS.items()
    }
    report = {
        "command": f"python bench/host_work.py --repeats {repeats}",
        "date": date.today().isoformat(),
        "bounds": BOUNDS,
        "seconds": measured,
        "provenance": provenance(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print_table(measured)


def measure(path: Path, num_ranks: int, repeats: int) -> dict[str, float]:
    """Seconds by phase of the quickest of `repeats` batches, and their sum without and with vLLM's own share."""
    config = load_config(path)
    # What the planner chooses on 8 GPUs of 80 GB: all groups that a GPU has in one optimizer step.
    config = without_gpu(with_limit(config, natural_sizes(config, 8)[0]))
    groups = make_groups(config)
    runs = [host_work(config, groups, num_ranks).seconds for _ in range(repeats)]
    least = {phase: min(run[phase] for run in runs) for phase in runs[0]}
    ours = sum(seconds for phase, seconds in least.items() if phase not in (VLLM, ON_REQUEST))
    return {**least, "sum, ours": ours, "sum, with vLLM's": ours + least[VLLM]}


def make_groups(config: Config) -> list[list[Rollout]]:
    """The rollouts of a whole batch, in the order of its questions: siblings hold one and the same prompt."""
    rng, draw = random.Random(0), np.random.default_rng(0)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(draw.integers(VOCAB_SIZE, size=count).tolist())

    groups = []
    context_tokens = config.data.max_prompt_length - QUESTION_TOKENS
    for number in range(config.rollout.questions_per_batch):
        if number % config.data.questions_per_context == 0:
            context = tokens(context_tokens)
        question = Question(
            question_id=f"train/{number}", context_id=str(number // config.data.questions_per_context),
            query="", correct_answer="", cluster="",
        )  # fmt: skip
        prompt = Prompt(
            question=question, token_ids=context + tokens(QUESTION_TOKENS), num_context_tokens=context_tokens,
            option_order=(0, 1, 2, 3),
        )  # fmt: skip
        groups.append([
            Rollout(updates=(), answers=(answer(prompt, sibling, tokens(rng.randint(100, 1640)), draw),))
            for sibling in range(config.rollout.num_generations)
        ])  # fmt: skip
    return groups


def answer(prompt: Prompt, sibling: int, token_ids: tuple[int, ...], draw: np.random.Generator) -> Answer:
    logprobs = tuple((-draw.exponential(size=len(token_ids))).tolist())
    return Answer(
        prompt=prompt,
        sibling=sibling,
        completion=Completion(token_ids=token_ids, logprobs=logprobs, finish_reason="stop", policy_version=1),
        text="",
        score=Score(reward=float(sibling % 2)),
    )


def host_work(config: Config, groups: Sequence[Sequence[Rollout]], num_ranks: int) -> Stopwatch:
    """One batch as rank 0 lives it, phase by phase, in the order of rft/grpo/train.py."""
    watch = Stopwatch()
    ids = [group[0].answers[0].prompt.question_id for group in groups]
    places = {question_id: place for place, question_id in enumerate(ids)}
    rules: dict[str, Any] = {"scale_rewards": False, "credit": "shared", "places": places}
    size = len(groups) // num_ranks
    shares = [groups[start : start + size] for start in range(0, len(groups), size)]
    watch.time(VLLM, lambda: hash_requests(shares[0]))
    mine = watch.time("samples", lambda: training_samples(shares[0], **rules))
    # What torch's all_gather_object does on each rank: its own part is pickled, every part is read.
    watch.time("gather", lambda: pickle.dumps(mine))
    parts = [pickle.dumps(training_samples(share, **rules)) for share in shares]
    samples = watch.time("gather", lambda: [sample for part in parts for sample in pickle.loads(part)])
    samples.sort(key=lambda sample: sample.place)
    half = len(samples) // config.train.steps_per_generation
    passes = [samples, *(samples[start : start + half] for start in range(0, len(samples), half))]
    for batch in passes:
        packs = watch.time("packing", partial(packs_of_rank, config.train, batch, 0, num_ranks))
        for pack, _ in packs:
            lay_out(watch, [batch[index] for index in pack])
    with tempfile.TemporaryDirectory() as folder:
        watch.time(ON_REQUEST, lambda: save_samples(Path(folder), 0, samples))
    return watch


def hash_requests(groups: Sequence[Sequence[Rollout]]) -> None:
    """What vLLM does with each request before its scheduler sees it."""
    hasher = get_request_block_hasher(BLOCK_SIZE, sha256)
    for rollout in (rollout for group in groups for rollout in group):
        Request(
            request_id="", prompt_token_ids=list(rollout.answers[0].prompt.token_ids),
            sampling_params=SamplingParams(max_tokens=1), pooling_params=None, block_hasher=hasher,
        )  # fmt: skip


def lay_out(watch: Stopwatch, batch: Sequence[Sample]) -> None:
    """The host's part of a micro-batch (rft/grpo/logprobs.py, `forest_logprobs`)."""

    def forest_of_batch() -> None:
        forest = build_forest(token_paths(batch))
        trained = [forest.path_indices(i)[len(sample.prompt_ids) :] for i, sample in enumerate(batch)]
        np.unique(np.concatenate(trained), return_inverse=True)
        plan_attention(forest.segments, CPU)

    watch.time("forest", forest_of_batch)
    watch.time("loss tensors", lambda: trained_tokens(batch, CPU))


def print_table(measured: dict[str, dict[str, dict[str, float]]]) -> None:
    columns = [(window, rank) for window, ranks in measured.items() for rank in ranks]
    print(f"{'processor seconds per batch':34s}" + "".join(f"{f'{w}, {r}':>22s}" for w, r in columns))
    for phase in measured["32k"]["rank 0 of 8"]:
        print(f"{phase:34s}" + "".join(f"{measured[window][rank][phase]:22.3f}" for window, rank in columns))


if __name__ == "__main__":
    main()
