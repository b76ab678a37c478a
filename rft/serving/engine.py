"""The `Engine` protocol (rollout/engine.py) on vLLM servers beside the trainer: one of these per rank, for all servers.

Weights go out once per sync, from the first rank; requests go out from every rank.
"""

from __future__ import annotations

import resource
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.distributed import gather_lists, together
from rft.models import read_settings, resolve_dtype
from rft.process_exit import before_leaving
from rft.records import Completion, TurnRequest
from rft.rollout.adapter_files import sent_adapter
from rft.rollout.engine import EngineCounters, EngineLost, Sampling
from rft.serving.client import Server, ServerFault
from rft.serving.handshake import check_server, meet
from rft.serving.nccl_weights import NcclWeights
from rft.serving.pool import Pool
from rft.serving.weight_files import WeightFiles, weight_folder
from rft.tasks.registry import engine_window


def greet_servers(config: Config, accelerator: Accelerator, tokenizer: PreTrainedTokenizerBase) -> None:
    """Before anything loads: is every server one for this run, and does a weight reach it? Collective.

    Raises:
        ValueError: no, in one line.
    """
    if not config.rollout.servers:
        return

    def greet() -> None:
        if accelerator.is_main_process:
            greet_all(config, tokenizer)

    together(accelerator, greet, ValueError)


def greet_all(config: Config, tokenizer: PreTrainedTokenizerBase) -> None:
    settings, window, rollout = read_settings(config.model).get_text_config(), engine_window(config), config.rollout
    lora = sent_adapter(config)
    for server in servers_of(config):
        facts = meet(server, rollout.server_timeout_s)
        check_server(
            server.url, facts, settings, tokenizer, window, resolve_dtype(config.model),
            None if lora is None else lora.r, rollout.weight_transfer,
        )  # fmt: skip
    if rollout.weight_transfer == "files":
        check_files_arrive(config)
    elif not torch.cuda.is_available():
        raise ValueError("rollout.weight_transfer=nccl needs a GPU on the trainer's side; set it to files")


def check_files_arrive(config: Config) -> None:
    """Raises ValueError for a server that does not read what is written to the weight folder."""
    folder = weight_folder(config)
    try:
        files = WeightFiles(folder, writes=True, dtype=resolve_dtype(config.model))
        probe, total = files.write_probe()
    except OSError as error:
        raise ValueError(
            f"rollout.weight_folder: cannot write to {folder} ({error.strerror}); name another folder"
        ) from None
    for server in servers_of(config):
        try:
            sees = server.sees(str(probe), total)
        except ServerFault as fault:
            raise ValueError(f"rollout.servers: {fault}") from None
        if not sees:
            raise ValueError(
                f"rollout.servers: {server.url} does not see the weights in {folder}; set rollout.weight_folder to a "
                "folder that trainer and servers see"
            )
    files.remove()


def servers_of(config: Config) -> list[Server]:
    rollout = config.rollout
    return [
        Server(url, rollout.request_timeout_s, rollout.server_timeout_s, adapter=sent_adapter(config) is not None)
        for url in rollout.servers
    ]


