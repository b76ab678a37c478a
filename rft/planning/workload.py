"""What goes through the model in one rollout batch, in tokens: known from the config alone, without data.

Shapes of prompts are taken at their longest, replies at a length that the caller names. A batch is made of `Family`s:
paths that begin with the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from rft.config import Config
from rft.grpo.forest import build_forest
from rft.grpo.packing import pack_micro_batches
from rft.grpo.samples import token_paths
from rft.records import Sample
from rft.tasks.registry import task_class

QUESTION_TOKENS = 300
"""Of a prompt, what is not its context: the question, its options and the request. An assumption; PersonaMem-v2 has 150
to 300."""

INSTRUCTION_TOKENS = 400
"""Of a prompt that rewrites a memory or answers from it, what is neither chunk nor memory. An assumption."""

WINDOW_TOKENS = {"32k": 32_000, "128k": 128_000, "1M": 1_000_000}
"""Tokens of a context by data.window, of which a memory reads a chunk at a time."""

DEFAULT_REPLY_SHARE = 0.5
"""Mean length of a reply as a share of the longest, where plan.mean_completion_length does not say."""

PACKED_TOKENS = 200_000
"""Most tokens of an optimizer step that are really packed; a larger step is packed at a smaller scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Token paths that share their beginning: a history with its questions and completions, for example.

    Each of `groups` questions goes on from the `shared` tokens, and each of its `siblings` completions from there.

    Example, four questions on a history of 36,700 tokens, 16 completions each:
        Family(name="answers", shared=36_700, groups=4, question=300, siblings=16, own=0, completion=2048, count=8,
               turns=1)
    """

    name: str
    shared: int
    """Tokens that all paths begin with."""
    groups: int
    question: int
    """Tokens that each group adds."""
    siblings: int
    own: int
    """Tokens that each sibling adds before its completion: the memory that it wrote."""
    completion: int
    count: float
    """How many families of this kind a rollout batch has, over all ranks."""
    turns: int = 1
    """How many of them are generated one after another: the updates of one memory."""

    @property
    def unique_tokens(self) -> int:
        """Of one family, each shared token counted once."""
        return self.shared + self.groups * self.unique_of_group

    @property
    def unique_of_group(self) -> int:
        return self.question + self.siblings * (self.own + self.completion)

    @property
    def path_tokens(self) -> int:
        """Of one family, each path counted whole."""
        return self.num_paths * (self.shared + self.question + self.own + self.completion)

    @property
    def num_paths(self) -> int:
        return self.groups * self.siblings


def families(config: Config, *, longest: bool) -> list[Family]:
    """The families of one rollout batch.

    Args:
        longest: replies as long as they can be, for memory; else of the mean length, for time.
    """
    writes_memories = "memory" in task_class(config).uses
    return memory_families(config, longest) if writes_memories else [answer_family(config, longest)]


def evaluation_families(config: Config) -> list[Family]:
    """The families of one evaluation: a greedy reply to each question, each with a context of its own."""
    return [
        replace(family, groups=1, siblings=1, count=config.eval.num_questions * family.turns)
        for family in families(config, longest=False)
    ]


def reply_length(config: Config, longest_reply: int, longest: bool) -> int:
    """Tokens of a reply that may have `longest_reply`."""
    if longest:
        return longest_reply
    mean = config.plan.mean_completion_length or math.ceil(DEFAULT_REPLY_SHARE * longest_reply)
    return min(mean, longest_reply)


def answer_family(config: Config, longest: bool) -> Family:
    """A context with its questions, as tasks that ask once have it."""
    rollout, data = config.rollout, config.data
    question = min(QUESTION_TOKENS, max(1, data.max_prompt_length // 10))
    return Family(
        name="answers",
        shared=data.max_prompt_length - question,
        groups=data.questions_per_context,
        question=question,
        siblings=rollout.num_generations,
        own=0,
        completion=reply_length(config, rollout.max_completion_length, longest),
        count=rollout.questions_per_batch / data.questions_per_context,
    )


def memory_families(config: Config, longest: bool) -> list[Family]:
    """The siblings' versions of each rewriting of a memory, and the answers from each finished memory."""
    rollout, data, memory = config.rollout, config.data, config.memory
    contexts = rollout.questions_per_batch / (1 if memory.query_aware else data.questions_per_context)
    turns = math.ceil(WINDOW_TOKENS[data.window] / memory.chunk_tokens)
    kept = reply_length(config, memory.max_memory_tokens, longest)
    update = Family(
        name="memory updates",
        shared=min(memory.chunk_tokens + INSTRUCTION_TOKENS, data.max_prompt_length - kept),
        groups=1,
        question=0,
        siblings=rollout.num_generations,
        own=kept,
        completion=reply_length(config, memory.max_update_length, longest),
        count=contexts * turns,
        turns=turns,
    )
    answer = Family(
        name="answers",
        shared=max(1, min(kept + INSTRUCTION_TOKENS, data.max_prompt_length - QUESTION_TOKENS)),
        groups=1 if memory.query_aware else data.questions_per_context,
        question=QUESTION_TOKENS,
        siblings=1,
        own=0,
        completion=reply_length(config, rollout.max_completion_length, longest),
        count=contexts * rollout.num_generations,
    )
    return [update, answer]


