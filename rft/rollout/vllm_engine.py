"""vLLM inside the training process: one engine per rank, on a CPU or a GPU.

The engine lives in the trainer's process (no server, no second copy of Python), so weights are handed over as
tensors. vLLM is imported when an engine is made, here and in the files beside this one whose names begin with vllm_.

Each model runner (vllm_cascade.py) and each device draws random numbers in its own way: a seed repeats its tokens on
the same of them, and on no other.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rft import progress
from rft.config import LoraConfig, ModelConfig, RolloutConfig
from rft.models import load_generation_config, resolve_dtype, stop_token_ids
from rft.records import Completion, TurnRequest
from rft.rollout.engine import EngineCounters, Sampling
from rft.rollout.prefix_groups import split_by_prefix
from rft.rollout.vllm_adapter import Adapter
from rft.rollout.vllm_cascade import (
    CASCADING_BACKEND,
    NO_PREFIX,
    attention_backends,
    choose_cascade,
    decode_shape,
    measure_decode_cost,
)
from rft.rollout.vllm_options import engine_options
from rft.rollout.vllm_requests import completion_of, sampling_params, tokens_prompts
from rft.rollout.vllm_side_effects import quiet, trainer_state_kept
from rft.rollout.vllm_weights import load_weights

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput


class VllmEngine:
    """The `Engine` protocol (rollout/engine.py) on vLLM's offline `LLM`.

    Args:
        model_name_or_path: where config and first weights are read from, as `from_pretrained` does.
        config: sampling and engine limits; `num_generations` and lengths are the caller's business.
        window: prompt plus completion tokens of the longest request.
        dtype: type of weights and KV cache; equal to the trainer's, or log-probs differ by its rounding.
        seed: vLLM's own seed; requests carry their own, so it decides no token.
        stop_token_ids: tokens that end a completion, which keeps them.
        revision: commit or branch of a hub model.
        shared_prefix: the most that requests will have in common: so many tokens, at the beginning of so many
            requests. `rollout.cascade_attention: auto` decides by it.
        load_format: vLLM's name; `dummy` leaves the weights to the first `sync_weights`.
        lora: the adapter that `sync_weights` brings, where it brings no whole weights (rollout.lora=adapter).

    With several ranks, torch.distributed must be initialised and every rank must make its engine at the same time.

    Raises:
        ValueError: `rollout.cascade_attention: on` where VLLM_USE_V2_MODEL_RUNNER asks for the runner without it.
    """

    def __init__(
        self,
        model_name_or_path: str,
        config: RolloutConfig,
        *,
        window: int,
        dtype: torch.dtype,
        seed: int,
        stop_token_ids: Sequence[int],
        revision: str | None = None,
        shared_prefix: tuple[int, int] = NO_PREFIX,
        load_format: str = "auto",
        lora: LoraConfig | None = None,
    ) -> None:
        quiet()
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        self._on_cpu = not torch.cuda.is_available()
        with trainer_state_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # vLLM's own use of torch
            import vllm

            shape = decode_shape(model_name_or_path, revision, dtype)
            cascade = not self._on_cpu and choose_cascade(config, shape, shared_prefix)
            if cascade:
                os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
            options = engine_options(
                config, window=window, dtype=dtype, seed=seed, load_format=load_format, lora=lora, cascade=cascade
            )
            self._llm = vllm.LLM(model_name_or_path, revision=revision, **options)
        report_steps(self._llm)
        self.name = f"vllm {vllm.__version__}"
        self.policy_version = 0
        self._window = window
        self._stop_token_ids = list(stop_token_ids)
        self._sleeps = config.vllm_enable_sleep_mode and not self._on_cpu
        self._asleep = False
        self._has_weights = True
        self._adapter = None if lora is None else Adapter(self._llm, lora)
        self._counters = EngineCounters(prompt_tokens=0, cached_prompt_tokens=0, generated_tokens=0)
        settings = self._llm.llm_engine.vllm_config
        self.kv_cache_tokens = int(settings.cache_config.kv_cache_size_tokens or 0)
        self.model_runner = "V2" if settings.use_v2_model_runner else "V1"
        backends = attention_backends(self._llm)
        can_cascade = self.model_runner == "V1" and CASCADING_BACKEND in backends
        self.cascade = cascade and can_cascade and not settings.model_config.disable_cascade_attn
        self.summary = (
            f"engine           {self.name}, model runner {self.model_runner}, {'/'.join(backends)} attention, "
            f"KV cache of {self.kv_cache_tokens:,} tokens, cascade attention {'on' if self.cascade else 'off'}"
        )
        # On a CPU, contexts that are generated one after another give the same tokens, and gain nothing.
        in_groups = self.cascade or (self._on_cpu and config.cascade_attention == "on")
        self._decode_cost = measure_decode_cost(self._llm, shape) if in_groups and shape is not None else None

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        """One completion per request, in the order of the requests.

        Requests with a common prefix should stand next to each other: the first computes it, the others read it
        from the prefix cache, also when all start in one step. With cascade attention, contexts that are worth it are
        generated one after another (rollout/prefix_groups.py).

        Raises:
            RuntimeError: the engine slept and has had no `sync_weights` since.
        """
        if not self._has_weights:
            raise RuntimeError("the engine gave its weights back in sleep(); call sync_weights() before generate()")
        assert all(len(r.prompt_ids) + r.max_tokens <= self._window for r in requests), "request beyond the window"
        if not requests:
            return []
        params = [sampling_params(request, sampling, self._stop_token_ids) for request in requests]
        prompts = [request.prompt_ids for request in requests]
        parts = [slice(None)] if self._decode_cost is None else split_by_prefix(prompts, self._decode_cost)
        outputs: list[RequestOutput] = []
        with trainer_state_kept(), self._no_kernel_compilation():
            for part in parts:
                outputs += self._llm.generate(
                    tokens_prompts(prompts[part]),
                    params[part],
                    use_tqdm=False,
                    lora_request=None if self._adapter is None else self._adapter.present,
                )
        self._count(outputs)
        return [completion_of(output, self.policy_version) for output in outputs]

    def sync_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Loads every (transformers parameter name, full tensor) pair, then empties the prefix cache. With an adapter
        the pairs are `named_adapter_weights`.

        Wakes the engine when it slept: weights first, KV cache after they are in, so the peak stays low.

        Raises:
            RuntimeError: a name the engine does not know, or engine weights that no pair filled.
        """
        from vllm.config import set_current_vllm_config

        asleep = self._sleeps and self._asleep
        if asleep:
            self._llm.wake_up(tags=["weights"])
        config = self._llm.llm_engine.vllm_config
        with trainer_state_kept(), set_current_vllm_config(config), torch.no_grad():
            if self._adapter is not None:
                self._adapter.replace(weights)
            else:
                self._llm.apply_model(lambda model: load_weights(model, weights, config.model_config))
        if asleep:
            self._llm.wake_up(tags=["kv_cache"])
        self._asleep = False
        self._has_weights = True
        self.policy_version += 1
        self.reset_prefix_cache()

    def reset_prefix_cache(self) -> None:
        """Forgets every cached prefix; raises RuntimeError when the engine refuses."""
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("vLLM did not reset its prefix cache: some of its blocks are still in use")

    def counters(self) -> EngineCounters:
        return self._counters

    def sleeping_bytes(self) -> int:
        """Device memory that `sleep` gives back, and that PyTorch counts as allocated all the same."""
        if not self._sleeps:
            return 0
        from vllm.device_allocator.cumem import CuMemAllocator

        return CuMemAllocator.get_instance().get_current_usage()

    def sleep(self) -> None:
        """Gives device memory back: KV cache and weights, which only `sync_weights` brings again.

        Whole weights change before the next generation anyway, so no copy of them is kept on the host. Base weights of
        an adapter stay as they are: they wait on the host. On a CPU no memory moves, but the same rule holds, so that a
        missing sync shows on every machine.
        """
        if self._asleep:
            return
        if self._sleeps:
            self._llm.sleep(level=2 if self._adapter is None else 1)
        self._asleep = True
        self._has_weights = False

    def close(self) -> None:
        """Ends the engine and frees its memory."""
        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        gc.collect()

    def _no_kernel_compilation(self) -> AbstractContextManager[Any]:
        # vLLM compiles one line of its sampler (the rank of the sampled token) with inductor: 17 s of C++ for nothing.
        return torch.compiler.set_stance("force_eager") if self._on_cpu else nullcontext()

    def _count(self, outputs: Sequence[RequestOutput]) -> None:
        self._counters = EngineCounters(
            prompt_tokens=self._counters.prompt_tokens + sum(len(o.prompt_token_ids or ()) for o in outputs),
            cached_prompt_tokens=self._counters.cached_prompt_tokens + sum(o.num_cached_tokens or 0 for o in outputs),
            generated_tokens=self._counters.generated_tokens + sum(len(o.outputs[0].token_ids) for o in outputs),
            preemptions=self._counters.preemptions + sum(o.metrics.num_preemptions for o in outputs if o.metrics),
        )


def open_engine(
    model: ModelConfig,
    rollout: RolloutConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    window: int,
    seed: int,
    shared_prefix: tuple[int, int] = NO_PREFIX,
) -> VllmEngine:
    """An engine with a checkpoint's own weights, for use without a trainer."""
    return VllmEngine(
        model.model_name_or_path,
        rollout,
        window=window,
        dtype=resolve_dtype(model),
        seed=seed,
        stop_token_ids=stop_token_ids(load_generation_config(model), tokenizer),
        revision=model.model_revision,
        shared_prefix=shared_prefix,
    )


def report_steps(llm: LLM) -> None:
    """Each step of the engine is a piece of work, for whoever watches this process."""
    engine: Any = llm.llm_engine
    step = engine.step

    def reported() -> Any:
        progress.moved()
        return step()

    engine.step = reported
