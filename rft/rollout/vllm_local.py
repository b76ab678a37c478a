"""vLLM inside the training process: one engine per rank, on a CPU or a GPU.

The engine lives in the trainer's process (no server, no second copy of Python), so weights are handed over as
tensors. This is the only file that runs vLLM, and it imports it when an engine is made.

On CUDA vLLM has two model runners. V2 is its default; V1, the only one on a CPU, is the only one with cascade
attention, which reads a prefix that all running sequences share once per step instead of once per sequence. Each runner
and each device draws random numbers in its own way: a seed repeats its tokens on the same of them, and on no other.
"""

from __future__ import annotations

import gc
import math
import os
import random
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from rft import progress
from rft.config import LoraConfig, ModelConfig, RolloutConfig
from rft.models import load_generation_config, read_settings, resolve_dtype, stop_token_ids
from rft.records import Completion, FinishReason, TurnRequest
from rft.rollout.adapter_files import engine_rank, write_adapter
from rft.rollout.engine import EngineCounters, Sampling
from rft.rollout.prefix_groups import DecodeCost, split_by_prefix

if TYPE_CHECKING:
    from vllm import LLM, RequestOutput, SamplingParams, TokensPrompt
    from vllm.lora.request import LoRARequest

CPU_BLOCK_SIZE = 32
"""Tokens per prefix-cache block on a CPU: the smallest its attention kernel takes, so the least is computed twice."""

CPU_STEP_TOKENS = 4096
"""Tokens per scheduler step on a CPU, vLLM's default; more where one request needs more."""

NO_PREFIX = (0, 1)
"""For `shared_prefix`: requests have nothing in common."""

STEP_OVERHEAD_BYTES = 6 * 10**9
"""What a GPU could read while the kernels of one decode step are launched: 2 ms at 3 TB/s. Estimated, not measured."""

CASCADING_BACKEND = "FLASH_ATTN"
"""vLLM's name of the attention that has cascade, its default on cards up to Hopper."""

H100_PROCESSORS = 132
"""Streaming multiprocessors of the card whose choice is taken where there is no card to ask."""


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
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        self._on_cpu = not torch.cuda.is_available()
        with trainer_state_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # vLLM's own use of torch
            import vllm

            shape = attention_shape(model_name_or_path, revision, dtype)
            cascade = not self._on_cpu and choose_cascade(config, shape, shared_prefix)
            if cascade:
                os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "0"
            self._llm = vllm.LLM(
                model_name_or_path,
                revision=revision,
                skip_tokenizer_init=True,
                generation_config="vllm",
                dtype=cast(Any, str(dtype).removeprefix("torch.")),
                seed=seed,
                max_model_len=window,
                max_num_seqs=config.vllm_max_num_seqs,
                enable_prefix_caching=True,
                logprobs_mode="processed_logprobs",
                use_tqdm_on_load=False,
                load_format=cast(Any, load_format),
                disable_log_stats=False,  # they count preemptions
                disable_cascade_attn=not cascade,
                distributed_executor_backend=executor_backend(),
                **({} if lora is None else {"enable_lora": True, "max_lora_rank": cast(Any, engine_rank(lora.r))}),
                **(cpu_options(config, window) if self._on_cpu else cuda_options(config)),
            )
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
        self._decode_cost = self._measure_decode_cost(shape) if in_groups and shape is not None else None

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
        params = [self._params(request, sampling) for request in requests]
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

    def _params(self, request: TurnRequest, sampling: Sampling) -> SamplingParams:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=request.seed,
            max_tokens=request.max_tokens,
            stop_token_ids=self._stop_token_ids,
            logprobs=0,
            flat_logprobs=True,
            detokenize=False,
        )

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

    def _measure_decode_cost(self, shape: AttentionShape) -> DecodeCost:
        """What a decode step reads; on a CPU it is decided as on an H100."""
        (weights,) = self._llm.apply_model(lambda model: sum(p.numel() * p.element_size() for p in model.parameters()))
        return DecodeCost(
            step=weights + (0 if self._on_cpu else STEP_OVERHEAD_BYTES),
            token=shape.token_bytes,
            cascades=lru_cache(maxsize=None)(shape.cascades),
        )


