"""All servers of a run: requests out, completions in, whatever happens to one of them.

A server that is silent, gone, or answers nonsense gets no more requests; what it had goes to the others. It is asked
again after a while, gets the present weights if it has others, and serves again. A completion counts once its server
has been seen, afterwards, to hold the weights that it was asked with: a server that was started again in between, with
the weights of its model folder, is found out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import httpx

from rft import progress
from rft.records import Completion, TurnRequest
from rft.rollout.engine import EngineLost, Sampling
from rft.serving.client import Server, ServerFault
from rft.serving.deal import Family, deal, families

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

HEALTH_EVERY_S = 2.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
"""Before a server that is gone is asked again; doubled each time."""
MOST_STRIKES = 5
"""A server that comes back and is lost again so often, without one answer that counts, is left alone in this batch."""


@dataclass(kw_only=True)
class Post:
    """What this trainer knows of one server."""

    server: Server
    up: bool = True
    waiting: deque[Family] = field(default_factory=deque)
    """Not asked yet."""
    asked: set[int] = field(default_factory=set)
    """Places of requests that are under way."""
    unconfirmed: dict[int, tuple[Completion, int]] = field(default_factory=dict)
    """Answers, and their tokens from the cache, since the server was last seen with the right weights."""
    heard_at: float = field(default_factory=time.monotonic)
    strikes: int = 0
    """How often it was lost since it last gave an answer that counts."""

    def load(self) -> int:
        return sum(family.work for family in self.waiting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What came back, in the order of the requests."""

    completions: list[Completion]
    cached_tokens: int