class ServerEngine:
    """
    Args:
        config: of the run; `rollout`, `model`, `output_dir`.
        stop_token_ids: tokens that end a completion, which keeps them.

    Raises:
        ValueError: a server does not answer.
    """

    def __init__(self, config: Config, accelerator: Accelerator, stop_token_ids: Sequence[int]) -> None:
        rollout = config.rollout
        self.accelerator = accelerator
        self.policy_version = 0
        self._run = gather_lists(accelerator, [uuid.uuid4().hex[:8]])[0]
        self._window = engine_window(config)
        self._counters = EngineCounters(prompt_tokens=0, cached_prompt_tokens=0, generated_tokens=0)
        self._has_weights = False
        raise_file_limit()
        servers = servers_of(config)
        facts = [meet(server, rollout.server_timeout_s) for server in servers]
        self.files = WeightFiles(
            weight_folder(config),
            writes=accelerator.is_main_process,
            dtype=resolve_dtype(config.model),
            lora=sent_adapter(config),
        )
        before_leaving(self.files.remove)  # also of a run that a fault ends
        by_nccl = rollout.weight_transfer == "nccl"
        self.nccl = NcclWeights(accelerator.process_index, resolve_dtype(config.model)) if by_nccl else None
        self.kv_cache_tokens = sum(found.kv_cache_tokens for found in facts)
        self.name = f"vllm {facts[0].version}"
        self.summary = (
            f"engine           {len(servers)} server{'s' * (len(servers) != 1)} with {self.name}, KV caches of "
            f"{self.kv_cache_tokens:,} tokens in all, weights "
            + ("over NCCL" if by_nccl else f"as files in {self.files.folder}")
        )
        self.pool = Pool(
            servers,
            most=rollout.vllm_max_num_seqs,
            timeout_s=rollout.server_timeout_s,
            first=accelerator.process_index,
            stop_token_ids=stop_token_ids,
            vocab_size=read_settings(config.model).get_text_config().vocab_size,
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
        served = self.pool.serve(requests, sampling, self.policy_version, self._label(self.policy_version))
        self._counters = EngineCounters(
            prompt_tokens=self._counters.prompt_tokens + sum(len(request.prompt_ids) for request in requests),
            cached_prompt_tokens=self._counters.cached_prompt_tokens + served.cached_tokens,
            generated_tokens=self._counters.generated_tokens + sum(len(one.token_ids) for one in served.completions),
        )
        return served.completions

    def one_from_each(self, request: TurnRequest, sampling: Sampling) -> list[Completion]:
        """A completion of one request from every server that is up."""
        return self.pool.one_from_each(request, sampling, self.policy_version, self._label(self.policy_version))

    def sync_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Sends every (transformers parameter name, full tensor) pair to all servers; with rollout.lora=adapter the
        pairs of `named_adapter_weights`. Collective.

        A server that does not take them is asked nothing until it has; with none left the next `generate` says so.
        """
        self.pool.settle()
        self.accelerator.wait_for_everyone()  # no rank brings a server the weights that are removed now
        if self.nccl is not None:
            self._send(self.nccl, weights)
        else:
            self.files.write(weights, self.policy_version + 1)
            self.policy_version += 1
            if self.accelerator.is_main_process:
                up = [post.server for post in self.pool.posts if post.up]
                with ThreadPoolExecutor(max(1, len(up))) as threads:
                    list(threads.map(self._try_to_renew, up))
        self.accelerator.wait_for_everyone()
        self._has_weights = True

    def _send(self, nccl: NcclWeights, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Weights from GPU to GPU, to every server that is there now: also to one that was started again."""
        there: list[tuple[str, bool]] = []
        if self.accelerator.is_main_process:
            there = [found for post in self.pool.posts if (found := self._who_is(post.server)) is not None]
        there = gather_lists(self.accelerator, there)
        if not all(knows_us for _, knows_us in there):
            nccl.forget_group()
        servers = [post.server for post in self.pool.posts if post.server.url in {url for url, _ in there}]
        if not servers:
            raise EngineLost("no server of rollout.servers is there to take weights; start them again (rft/serve.py)")
        nccl.send(weights, servers)
        self.policy_version += 1
        if self.accelerator.is_main_process:
            for server in servers:
                server.call_weights(self._own_name(self.policy_version))

    def _who_is(self, server: Server) -> tuple[str, bool] | None:
        """A server's address, and whether it has weights of this run; None where it does not answer."""
        try:
            return server.url, server.weight_version().startswith(f"{self._run}-")
        except ServerFault:
            return None

    def _try_to_renew(self, server: Server) -> None:
        try:
            self._renew(server)
        except ServerFault:
            return  # the pool finds it with other weights, and says so

    def _renew(self, server: Server) -> str:
        """Sends a server the present weights; what it calls them, a new name each time."""
        if self.nccl is not None:
            raise ServerFault(f"{server.url} gets weights with the next ones of all servers")
        version = self.policy_version
        name = self._own_name(version)
        folder = str(self.files.of_version(version))
        if server.adapter:
            server.load_adapter(folder, self._label(version), self._label(version - 1), name)
        else:
            server.load_files(folder, name)
        return name

    def _own_name(self, version: int) -> str:
        """What one server calls its weights: a new name each time it gets some."""
        return f"{self._label(version)}/{uuid.uuid4().hex[:8]}"

    def _label(self, version: int) -> str:
        """What weights are called: those of another start of the run are others."""
        return f"{self._run}-{version}"

    def reset_prefix_cache(self) -> None:
        """What other weights computed has another salt and is never read. What these did in an evaluation may be: the
        last bits of a rollout can depend on it."""

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


def raise_file_limit() -> None:
    """Each request under way is a connection, and the usual limit of 1,024 files would count as servers that fail."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
