"""All servers of a run, from one call to the next: which are up, what their weights are called, who renews them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from rft.records import Completion, TurnRequest
from rft.rollout.engine import Sampling
from rft.serving.batch import Batch, Served
from rft.serving.client import Server
from rft.serving.post import Post


class Pool:
    """
    Args:
        servers: all of them, up or not.
        most: requests of this rank that one server works on at the same time.
        timeout_s: for which a server may be silent, and for which one is waited for when none is left.
        first: the server that a rank begins with.
        renew: brings a server the present weights and returns what it calls them; raises ServerFault. Called, in a
            thread, for a server with other ones.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        *,
        most: int,
        timeout_s: float,
        first: int,
        stop_token_ids: Sequence[int],
        vocab_size: int,
        renew: Callable[[Server], str],
    ) -> None:
        self.posts = [Post(server=server) for server in servers]
        self.most = most
        self.timeout_s = timeout_s
        self.first = first
        self.stop_token_ids = tuple(stop_token_ids)
        self.vocab_size = vocab_size
        self.renew = renew
        # A hung server holds a thread for a while; nobody waits for it at the end of a call.
        self.threads = ThreadPoolExecutor(max_workers=8 * len(self.posts), thread_name_prefix="servers")
        self.renewals: list[Future[str]] = []

    def serve(self, requests: Sequence[TurnRequest], sampling: Sampling, policy_version: int, label: str) -> Served:
        """
        Args:
            label: what the present weights are called; a server's own name for them begins with it.

        Raises:
            EngineLost: none is up, for `timeout_s`.
            RuntimeError: a server refuses a request as one that cannot be answered.
        """
        return asyncio.run(Batch(self, requests, sampling, policy_version, label).serve())

    def one_from_each(
        self, request: TurnRequest, sampling: Sampling, policy_version: int, label: str
    ) -> list[Completion]:
        """The same request to every server that is up; those that fail are left out."""
        return asyncio.run(Batch(self, [request], sampling, policy_version, label).ask_everyone())

    def settle(self) -> None:
        """Before weights change: no server is reading the ones before, and those that were left alone may try again."""
        wait(self.renewals, timeout=self.timeout_s)
        self.renewals.clear()
        for post in self.posts:
            post.strikes = 0
