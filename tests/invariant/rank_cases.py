"""Optimizer steps of a saved model on fixed samples, as every rank of a launch takes them: all cases in one launch.

Usage: rank_cases.py FOLDER plain|deepspeed. The models are in FOLDER/models. Of each case every rank writes
CASE-RANK.json to FOLDER, and rank 0 CASE.safetensors where weights are compared.

A model this small would stay whole on every rank, and no weight would ever be gathered or released. DeepSpeed's
thresholds are therefore set to nothing, and the LM head gets chunks of a few tokens.
"""

from __future__ import annotations

import copy
import gc
import hashlib
import json
import math
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import get_scheduler

from rft.config import Config
from rft.distributed import start
from rft.grpo import logprobs, tiled_mlp
from rft.grpo.frozen_logprobs import score_shares
from rft.grpo.layers import prepare_layers
from rft.grpo.optimizer_step import optimizer_step
from rft.grpo.run import Run, attention, frozen_reference
from rft.grpo.train import train_on_batch
from rft.models import load_policy
from rft.process_exit import leave
from rft.records import Sample
from rft.weights import full, named_full_weights
from tests.invariant.fixed_samples import run_on
from tests.tiny import VOCAB_SIZE

ROOT = Path(__file__).parents[2]

LEARNING_RATE = 1024.0
"""Large, so that what the step moves is not lost in the rounding of the weights; a power of two is exact."""

CHUNK_TOKENS = 5
"""Of the LM head: a micro-batch has several chunks."""

TILE_TOKENS = 2
"""Of an MLP: a micro-batch has several tiles, and two ranks do not have equally many."""

NO_THRESHOLDS = {
    "reduce_bucket_size": 700,
    "allgather_bucket_size": 700,
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 0,
    "stage3_max_reuse_distance": 0,
    "stage3_prefetch_bucket_size": 0,
}
"""DeepSpeed's `zero_optimization`, laid over that of configs/deepspeed/."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to train."""

    stage: int = 0
    """Of ZeRO; 0 is no DeepSpeed."""
    tied: bool = True
    lora: bool = False
    gradient_checkpointing: bool = False
    tiled: bool = False
    """MLPs over tiles, and layer inputs in host memory where layers are checkpointed."""
    shared_prefix: bool = True
    max_tokens: int = 45
    """Of a micro-batch. With 45 there is one group of siblings in each, and an odd number of them."""
    dtype: str = "float32"
    float32_gradients: bool = True
    """Whether gradients are reduced and added up in float32, as configs/deepspeed/ says."""


ONE_STEP = {
    "plain": {
        "plain-tied": Case(),
        "plain-wide": Case(max_tokens=10_000),
        "plain-lora": Case(tied=False, lora=True, gradient_checkpointing=True),
        "plain-tiled": Case(gradient_checkpointing=True, tiled=True),
    },
    "deepspeed": {
        f"zero{stage}-{name}": replace(case, stage=stage)
        for stage in (2, 3)
        for name, case in {
            "tied": Case(gradient_checkpointing=True),
            "wide": Case(max_tokens=10_000),
            "untied": Case(tied=False),
            "lora": Case(tied=False, lora=True, gradient_checkpointing=True),
            "tiled": Case(gradient_checkpointing=True, tiled=True),
            "tiled-lora": Case(tied=False, lora=True, gradient_checkpointing=True, tiled=True),
            "bfloat16": Case(dtype="bfloat16"),
            "bfloat16-sums": Case(dtype="bfloat16", float32_gradients=False),
        }.items()
    },
}
"""Cases that take one step, by launcher."""


def main(folder: Path, launcher: str) -> None:
    logprobs.CHUNK_ELEMENTS = CHUNK_TOKENS * VOCAB_SIZE
    tiled_mlp.TILE_TOKENS = TILE_TOKENS
    for name, case in ONE_STEP[launcher].items():
        with_run(folder, name, case, one_step, learning_rate=LEARNING_RATE)
    for stage in (0,) if launcher == "plain" else (2, 3):
        kind = f"zero{stage}" if stage else "plain"
        case = Case(stage=stage, gradient_checkpointing=True)
        with_run(folder, f"{kind}-batch", case, whole_batch, learning_rate=0.5)
        with_run(folder, f"{kind}-idle", case, idle_steps_and_one_that_is_not_finite, adamw=True)
        if stage == 3:
            for name in ("stream", "stream-lora"):
                with_run(folder, f"{kind}-{name}", replace(case, lora=name.endswith("lora")), stream_weights)
            for dtype in ("float32", "bfloat16"):
                saved = replace(case, dtype=dtype)
                with_run(folder, f"{kind}-{dtype}-uninterrupted", saved, save_between_two_steps, adamw=True)
                with_run(folder, f"{kind}-{dtype}-resumed", saved, step_from_saved, adamw=True)


