"""trl's GRPOTrainer with every shared token computed once: the same arguments, the same numbers, one import changed.

    from rft.integrations.trl import SharedPrefixGRPOTrainer as GRPOTrainer

Completions of a prompt share it. trl computes the prompt with each of them; here a micro-batch is a forest of its token
paths (rft/grpo/forest.py), in the passes for the loss, for old log-probs and for the reference model. All else is trl's
own: generation, rewards, advantages, losses, metrics, checkpoints.

It saves as much as a device's micro-batch shares: `per_device_train_batch_size` should hold whole groups, a multiple of
`num_generations`.

Shapes: B sequences, P and C tokens of the longest prompt and completion; prompts are padded on the left, completions on
the right, as trl has them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn
from trl import GRPOTrainer
from trl.trainer import grpo_trainer

from rft.grpo.forest_attention import FOREST_ATTENTION, check_supported
from rft.grpo.logprobs import forest_logprobs
from rft.records import Sample

IMAGES = "pixel_values"


class SharedPrefixGRPOTrainer(GRPOTrainer):
    """trl's GRPOTrainer, which computes each token that sequences of a micro-batch share once.

    Raises:
        ValueError: a model that a forest does not serve (other attention than full, images, a mixture of experts whose
            router has a loss), or float32 on a GPU.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own_attention = extract_model_from_parallel(self.model).config._attn_implementation
        self._check_model()
        self._check_batch()

    def _check_model(self) -> None:
        if self._is_vlm:
            raise ValueError("SharedPrefixGRPOTrainer takes text alone, and this model takes images; use GRPOTrainer")
        if self.aux_loss_enabled:
            raise ValueError(
                "SharedPrefixGRPOTrainer computes each shared token once, which a router's loss would count; set "
                "router_aux_loss_coef=0, or use GRPOTrainer"
            )
        config = extract_model_from_parallel(self.model).config
        try:
            check_supported(config)
        except ValueError as error:
            reason = str(error).partition("; ")[0].replace("train.shared_prefix", "SharedPrefixGRPOTrainer")
            raise ValueError(f"{reason}; use GRPOTrainer") from None
        is_half = self.args.bf16 or self.args.fp16 or next(self.model.parameters()).dtype != torch.float32
        if self.accelerator.device.type == "cuda" and not is_half:
            raise ValueError("SharedPrefixGRPOTrainer does not compute in float32 on a GPU; set bf16=True")

    def _check_batch(self) -> None:
        size, siblings = self.args.per_device_train_batch_size, self.num_generations
        if size % siblings:
            warnings.warn(
                f"per_device_train_batch_size={size} cuts groups of num_generations={siblings} apart, and each part "
                f"computes the prompt anew; per_device_train_batch_size={-(-size // siblings) * siblings} holds whole "
                "groups (lower gradient_accumulation_steps by as much; memory does not grow as it would without "
                "sharing)",
                stacklevel=3,
            )

    # ------------------------------------------------------------------------------------------------ the computation

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **inputs: Any,
    ) -> tuple[Tensor, Tensor | None, None]:
        """Log-probs and entropies of completions, float32 [B, C]; 0 where there is no token."""
        if inputs.get(IMAGES) is not None:
            raise ValueError("SharedPrefixGRPOTrainer takes text alone, and this batch has images; use GRPOTrainer")
        assert not compute_aux_loss, "refused when the trainer was made"
        size = batch_size or len(input_ids)
        logps: list[Tensor] = []
        entropies: list[Tensor] = []
        for start in range(0, len(input_ids), size):
            some = slice(start, start + size)
            kept = attention_mask[some, -logits_to_keep:].bool()
            samples = samples_of(input_ids[some], attention_mask[some], logits_to_keep)
            with self.accelerator.autocast(), attention(model, FOREST_ATTENTION):
                scored = forest_logprobs(model, samples, self.temperature, entropy=compute_entropy)
            logps.append(padded(scored.logps, kept))
            if scored.entropies is not None:
                entropies.append(padded(scored.entropies, kept))
        return torch.cat(logps), torch.cat(entropies) if entropies else None, None

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any) -> Tensor:
        # With gradient checkpointing the backward pass computes layers again, and asks again what attention they have.
        with attention(model, FOREST_ATTENTION):
            return super().training_step(model, inputs, num_items_in_batch)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        # Generation pads on the left, which a forest has no mask for.
        whole = patch.object(grpo_trainer, "shuffle_sequence_dict", shuffle_groups)
        with whole, attention(self.model, self._own_attention):
            return super()._prepare_inputs(generation_batch)


@contextmanager
def attention(model: nn.Module, name: str) -> Iterator[None]:
    """Within the block the layers of `model`, wrapped or not, find `name` as their attention implementation."""
    config = extract_model_from_parallel(model).config
    before = config._attn_implementation
    config._attn_implementation = name
    try:
        yield
    finally:
        config._attn_implementation = before


def samples_of(input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int) -> list[Sample]:
    """The rows [B, P + C] without their padding. Equal prompts are one tuple, which is converted once later."""
    ids, mask = input_ids.cpu().numpy(), attention_mask.bool().cpu().numpy()
    num_prompt = ids.shape[1] - logits_to_keep
    known: dict[bytes, tuple[int, ...]] = {}
    samples = []
    for row, kept in zip(ids, mask, strict=True):
        prompt = row[:num_prompt][kept[:num_prompt]]
        prompt_ids = known.setdefault(prompt.tobytes(), tuple(prompt.tolist()))
        completion_ids = tuple(row[num_prompt:][kept[num_prompt:]].tolist())
        samples.append(
            Sample(prompt_ids=prompt_ids, completion_ids=completion_ids, sampling_logprobs=(), advantage=0.0, group="")
        )
    return samples


def padded(values: Tensor, kept: Tensor) -> Tensor:
    """Flat values [N] at the N places of `kept` [B, C] that hold a token, 0 elsewhere; the gradient goes through."""
    return torch.zeros(kept.shape, dtype=values.dtype, device=values.device).masked_scatter(kept, values)


def shuffle_groups(batch: dict[str, Any]) -> dict[str, Any]:
    """What trl does to the sequences of a generation batch, with those of one prompt left together.

    The order of groups is that in which trl's own permutation first meets them: the same draw of the same generator, so
    that everything drawn later is the same, too.
    """
    prompts = batch["prompt_ids"]
    order = group_order(prompts, batch["prompt_mask"], torch.randperm(len(prompts)).tolist())
    permutation = torch.tensor(order)

    def permuted(value: Any) -> Any:
        if value is None or (isinstance(value, Tensor) and value.ndim == 0):
            return value
        return value[permutation] if isinstance(value, Tensor) else [value[index] for index in order]

    return {key: permuted(value) for key, value in batch.items()}


def group_order(prompt_ids: Tensor, prompt_mask: Tensor, permutation: Sequence[int]) -> list[int]:
    """All row numbers, those with the same prompt next to each other; prompts in the order of `permutation`."""
    rows = np.concatenate([prompt_ids.cpu().numpy(), prompt_mask.cpu().numpy()], axis=1)
    _, group = np.unique(rows, axis=0, return_inverse=True)
    members: dict[int, list[int]] = {}
    for index, number in enumerate(group.tolist()):
        members.setdefault(number, []).append(index)
    met = dict.fromkeys(int(group[index]) for index in permutation)
    return [index for number in met for index in members[number]]