class Pool:
    """
    Args:
        servers: all of them, up or not.
        most: requests that one server works on at the same time.
        timeout_s: for which a server may be silent, and for which one is waited for when none is left.
        first: the server that a rank begins with.
        renew: brings a server the present weights; raises ServerFault. Called for a server whose weights have another
            version.
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
        renew: Callable[[Server], None],
    ) -> None:
        self.posts = [Post(server=server) for server in servers]
        self.most = most
        self.timeout_s = timeout_s
        self.first = first
        self.stop_token_ids = tuple(stop_token_ids)
        self.vocab_size = vocab_size
        self.renew = renew
        # A hung server holds a thread for a while; nobody waits for it at the end of a batch.
        self.threads = ThreadPoolExecutor(max_workers=4 * len(self.posts), thread_name_prefix="servers")

    def serve(self, requests: Sequence[TurnRequest], sampling: Sampling, policy_version: int, label: str) -> Served:
        """
        Args:
            label: what servers call the present weights.

        Raises:
            EngineLost: none is up, for `timeout_s`.
        """
        batch = Batch(self, requests, sampling, policy_version, label)
        return asyncio.run(batch.serve())


class Batch:
    """One call of `Pool.serve`."""

    def __init__(
        self, pool: Pool, requests: Sequence[TurnRequest], sampling: Sampling, policy_version: int, label: str
    ) -> None:
        self.pool = pool
        self.posts = pool.posts
        self.requests = requests
        self.sampling = sampling
        self.policy_version = policy_version
        self.label = label
        self.done: dict[int, tuple[Completion, int]] = {}
        self.homeless: list[int] = []
        """Requests that no server has: none is up."""
        self.changed = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> Served:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        for post in self.posts:
            post.waiting.clear()
            post.asked.clear()
            post.unconfirmed.clear()
            post.heard_at, post.strikes = time.monotonic(), 0
        async with httpx.AsyncClient(trust_env=False, limits=limits) as http:
            self.http = http
            self.give(range(len(self.requests)))
            watchers = [asyncio.create_task(self.watch(post)) for post in self.posts]
            try:
                await self.until_done()
            finally:
                for task in (*watchers, *self.tasks):
                    task.cancel()
                await asyncio.gather(*watchers, *self.tasks, return_exceptions=True)
        found = [self.done[place] for place in range(len(self.requests))]
        return Served(completions=[one for one, _ in found], cached_tokens=sum(cached for _, cached in found))

    async def until_done(self) -> None:
        none_up_since: float | None = None
        while len(self.done) < len(self.requests):
            for post in self.posts:
                self.ask(post)
            for post in self.posts:
                if post.up and not post.waiting and not post.asked and post.unconfirmed:
                    await self.confirm(post)
            if any(post.up for post in self.posts):
                none_up_since = None
            else:
                none_up_since = none_up_since or time.monotonic()
                if time.monotonic() - none_up_since > self.pool.timeout_s:
                    urls = ", ".join(post.server.url for post in self.posts)
                    raise EngineLost(
                        f"no server of rollout.servers has answered for {self.pool.timeout_s:g} s ({urls}); start them "
                        "again (rft/serve.py), then continue with the same command"
                    )
            self.changed.clear()
            if len(self.done) < len(self.requests):
                try:
                    await asyncio.wait_for(self.changed.wait(), timeout=HEALTH_EVERY_S)
                except TimeoutError:
                    continue

    def give(self, places: Sequence[int]) -> None:
        """Deals requests to the servers that are up; without any they wait."""
        up = [post for post in self.posts if post.up]
        if not up:
            self.homeless += places
            return
        dealt = deal(families(self.requests, sorted(places)), [post.load() for post in up], self.pool.first % len(up))
        for post, found in zip(up, dealt, strict=True):
            post.waiting.extend(found)
        self.changed.set()

    def ask(self, post: Post) -> None:
        """Sends what a server has room for, family after family."""
        while post.up and post.waiting and len(post.asked) < self.pool.most:
            family = post.waiting.popleft()
            room = self.pool.most - len(post.asked)
            now, later = family.places[:room], family.places[room:]
            if later:
                post.waiting.appendleft(Family(places=later, work=family.work))
            for place in now:
                post.asked.add(place)
                task = asyncio.create_task(self.ask_one(post, place))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def ask_one(self, post: Post, place: int) -> None:
        try:
            answer = await post.server.complete(
                self.http,
                self.requests[place],
                self.sampling,
                stop_token_ids=self.pool.stop_token_ids,
                vocab_size=self.pool.vocab_size,
                policy_version=self.policy_version,
                label=self.label,
            )
        except ServerFault as fault:
            if place in post.asked:
                self.lose(post, fault)
            return
        if place not in post.asked:
            return  # it was given to another server meanwhile
        progress.moved()
        post.asked.discard(place)
        post.unconfirmed[place] = answer
        post.heard_at = time.monotonic()
        self.changed.set()

    async def confirm(self, post: Post) -> None:
        """Takes a server's answers, if it holds the weights that they were asked with."""
        try:
            version = await self.in_thread(post.server.weight_version)
        except ServerFault as fault:
            self.lose(post, fault)
            return
        post.heard_at = time.monotonic()
        if version == self.label:
            self.done |= post.unconfirmed
            post.unconfirmed.clear()
            post.strikes = 0
        else:
            self.lose(post, ServerFault(f"{post.server.url} has weights {version}, not {self.label}"))

    def lose(self, post: Post, fault: ServerFault) -> None:
        """A server is gone: all that it had and that is not confirmed goes to others, once."""
        if not post.up:
            return
        logger.warning("%s; its requests go to other servers", fault)
        post.up = False
        post.strikes += 1
        places = [*post.asked, *post.unconfirmed, *(place for family in post.waiting for place in family.places)]
        post.asked.clear()
        post.unconfirmed.clear()
        post.waiting.clear()
        self.give(places)
        self.changed.set()

    async def watch(self, post: Post) -> None:
        """Looks after one server: notes its silence while it is up, and brings it back when it is not."""
        tries = 0
        while post.strikes < MOST_STRIKES:
            if post.up:
                tries = 0
                await asyncio.sleep(HEALTH_EVERY_S)
                await self.listen(post)
                continue
            tries += 1
            await asyncio.sleep(min(FIRST_WAIT_S * 2 ** (tries + post.strikes - 2), LONGEST_WAIT_S))
            try:
                await self.in_thread(partial(self.bring_back, post.server))
            except ServerFault as fault:
                logger.info("%s is not back: %s", post.server.url, fault)
                continue
            logger.warning("%s serves again", post.server.url)
            post.up, post.heard_at = True, time.monotonic()
            homeless, self.homeless = self.homeless, []
            self.give(homeless)
            self.changed.set()

    async def listen(self, post: Post) -> None:
        """Asks whether a server is there; one that has said nothing for too long counts as gone."""
        address, limit_s = f"{post.server.url}/health", HEALTH_EVERY_S * 5
        try:
            answer = await self.http.get(address, headers=post.server.headers, timeout=limit_s)
        except (httpx.ConnectError, httpx.RemoteProtocolError) as error:
            self.lose(post, ServerFault(f"{post.server.url} does not answer ({type(error).__name__})"))
        except httpx.HTTPError:
            silent_s = time.monotonic() - post.heard_at
            if silent_s > self.pool.timeout_s:
                self.lose(post, ServerFault(f"{post.server.url} has been silent for {silent_s:.0f} s"))
        else:
            post.heard_at = time.monotonic()
            if answer.is_error:
                self.lose(post, ServerFault(f"{post.server.url} says that it is ill (status {answer.status_code})"))

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.pool.threads, work)

    def bring_back(self, server: Server) -> None:
        """
        Raises:
            ServerFault: it is still not there, or does not take the weights.
        """
        if server.weight_version() != self.label:
            self.pool.renew(server)
        if server.weight_version() != self.label:
            raise ServerFault(f"{server.url} did not take the weights")
