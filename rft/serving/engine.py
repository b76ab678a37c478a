"""The `Engine` protocol (rollout/engine.py) on vLLM servers beside the trainer: one of these per rank, for all servers.

Weights go out once per sync, from the first rank; requests go out from every rank.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from accelerate import Accelerator
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from rft.config import Config
from rft.distributed import gather_lists
from rft.models import read_settings, resolve_dtype
from rft.records import Completion, TurnRequest
from rft.rollout.engine import EngineCounters, Sampling
from rft.serving.client import Server, ServerFault
from rft.serving.handshake import check_server, meet
from rft.serving.pool import Pool
from rft.serving.weight_files import WeightFiles, weight_folder
from rft.tasks.registry import engine_window


def greet_servers(config: Config, accelerator: Accelerator, tokenizer: PreTrainedTokenizerBase) -> None:
    """Before anything loads: is every server one for this run, and does a weight reach it? Collective.

    Raises:
        ValueError: no, in one line.
    """
    settings, window = read_settings(config.model).get_text_config(), engine_window(config)
    servers = [Server(url, config.rollout.request_timeout_s) for url in config.rollout.servers]
    problems: list[str] = []
    if accelerator.is_main_process:
        files = WeightFiles(weight_folder(config), writes=True)
        try:
            for server in servers:
                facts = meet(server, config.rollout.server_timeout_s)
                check_server(server.url, facts, settings, tokenizer, window, resolve_dtype(config.model))
                check_way(server, files)
        except ValueError as error:
            problems = [str(error)]
    if found := gather_lists(accelerator, problems):
        raise ValueError(found[0])


def check_way(server: Server, files: WeightFiles) -> None:
    """Raises ValueError where a weight that is written here is not read there."""
    folder, total = files.write_probe()
    try:
        sees = server.sees(str(folder), total)
    except ServerFault as fault:
        raise ValueError(f"rollout.servers: {fault}") from None
    if not sees:
        raise ValueError(
            f"rollout.servers: {server.url} does not see the weights in {files.folder}; set rollout.weight_folder to a "
            "folder that trainer and servers see"
        )


class ServerEngine:
    """
    Args:
        config: of the run; `rollout`, `model`, `output_dir`.
        stop_token_ids: tokens that end a completion, which keeps them.

    Raises:
        ValueError: a server does not answer.
    """

    def __init__(
        self,
        config: Config,
        accelerator: Accelerator,
        stop_token_ids: Sequence[int],
    ) -> None:
        rollout = config.rollout
        self.accelerator = accelerator
        self.policy_version = 0
        self._run = gather_lists(accelerator, [uuid.uuid4().hex[:8]])[0]
        self._window = engine_window(config)
        self._counters = EngineCounters(prompt_tokens=0, cached_prompt_tokens=0, generated_tokens=0)
        self._has_weights = False
        self.servers = [Server(url, rollout.request_timeout_s) for url in rollout.servers]
        self.files = WeightFiles(weight_folder(config), writes=accelerator.is_main_process)
        settings: PretrainedConfig = read_settings(config.model).get_text_config()
        facts = [meet(server, rollout.server_timeout_s) for server in self.servers]
        self.kv_cache_tokens = sum(found.kv_cache_tokens for found in facts)
        self.name = f"vllm {facts[0].version}"
        self.summary = (
            f"engine           {len(self.servers)} servers with {self.name}, KV caches of "
            f"{self.kv_cache_tokens:,} tokens in all, weights as files in {self.files.folder}"
        )
        self.pool = Pool(
            self.servers,
            most=rollout.vllm_max_num_seqs,
            timeout_s=rollout.server_timeout_s,
            first=accelerator.process_index,
            stop_token_ids=stop_token_ids,
            vocab_size=settings.vocab_size,
            renew=self._renew,
        )

    def generate(self, requests: Sequence[TurnRequest], sampling: Sampling) -> list[Completion]:
        """One completion per request, in the order of the requests.

        Raises:
            RuntimeError: there was no `sync_weights` yet, or none since `sleep`.
            EngineLost: no server answers, for rollout.server_timeout_s.
        """
        if not self._has_weights:
            raise RuntimeError("the servers have no weights of this run yet; call sync_weights() before generate()")
        assert all(len(r.prompt_ids) + r.max_tokens <= self._window for r in requests), "request beyond the window"
        if not requests:
            return []
        served = self.pool.serve(requests, sampling, self.policy_version, self._label())
        self._counters = EngineCounters(
            prompt_tokens=self._counters.prompt_tokens + sum(len(request.prompt_ids) for request in requests),
            cached_prompt_tokens=self._counters.cached_prompt_tokens + served.cached_tokens,
            generated_tokens=self._counters.generated_tokens + sum(len(one.token_ids) for one in served.completions),
        )
        return served.completions

    def sync_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Sends every (transformers parameter name, full tensor) pair to all servers. Collective.

        A server that does not take them is asked nothing until it has; with none left the next `generate` says so.
        """
        self.policy_version += 1
        self.files.write(weights, self.policy_version)
        if self.accelerator.is_main_process:
            with ThreadPoolExecutor(len(self.servers)) as threads:
                list(threads.map(self._try_to_renew, self.servers))
        self.accelerator.wait_for_everyone()
        self._has_weights = True

    def _try_to_renew(self, server: Server) -> None:
        try:
            self._renew(server)
        except ServerFault:
            return  # the pool finds it with other weights, and says so

    def _renew(self, server: Server) -> None:
        server.load_files(str(self.files.of_version(self.policy_version)), self._label())

    def _label(self) -> str:
        """What a server calls the present weights: those of another start of the run are others."""
        return f"{self._run}-{self.policy_version}"

    def reset_prefix_cache(self) -> None:
        """Nothing to forget: what other weights computed has another salt, and what these did is as good as new."""

    def counters(self) -> EngineCounters:
        return self._counters

    def sleeping_bytes(self) -> int:
        return 0

    def sleep(self) -> None:
        """Servers have their memory for themselves. The rule holds all the same: weights come before requests."""
        self._has_weights = False

    def close(self) -> None:
        """The servers stay up, for the next run."""
        self.files.remove()