def with_run(folder: Path, name: str, case: Case, do: Any, **optimizer: Any) -> None:
    """Builds the parts of a run, lets `do` use them, and writes what it returns."""
    run = build(folder, case, **optimizer)
    facts, weights = do(folder, run)
    (folder / f"{name}-{run.accelerator.process_index}.json").write_text(json.dumps(facts))
    if run.accelerator.is_main_process and weights:
        save_file({key: weight.contiguous() for key, weight in weights.items()}, folder / f"{name}.safetensors")
    for engine in (run.policy, run.reference):
        if hasattr(engine, "destroy"):
            engine.destroy()
    AcceleratorState._reset_state()
    del run, engine
    gc.collect()


# ------------------------------------------------------------------------------------------------------------- a run


def build(
    folder: Path,
    case: Case,
    accelerator: Accelerator | None = None,
    *,
    learning_rate: float = 1e-2,
    adamw: bool = False,
) -> Run:
    """The parts of a run as `rft.grpo.run` puts them together; without `accelerator`, as launched."""
    config = config_of(folder, case)
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)  # the case before has set it, as a launcher does
    accelerator = accelerator or start(config)
    policy = load_policy(config.model, case.gradient_checkpointing, attn_implementation=attention(config))
    prepare_layers(policy, config.train)
    if case.lora:
        fill_adapters(policy)
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    optimizer: Any = (
        torch.optim.AdamW(trained, lr=learning_rate, weight_decay=0.1)
        if adamw
        else torch.optim.SGD(trained, lr=learning_rate)
    )
    scheduler = get_scheduler("linear" if adamw else "constant", optimizer, num_warmup_steps=0, num_training_steps=10)
    reference = frozen_reference(config_of_reference(config), accelerator)
    policy, optimizer = accelerator.prepare(policy, optimizer)
    accelerator.register_for_checkpointing(scheduler)
    return run_on(
        samples(), config, accelerator,
        policy=policy, reference=reference, optimizer=optimizer, scheduler=scheduler,
    )  # fmt: skip


def config_of(folder: Path, case: Case) -> Config:
    config = Config()
    config.model.model_name_or_path = str(folder / "models" / ("tied" if case.tied else "untied"))
    config.model.dtype = case.dtype  # type: ignore[assignment]
    config.model.lora.r = 2 if case.lora else 0
    config.rollout.questions_per_batch = 4
    train = config.train
    train.shared_prefix = case.shared_prefix
    train.max_tokens_per_microbatch = case.max_tokens
    train.per_device_train_batch_size = 4
    train.max_grad_norm = 1e9
    train.beta = 0.1
    train.tiled_mlp = case.tiled
    train.activation_offloading = case.tiled and case.gradient_checkpointing
    train.deepspeed = str(deepspeed_settings(folder, case)) if case.stage else None
    return config


def config_of_reference(config: Config) -> Config:
    """Another model than the policy's, whose KL term would have no gradient."""
    config = copy.deepcopy(config)
    config.model.model_name_or_path += "-reference"
    return config


def deepspeed_settings(folder: Path, case: Case) -> Path:
    """A file of this rank with the settings in configs/deepspeed/, without thresholds."""
    settings = json.loads((ROOT / f"configs/deepspeed/zero{case.stage}.json").read_text())
    settings["zero_optimization"] |= NO_THRESHOLDS
    if not case.float32_gradients:
        del settings["data_types"], settings["communication_data_type"]
    path = folder / f"deepspeed-{os.environ['RANK']}.json"
    path.write_text(json.dumps(settings))
    return path


def fill_adapters(policy: nn.Module) -> None:
    """The same values on every rank and in every launch; a fresh adapter is zero, and half of it has no gradient."""
    for number, parameter in enumerate(p for p in policy.parameters() if p.requires_grad):
        generator = torch.Generator().manual_seed(number)
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)


