"""Seconds per rollout batch by a roofline: what each phase computes and moves, over what the card can do.

    phase        time
    prefill      matrix products and attention of every prompt token that no other prompt has
    decode       per token and sequence, the bytes read: weights once per step, keys and values of every sequence,
                 or of what sequences share once (cascade attention)
    log-probs    forward passes without gradient
    update       forward and backward passes: counted matrix products and bytes, attention by its pairs of tokens
    sync         weights to the engine, its waking and sleeping
    host         packing and forests, in Python

No card reaches its peak. The shares that are assumed of it are the constants below; nothing here was measured on a GPU
but what a comment says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PretrainedConfig

from rft.config import Config
from rft.parallel import ParallelMode
from rft.planning.cards import Card
from rft.planning.engine import head_dim
from rft.planning.memory import MemoryPlan
from rft.planning.passes import PassCost
from rft.planning.size import RunSize, updates_per_batch
from rft.planning.workload import Family, Pack, evaluation_families, families, packs_of_step

MATMUL_SHARE = 0.70
"""Of peak FLOP/s in matrix products of training."""
ATTENTION_SHARES = {"fa2-ampere": (0.60, 0.50), "fa2": (0.37, 0.30), "fa4": (0.60, 0.50)}
"""Of peak FLOP/s in attention, forward and backward. `fa2` is aten's kernel on Hopper and later, which it was not made
for."""
BANDWIDTH_SHARE = 0.80
"""Of peak bandwidth in elementwise work and in decoding."""
LINK_SHARE = 0.70
"""Of peak bandwidth between cards of a machine."""
NETWORK_BYTES_PER_SECOND = 40e9
"""Between machines, per card: a 400 Gbit/s adapter each, at 80%."""
HOST_LINK_BYTES_PER_SECOND = 25e9
"""Between a card and the host's pinned memory, in one direction, with all cards of a machine at work."""
DECODE_STEP_SECONDS = 0.004
"""Of a decode step, besides what it reads: launches, sampling, the scheduler."""
SYNC_SECONDS = 3.0
"""Sleeping, waking, and what a weight sync takes besides moving the weights."""
HOST_SECONDS_PER_TOKEN = 8e-8
"""Per path token, packing and forests: measured on one CPU core, 1.5 s for 512 paths of 37,000 tokens."""
LIGER_TRAFFIC = 0.5
"""Elementwise bytes with the fused kernels of liger-kernel, as a share of those without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Example: Phase(name="update", seconds=28.3)"""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePlan:
    """Example, the recipe on 8 H100:
    TimePlan(phases=(Phase(name="prefill", seconds=1.4), ...), batch_seconds=64.0, one_by_one_seconds=440.0, ...)
    """

    phases: tuple[Phase, ...]
    """Of one rollout batch."""
    batch_seconds: float
    evaluation_seconds: float
    """Of one evaluation."""
    plain_decode_seconds: float
    """Of decoding without cascade attention."""
    cascade_decode_seconds: float
    """Of decoding with it."""
    one_by_one_seconds: float
    """Of the update if every completion went through the model with a prompt of its own."""
    sampled_tokens: float
    """Prompt and completion tokens of one rollout batch, each path whole."""
    computed_tokens: float
    """Tokens that go through the model in its updates."""
    packs: int
    """Micro-batches of a rank in one optimizer step."""
    split_into: int
    """Parts that a group of the longest replies is cut into to fit into a micro-batch; 1 is not cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """A card and the model that runs on it.

    Example:
        Roofline(card=CARDS["h100"], layers=36, heads=32, head_dim=128, kernel="fa4", num_weights=4_022_468_096)
    """

    card: Card
    layers: int
    heads: int
    head_dim: int
    kernel: str
    """Of `ATTENTION_SHARES`."""
    num_weights: int

    def matmul(self, flops: float) -> float:
        """Seconds of matrix products."""
        return flops / (self.card.bf16_flops * MATMUL_SHARE)

    def attention(self, pairs: float, forwards: int, backwards: int) -> float:
        """Seconds of attention over `pairs` of tokens: two products forward, five backward (arXiv 2205.14135)."""
        forward = 4 * pairs * self.heads * self.head_dim * self.layers
        ahead, back = ATTENTION_SHARES[self.kernel]
        seconds = forwards * forward / ahead + backwards * 2.5 * forward / back
        return seconds / self.card.bf16_flops

    def traffic(self, size: float) -> float:
        """Seconds of reading and writing so many bytes."""
        return size / (self.card.bytes_per_second * BANDWIDTH_SHARE)


def roofline(config: Config, shape: PretrainedConfig, card: Card, num_weights: int) -> Roofline:
    text = shape.get_text_config()
    kernel = "fa2-ampere" if card.name.startswith("a100") else "fa4"
    if config.train.attention_kernel == "aten" and kernel == "fa4":
        kernel = "fa2"
    return Roofline(
        card=card,
        layers=text.num_hidden_layers,
        heads=text.num_attention_heads,
        head_dim=head_dim(shape),
        kernel=kernel,
        num_weights=num_weights,
    )


def plan_time(
    config: Config, shape: PretrainedConfig, mode: ParallelMode, memory: MemoryPlan, card: Card, num_nodes: int
) -> TimePlan:
    """The time of one rollout batch on a GPU, and of one evaluation."""
    roof = roofline(config, shape, card, memory.held.weights.count)
    kinds = families(config, longest=False)
    dealt = packs_of_step(config, mode.num_ranks, longest=False)
    longest_packs = max(dealt, key=lambda packs: sum(pack.tokens for pack in packs))
    updates = updates_per_batch(config)
    plain, cascade = (decode_seconds(config, kinds, mode, memory, roof, cascade=used) for used in (False, True))
    pass_seconds = [update_seconds(config, pack, memory.update, mode, roof, num_nodes) for pack in longest_packs]
    frozen_share = frozen_passes(config)
    frozen = sum(frozen_seconds(config, pack, memory.frozen, roof) for pack in longest_packs)
    alone = [update_seconds(config, one_by_one(p, kinds), memory.update, mode, roof, num_nodes) for p in longest_packs]
    path_tokens = sum(family.path_tokens * family.count for family in kinds)
    phases = (
        Phase(name="prefill", seconds=prefill_seconds(kinds, mode, roof)),
        Phase(name="decode", seconds=plain if config.rollout.cascade_attention == "off" else min(plain, cascade)),
        Phase(name="log-probs", seconds=frozen * frozen_share),
        Phase(name="update", seconds=sum(pass_seconds) * updates),
        Phase(name="sync", seconds=SYNC_SECONDS + 2 * roof.num_weights / (card.link_bytes_per_second * LINK_SHARE)),
        Phase(name="host", seconds=HOST_SECONDS_PER_TOKEN * path_tokens),
    )
    return TimePlan(
        phases=phases,
        batch_seconds=sum(phase.seconds for phase in phases),
        evaluation_seconds=evaluation_seconds(config, mode, memory, roof),
        plain_decode_seconds=plain,
        cascade_decode_seconds=cascade,
        one_by_one_seconds=sum(alone) * updates,
        sampled_tokens=path_tokens,
        computed_tokens=sum(pack.tokens for packs in dealt for pack in packs) * updates,
        packs=max(map(len, dealt)),
        split_into=split_into(config),
    )


# ---------------------------------------------------------------------------------------------------------- the engine


def prefill_seconds(kinds: Sequence[Family], mode: ParallelMode, roof: Roofline) -> float:
    """Prompts of one rank, each shared beginning computed once."""
    seconds = 0.0
    for family in kinds:
        shared, question = family.shared, family.question
        own = family.own * family.num_paths
        tokens = shared + family.groups * question + own
        pairs = shared**2 / 2 + (family.groups * question + own) * shared
        mine = family.count / mode.num_ranks
        seconds += mine * (roof.matmul(2.0 * roof.num_weights * tokens) + roof.attention(pairs, 1, 0))
    return seconds


def decode_seconds(
    config: Config, kinds: Sequence[Family], mode: ParallelMode, memory: MemoryPlan, roof: Roofline, *, cascade: bool
) -> float:
    """Completions of one rank. With cascade attention one family after another; without, as many as the cache holds.

    What is read grows with the mean length of replies. How many steps there are is decided by the longest of those that
    are generated at the same time; with 16 or more it is taken to be as long as a reply can be.
    """
    longest = {family.name: family.completion for family in families(config, longest=True)}
    assert memory.held.engine is not None
    engine = memory.held.engine
    seconds = 0.0
    for family in kinds:
        mine = family.count / mode.num_ranks
        tail = family.own + family.completion / 2  # of a sequence half way
        read_once = family.shared + family.num_paths * (family.question + tail)
        read_each = family.num_paths * (family.shared + family.question + tail)
        per_turn = mine / family.turns
        together = min(1.0, per_turn) if cascade else families_at_once(config, family, engine.kv_tokens, per_turn)
        waves = math.ceil(per_turn / together - 1e-9) if together else 0
        steps = family.turns * waves * longest[family.name]
        tokens_read = mine * family.completion * (read_once if cascade else read_each)
        seconds += roof.traffic(steps * engine.weights + tokens_read * engine.kv_bytes_per_token)
        seconds += steps * DECODE_STEP_SECONDS
    return seconds


def families_at_once(config: Config, family: Family, kv_tokens: int, per_turn: float) -> float:
    """How many of `per_turn` families one engine generates at the same time."""
    most = min(kv_tokens / family.unique_tokens, config.rollout.vllm_max_num_seqs / family.num_paths)
    return min(per_turn, max(1.0, most))


def evaluation_seconds(config: Config, mode: ParallelMode, memory: MemoryPlan, roof: Roofline) -> float:
    kinds = evaluation_families(config)
    return prefill_seconds(kinds, mode, roof) + decode_seconds(config, kinds, mode, memory, roof, cascade=False)


# --------------------------------------------------------------------------------------------------------- the trainer


def update_seconds(
    config: Config, pack: Pack, cost: PassCost, mode: ParallelMode, roof: Roofline, num_nodes: int
) -> float:
    """Forward and backward pass of one micro-batch; what is exchanged or offloaded runs beside it."""
    share = pack.tokens / cost.tokens
    recomputed = int(config.train.gradient_checkpointing)
    moved = cost.moved_bytes * share * (LIGER_TRAFFIC if config.train.use_liger_kernel else 1.0)
    computing = (
        roof.matmul(cost.matmul_flops * share) + roof.attention(pack.pairs, 1 + recomputed, 1) + roof.traffic(moved)
    )
    offloading = 2 * cost.host * share / HOST_LINK_BYTES_PER_SECOND
    return max(computing, exchange_seconds(config, mode, roof, num_nodes), offloading)


def exchange_seconds(config: Config, mode: ParallelMode, roof: Roofline, num_nodes: int) -> float:
    """What a micro-batch sends between ranks: with ZeRO-3 the weights once per pass over the layers, and gradients,
    of which adapters have next to none."""
    if mode.num_ranks == 1:
        return 0.0
    passes = 2 + int(config.train.gradient_checkpointing) if mode.kind == "zero3" else 0
    gradients = 4.0 if config.model.lora.r == 0 else 0.0  # bytes in float32; weights are sent in bfloat16
    size = roof.num_weights * (2.0 * passes + gradients)
    speed = roof.card.link_bytes_per_second * LINK_SHARE
    return size / (min(speed, NETWORK_BYTES_PER_SECOND) if num_nodes > 1 else speed)


def frozen_seconds(config: Config, pack: Pack, cost: PassCost, roof: Roofline) -> float:
    """A pass of one micro-batch without a gradient."""
    share = pack.tokens / cost.tokens
    return (
        roof.matmul(cost.matmul_flops * share)
        + roof.attention(pack.pairs, 1, 0)
        + roof.traffic(cost.moved_bytes * share)
    )


def frozen_passes(config: Config) -> float:
    """How many optimizer steps' micro-batches go through a model without a gradient, per rollout batch: those after the
    first for their old log-probs, and all for the reference's."""
    steps = config.train.steps_per_generation
    return (steps - 1) + (steps if config.train.beta > 0 else 0)


def one_by_one(pack: Pack, kinds: Sequence[Family]) -> Pack:
    """The same completions, each with its prompt by itself."""
    family = max(kinds, key=lambda kind: kind.path_tokens * kind.count)
    path = family.path_tokens / family.num_paths
    return replace(pack, tokens=pack.path_tokens, pairs=pack.path_tokens * path / 2)


def split_into(config: Config) -> int:
    """Parts of a group with the longest replies under train.max_tokens_per_microbatch; halves of halves."""
    if not config.train.shared_prefix:
        return config.rollout.num_generations
    limit = config.train.max_tokens_per_microbatch
    assert not isinstance(limit, str)
    family = max(families(config, longest=True), key=lambda kind: kind.unique_tokens)
    parts = 1
    while parts < family.siblings and (
        family.shared + family.question + math.ceil(family.siblings / parts) * (family.own + family.completion) > limit
    ):
        parts *= 2
    return min(parts, family.siblings)


def run_hours(time: TimePlan, size: RunSize, num_evaluations: int) -> float:
    """Of a whole run."""
    return (size.num_batches * time.batch_seconds + num_evaluations * time.evaluation_seconds) / 3600