class Adapter:
    """The one LoRA adapter of an engine: each version replaces the one before."""

    def __init__(self, llm: LLM, lora: LoraConfig) -> None:
        self.llm = llm
        self.lora = lora
        self.present: LoRARequest | None = None
        """For the requests; None before the first version."""

    def replace(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Raises RuntimeError where vLLM does not take the adapter."""
        from vllm.lora.request import LoRARequest

        before = self.present
        version = 1 if before is None else before.lora_int_id + 1
        with tempfile.TemporaryDirectory(prefix="rft-adapter-") as folder:
            write_adapter(Path(folder), weights, self.lora)
            # A name of its own per version, which vLLM makes part of every cached prefix.
            request = LoRARequest(f"version-{version}", version, folder)
            if before is not None:
                self.llm.llm_engine.remove_lora(before.lora_int_id)
            if not self.llm.llm_engine.add_lora(request):
                raise RuntimeError("vLLM did not take the LoRA adapter; set rollout.lora=merged")
        self.present = request


# ------------------------------------------------------------------------------------------------ cascade attention


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """What of a model's attention decides whether cascade attention pays.

    Example, Qwen3-4B in bfloat16:
        AttentionShape(heads=32, kv_heads=8, token_bytes=147_456)
    """

    heads: int
    kv_heads: int
    token_bytes: int
    """Keys and values of one token, over all layers."""

    def cascades(self, prefix: int, requests: int) -> bool:
        """vLLM's own choice in a decode step of `requests` sequences that begin with the same `prefix` tokens."""
        from vllm.v1.attention.backends.flash_attn import use_cascade_attention

        processors = H100_PROCESSORS
        if torch.cuda.is_available():
            processors = torch.cuda.get_device_properties(torch.cuda.current_device()).multi_processor_count
        return bool(
            use_cascade_attention(
                common_prefix_len=prefix,
                query_lens=np.ones(requests, dtype=np.int32),
                num_query_heads=self.heads,
                num_kv_heads=self.kv_heads,
                use_alibi=False,
                use_sliding_window=False,
                use_local_attention=False,
                num_sms=processors,
                dcp_world_size=1,
            )
        )


def attention_shape(model_name_or_path: str, revision: str | None, dtype: torch.dtype) -> AttentionShape | None:
    """From the model's config.json; None where it has no attention of the usual kind."""
    settings = read_settings(ModelConfig(model_name_or_path=model_name_or_path, model_revision=revision))
    text: PretrainedConfig = settings.get_text_config()
    heads, layers = getattr(text, "num_attention_heads", None), getattr(text, "num_hidden_layers", None)
    if not isinstance(heads, int) or not isinstance(layers, int):
        return None
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    return AttentionShape(
        heads=heads, kv_heads=kv_heads, token_bytes=2 * layers * kv_heads * size * torch.empty(0, dtype=dtype).itemsize
    )


def check_kv_cache(model: ModelConfig, rollout: RolloutConfig, window: int) -> None:
    """Refuses a CPU engine's KV cache that one sequence of the engine's window does not fit in.

    Raises:
        ValueError: with the size that is needed.
    """
    shape = attention_shape(model.model_name_or_path, model.model_revision, resolve_dtype(model))
    if shape is None:
        return
    needed = window * shape.token_bytes / 2**30
    if needed > rollout.vllm_kv_cache_gb:
        raise ValueError(
            f"rollout.vllm_kv_cache_gb = {rollout.vllm_kv_cache_gb:g} holds no sequence of {window} tokens, which "
            f"takes {needed:.2g} GiB; raise it to {math.ceil(needed * 10) / 10:g} at least, or lower "
            "data.max_prompt_length"
        )


def choose_cascade(config: RolloutConfig, shape: AttentionShape | None, shared_prefix: tuple[int, int]) -> bool:
    """Whether the engine of a GPU gets cascade attention, and with it model runner V1.

    `auto` wants all of this: vLLM's own formula would choose it for the requests of one context; each step is spared
    more reading than launching its kernels costs; and attention is FlashAttention's, which is vLLM's default up to
    Hopper (FlashInfer, its default on Blackwell, has no cascade).

    Raises:
        ValueError: `on`, and VLLM_USE_V2_MODEL_RUNNER=1.
    """
    v2_asked = os.environ.get("VLLM_USE_V2_MODEL_RUNNER", "0") not in ("", "0")
    if config.cascade_attention == "on":
        if v2_asked:
            raise ValueError(
                "rollout.cascade_attention=on needs vLLM's model runner V1, and VLLM_USE_V2_MODEL_RUNNER asks for V2; "
                "unset it"
            )
        return True
    if config.cascade_attention == "off" or v2_asked or shape is None or torch.cuda.get_device_capability() >= (10, 0):
        return False
    tokens, requests = shared_prefix
    requests = min(requests, config.vllm_max_num_seqs)
    spared = (requests - 1) * tokens * shape.token_bytes
    return spared >= STEP_OVERHEAD_BYTES and shape.cascades(tokens, requests)


def attention_backends(llm: LLM) -> list[str]:
    """vLLM's names of the attention in use, such as FLASH_ATTN."""
    runner: Any = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    return sorted({group.backend.get_name() for groups in runner.attn_groups for group in groups})


# ----------------------------------------------------------------------------------------------------------- engines


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


def executor_backend() -> str:
    """One worker in this process; with several ranks the launcher's LOCAL_RANK chooses its device."""
    distributed = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    return "external_launcher" if distributed else "uni"


def cpu_options(config: RolloutConfig, window: int) -> dict[str, Any]:
    return {
        "enforce_eager": True,
        # A prompt split over steps rewinds its seeded generator, which CPU generators cannot do.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(window, CPU_STEP_TOKENS),
        "block_size": CPU_BLOCK_SIZE,
        "kv_cache_memory_bytes": int(config.vllm_kv_cache_gb * 2**30),
    }


def cuda_options(config: RolloutConfig) -> dict[str, Any]:
    return {
        "gpu_memory_utilization": config.vllm_gpu_memory_utilization,
        "enable_sleep_mode": config.vllm_enable_sleep_mode,
    }


@contextmanager
def trainer_state_kept() -> Iterator[None]:
    """Undoes what vLLM does to process-wide state that belongs to the trainer.

    It seeds the global random generators and draws from them on a CPU, lowers torch's thread count, replaces
    `torch.set_num_threads` by a function that does nothing, and preloads libraries into later child processes.
    """
    set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    preload = os.environ.get("LD_PRELOAD")
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != num_threads:
            torch.set_num_threads(num_threads)
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        os.environ.pop("LD_PRELOAD", None)
        if preload is not None:
            os.environ["LD_PRELOAD"] = preload


def tokens_prompts(prompts: Sequence[tuple[int, ...]]) -> list[TokensPrompt]:
    from vllm import TokensPrompt

    return [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts]


def completion_of(output: RequestOutput, policy_version: int) -> Completion:
    reply = output.outputs[0]
    assert reply.finish_reason in ("stop", "length"), reply.finish_reason
    logprobs: Any = reply.logprobs  # a FlatLogprobs, one entry per token
    assert len(logprobs.logprobs) == len(reply.token_ids)
    return Completion(
        token_ids=tuple(reply.token_ids),
        logprobs=tuple(logprobs.logprobs),
        finish_reason=cast(FinishReason, reply.finish_reason),
        policy_version=policy_version,
    )


def load_weights(model: Any, weights: Iterable[tuple[str, Tensor]], model_config: Any) -> None:
    """Puts checkpoint-format weights into a running vLLM model, in place, and checks that all of it was filled.

    The steps are those of vLLM's `GPUModelRunner.reload_weights`, which hides what was loaded. After them a tied
    head is packed again: on a CPU it keeps a repacked copy of the embedding it shares, and the reload, which sees
    the embedding only, leaves that copy as it was.
    """
    from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

    names = [name for name, _ in model.named_parameters()]  # a tied head is not among them
    sent: dict[str, int] = {}
    stream_failed = False

    def counted() -> Iterator[tuple[str, Tensor]]:
        nonlocal stream_failed
        try:
            for name, tensor in weights:
                sent[name] = tensor.numel()
                yield name, tensor
        except ValueError:
            stream_failed = True
            raise

    initialize_layerwise_reload(model)
    # Only now do the parameters have their checkpoint sizes; on a CPU the packed ones were emptied.
    expected = {name: checkpoint_size(model, name) for name in names}
    try:
        loaded = model.load_weights(counted())
    except ValueError as error:
        if stream_failed:  # the policy's own refusal, such as an adapter that has no plain weight
            raise
        raise RuntimeError(f"weight sync: vLLM cannot place '{list(sent)[-1]}' ({error})") from error
    finalize_layerwise_reload(model, model_config)
    unfilled = sorted(set(expected) - loaded)
    if unfilled or sum(sent.values()) != sum(expected.values()):
        raise RuntimeError(
            f"weight sync sent {sum(sent.values())} of the engine's {sum(expected.values())} numbers; "
            f"without any: {unfilled or 'none'}; last sent: {list(sent)[-3:]}"
        )
    if model_config.hf_config.tie_word_embeddings:
        model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def checkpoint_size(model: Any, name: str) -> int:
    """Numbers a checkpoint holds for an engine parameter: all but the rows that vLLM pads a vocabulary with."""
    parameter = model.get_parameter(name)
    rows = getattr(model.get_submodule(name.rpartition(".")[0]), "org_vocab_size", parameter.shape[0])
    return int(parameter.numel() // parameter.shape[0] * rows)