def samples() -> list[Sample]:
    """Five groups of three siblings each: of four questions on two contexts, and a second group of the first one."""
    rng = random.Random(5)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(2, VOCAB_SIZE) for _ in range(count))

    found = []
    contexts = [tokens(9), tokens(9)]
    for place, group in ((0, 0), (0, 1), (1, 0), (2, 0), (3, 0)):
        prompt = contexts[place // 2] + tokens(5)
        for sibling in range(3):
            length = rng.randint(6, 9)
            found.append(
                Sample(
                    prompt_ids=prompt,
                    completion_ids=tokens(length),
                    sampling_logprobs=tuple(rng.uniform(-8.0, 0.0) for _ in range(length)),
                    advantage=(-1) ** sibling * (0.2 + rng.random()),
                    group=f"train/{place}/{group}",
                    place=place,
                )
            )
    return found


def trained_weights(run: Run) -> dict[str, Tensor]:
    """What the optimizer moves, whole, in float32: DeepSpeed's own copy where it keeps one."""
    model = run.accelerator.unwrap_model(run.policy)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if run.config.model.dtype == "bfloat16":
        from deepspeed.utils import safe_get_full_fp32_param

        return {name: safe_get_full_fp32_param(parameter).clone() for name, parameter in trained.items()}
    return {name: weight.clone() for name, weight in zip(trained, full(list(trained.values())), strict=True)}


# ------------------------------------------------------------------------------------------------------------- cases

Found = tuple[dict[str, Any], dict[str, Tensor]]
"""What a rank writes as json, and weights that the first rank writes."""


def one_step(_: Path, run: Run) -> Found:
    """The gradient, as what one plain step moved."""
    before = trained_weights(run)
    seen = Seen(run)
    metrics = step(run, samples())
    after = trained_weights(run)
    facts = {
        "metrics": metrics,
        "sharding": seen.sharding(),
        "passes": seen.passes,
        "chunks": seen.chunks,
        "mlp_calls": seen.mlp_calls,
        "rotary_frequencies": seen.model.get_submodule(rotary_name(seen.model)).inv_freq.tolist(),
    }
    return facts, {name: (before[name] - after[name]) / LEARNING_RATE for name in before}


def whole_batch(_: Path, run: Run) -> Found:
    """The loop on a batch of two shares, twice: old log-probs of one share from a pass, of the other from its step."""
    run.config.train.steps_per_generation = run.config.train.num_iterations = 2
    before = trained_weights(run)
    metrics = train_on_batch(run)
    after = trained_weights(run)
    return {"metrics": metrics}, {name: before[name] - after[name] for name in before}


def idle_steps_and_one_that_is_not_finite(_: Path, run: Run) -> Found:
    """A real step, one without an advantage, one without a sample, a real one; then one whose gradient is no number."""
    run.config.train.beta = 0.0
    learn = samples()
    metrics, states = [], []
    for batch in (learn, [replace(sample, advantage=0.0) for sample in learn], [], learn):
        metrics.append(step(run, batch))
        moments = copy.deepcopy(list(tensors_of(run.optimizer.state_dict())))
        states.append([*trained_weights(run).values(), *moments])
    facts = {
        "num_moments": sum(bool(tensor.any()) for tensor in moments),
        "moved": [not are_equal(*pair) for pair in pairwise(states)],
        "skipped": [found["update/skipped"] for found in metrics],
        "learning_rates": [found["learning_rate"] for found in metrics],
        "losses": [found["loss"] for found in metrics],
        "gap": metrics[1]["sampling/sampling_logp_difference/mean"],
        "finite": all(math.isfinite(value) for found in metrics for value in found.values()),
        "names": len({tuple(sorted(found)) for found in metrics}),
    }
    embeddings = run.accelerator.unwrap_model(run.policy).get_input_embeddings()
    embeddings.register_forward_hook(lambda *args: spoil_gradient(args[-1]))
    before = list(trained_weights(run).values())
    try:
        step(run, learn)
        error = ""
    except RuntimeError as found:
        error = str(found)
    unmoved = are_equal(before, list(trained_weights(run).values()))
    return facts | {"not_finite": {"error": error, "unmoved": unmoved}}, {}


def spoil_gradient(output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient * math.inf)


def stream_weights(_: Path, run: Run) -> Found:
    """What an engine is sent; every rank takes part, and nothing stays gathered."""
    parameters = list(run.accelerator.unwrap_model(run.policy).parameters())
    spread = [all(parameter.numel() == 0 for parameter in parameters)]
    streamed = {name: tensor.clone() for name, tensor in named_full_weights(run.policy)}
    spread.append(all(parameter.numel() == 0 for parameter in parameters))
    return {"spread": spread, "streamed": digests(streamed)}, {}


def digests(weights: dict[str, Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(weight.numpy().tobytes()).hexdigest() for name, weight in weights.items()}


def save_between_two_steps(folder: Path, run: Run) -> Found:
    step(run, samples())
    run.accelerator.save_state(str(folder / f"saved-{run.config.model.dtype}"))
    metrics = step(run, samples())
    return {"metrics": metrics}, trained_weights(run)


def step_from_saved(folder: Path, run: Run) -> Found:
    run.accelerator.load_state(str(folder / f"saved-{run.config.model.dtype}"))
    metrics = step(run, samples())
    return {"metrics": metrics}, trained_weights(run)


def step(run: Run, batch: list[Sample]) -> dict[str, float]:
    share = score_shares(run.config, run.accelerator, run.policy, run.reference, [batch])[0]
    return optimizer_step(
        run.config, run.accelerator, run.policy, run.optimizer, run.scheduler, share, max_completion_length=9
    ).metrics


def rotary_name(model: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if hasattr(module, "inv_freq"))


def layers_name(model: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if isinstance(module, nn.ModuleList))


class Seen:
    """What a rank holds of the weights while the policy computes, and how often and in how many chunks it does."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.model = run.accelerator.unwrap_model(run.policy)
        self.passes = 0
        self.chunks = 0
        self.mlp_calls = 0
        self.gathered: list[int] = []
        self.model.get_output_embeddings().register_forward_pre_hook(self.count_pass)
        for module in self.model.modules():
            module.register_forward_pre_hook(self.look)
        self.model.get_submodule(f"{layers_name(self.model)}.0.mlp.up_proj").register_forward_pre_hook(self.count_mlp)
        self.logprobs_of_logits = logprobs.logprobs_of_logits
        logprobs.logprobs_of_logits = self.count_chunk

    def count_pass(self, *_: Any) -> None:
        self.passes += 1

    def count_mlp(self, *_: Any) -> None:
        self.mlp_calls += 1

    def count_chunk(self, *args: Any, **kwargs: Any) -> Tensor:
        self.chunks += 1
        return self.logprobs_of_logits(*args, **kwargs)

    def look(self, *_: Any) -> None:
        self.gathered.append(sum(parameter.numel() for parameter in self.model.parameters()))

    def sharding(self) -> dict[str, int]:
        """Elements: of the model, of this rank's part, the most at a time while computing, and left now."""
        logprobs.logprobs_of_logits = self.logprobs_of_logits
        parameters = list(self.model.parameters())
        sizes = {
            "model": sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in parameters),
            "trained": sum(getattr(p, "ds_numel", p.numel()) for p in parameters if p.requires_grad),
            "most_gathered": max(self.gathered),
            "gathered_now": sum(parameter.numel() for parameter in parameters),
        }
        if hasattr(parameters[0], "ds_tensor"):
            sizes["own_part"] = sum(parameter.ds_tensor.numel() for parameter in parameters)
            sizes["available"] = sum(parameter.ds_status.name != "NOT_AVAILABLE" for parameter in parameters)
        if hasattr(self.run.optimizer, "optimizer"):
            groups = getattr(self.run.optimizer.optimizer, "single_partition_of_fp32_groups", None)
            sizes["optimizer_part"] = sum(group.numel() for group in groups or [])
        return sizes


def tensors_of(tree: Any) -> Iterator[Tensor]:
    """Every floating-point tensor of nested mappings and lists: moments, and DeepSpeed's own copies of the weights."""
    if isinstance(tree, Tensor):
        if tree.is_floating_point():
            yield tree.detach()
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from tensors_of(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from tensors_of(value)


def are_equal(before: list[Tensor], after: list[Tensor]) -> bool:
    assert len(before) == len(after)
    return all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    leave(0)