def samples_of(family: Family, number: int, tokens: Iterator[int], scale: int = 1) -> list[Sample]:
    """The samples of one family; every run of tokens is one token, repeated, that no other run has.

    Args:
        number: tells the groups of families apart.
        scale: lengths are divided by it, and rounded up.
    """

    def run(length: int) -> tuple[int, ...]:
        return (next(tokens),) * math.ceil(length / scale)

    samples, shared = [], run(family.shared)
    for group in range(family.groups):
        prompt = shared + run(family.question)
        for _ in range(family.siblings):
            samples.append(
                Sample(
                    prompt_ids=prompt + run(family.own) if family.own else prompt,
                    completion_ids=run(family.completion),
                    sampling_logprobs=(0.0,) * math.ceil(family.completion / scale),
                    advantage=1.0,
                    group=f"{family.name}/{number}/{group}",
                )
            )
    return samples


# --------------------------------------------------------------------------------------------------------- packing


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A micro-batch in numbers.

    Example, a history of 37,000 tokens and 16 completions of 2,048:
        Pack(tokens=69_768, trained=32_768, pairs=1.9e9, path_tokens=624_768)
    """

    tokens: int
    """Tokens that go through the model."""
    trained: int
    """Tokens that are trained on."""
    pairs: float
    """Pairs of a token and a token that it attends to, itself included."""
    path_tokens: int
    """Tokens if every path went through the model by itself."""


def packs_of_step(config: Config, num_ranks: int, *, longest: bool) -> list[list[Pack]]:
    """The micro-batches of each rank in one optimizer step, by the packer of the run itself.

    A step of very many tokens is packed at a smaller scale: lengths and limit divided by the same number.
    """
    samples, scale = samples_of_step(config, longest)
    limit = max(1, micro_batch_limit(config) // scale)
    train = replace(config.train, max_tokens_per_microbatch=limit)
    dealt = pack_micro_batches(train, samples, num_ranks)
    return [
        [measure_pack([samples[index] for index in pack], scale, config.train.shared_prefix) for pack in packs]
        for packs in dealt
    ]


def micro_batch_limit(config: Config) -> int:
    """`train.max_tokens_per_microbatch` of a config in which it is no longer `auto`."""
    limit = config.train.max_tokens_per_microbatch
    assert not isinstance(limit, str), "auto is resolved before anything is packed"
    return limit


def samples_of_step(config: Config, longest: bool) -> tuple[list[Sample], int]:
    """The samples of one optimizer step, and by what their lengths were divided."""
    share = 1 / config.train.steps_per_generation
    kinds = families(config, longest=longest)
    total = sum(family.unique_tokens * family.count * share for family in kinds)
    scale = max(1, math.ceil(total / PACKED_TOKENS))
    tokens = count()
    samples = [
        sample
        for family in kinds
        for number in range(max(1, math.ceil(family.count * share)))
        for sample in samples_of(family, number, tokens, scale)
    ]
    return samples, scale


def measure_pack(samples: list[Sample], scale: int, shared_prefix: bool) -> Pack:
    """A micro-batch of samples whose lengths were divided by `scale`."""
    trained = sum(len(sample.completion_ids) for sample in samples)
    paths = [len(sample.prompt_ids) + len(sample.completion_ids) for sample in samples]
    if shared_prefix:
        segments = build_forest(token_paths(samples)).segments
        tokens = segments[-1].end
        pairs = sum(
            (s.end - s.start) * (s.end - s.start + 1) / 2 + (s.subtree_end - s.end) * (s.end - s.start)
            for s in segments
        )
    else:
        tokens = len(paths) * max(paths)  # padded to the longest
        pairs = len(paths) * max(paths) * (max(paths) + 1) / 2
    return Pack(tokens=tokens * scale, trained=trained * scale, pairs=pairs * scale**2, path_tokens=sum(paths) * scale)


def largest_pack(config: Config, num_ranks: int) -> list[Sample]:
    """Samples of a micro-batch that takes as much memory as one of this run can.

    With shared prefixes it is filled to train.max_tokens_per_microbatch. Where a rank's whole part of a step fits into
    one micro-batch with the longest replies, it is that part. Without shared prefixes it has the most and the longest
    paths that it may have.
    """
    family = max(families(config, longest=True), key=lambda kind: kind.unique_tokens)
    if not config.train.shared_prefix:
        paths = config.train.per_device_train_batch_size
        families_needed, tokens = math.ceil(paths / family.num_paths), count()
        return [s for number in range(families_needed) for s in samples_of(family, number, tokens)][:paths]
    packs = packs_of_step(config, num_ranks, longest=True)
    limit = micro_batch_limit(config)
    if max(map(len, packs)) == 1:
        limit = min(limit, max(pack.tokens for (pack,) in packs))
    return filled(family, limit)


def filled(family: Family, limit: int) -> list[Sample]:
    """Samples of as many families as are needed for `limit` unique tokens, or one sample that is longer by itself."""
    samples: list[Sample] = []
    used, tokens = 0, count()
    for number in count():
        for index, sample in enumerate(samples_of(family, number, tokens)):
            added = new_tokens(family, index)
            room = limit - used - added
            if samples and room <= 0:
                return [*samples[:-1], with_reply(samples[-1], len(samples[-1].completion_ids) + limit - used)]
            length = min(max(room, 1), len(sample.completion_ids)) if samples else len(sample.completion_ids)
            samples.append(with_reply(sample, length))
            used += added + length
            if used >= limit:
                return samples
    raise AssertionError("counting has no end")


def new_tokens(family: Family, index: int) -> int:
    """What path number `index` of a family adds to those before it, its completion left out."""
    begins_family, begins_group = index == 0, index % family.siblings == 0
    return family.own + (family.shared if begins_family else 0) + (family.question if begins_group else 0)


def with_reply(sample: Sample, length: int) -> Sample:
    return replace(sample, completion_ids=sample.completion_ids[:1] * length, sampling_logprobs=(0.0,) * length)
