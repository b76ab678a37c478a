"""One call to the servers, from the requests to their completions, whatever happens to one of them.

A server that is silent, gone, or answers nonsense gets no more requests; what it had goes to the others. It is asked
again after a while, gets the present weights if it has others, and serves again. A server names its weights anew each
time it loads some. The name is noted before it is asked, and an answer counts once the server was seen, afterwards,
with that very name: one that was started again in between, with the weights of its model folder, is found out.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import httpx

from rft import progress
from rft.records import Completion, TurnRequest
from rft.rollout.engine import EngineLost, Sampling
from rft.serving.client import CONTROL_TIMEOUT_S, Server, ServerFault
from rft.serving.deal import Family, deal, families
from rft.serving.post import Post

if TYPE_CHECKING:
    from rft.serving.pool import Pool

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

HEALTH_EVERY_S = 2.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
"""Before a server that is gone is asked again; doubled each time."""
MOST_STRIKES = 5
"""A server that comes back and is lost again so often, without one answer that counts, is left alone until the next
weights."""
KEEP_ALIVE_S = 2.0
"""An idle connection is closed before vLLM closes it, after 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What came back, in the order of the requests."""

    completions: list[Completion]
    cached_tokens: int


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
        self.last_fault = "none was up"
        self.refusal: RuntimeError | None = None
        self.changed = asyncio.Event()
        self.control_s = min(CONTROL_TIMEOUT_S, pool.timeout_s)

    async def serve(self) -> Served:
        for post in self.posts:
            post.heard_at = time.monotonic()
        async with self.client() as http:
            self.http = http
            await asyncio.gather(*(self.meet(post) for post in self.posts if post.up))
            self.give(range(len(self.requests)))
            watchers = [asyncio.create_task(self.watch(post)) for post in self.posts]
            try:
                await self.until_done()
            finally:
                await self.cancel(watchers)
        found = [self.done[place] for place in range(len(self.requests))]
        return Served(completions=[one for one, _ in found], cached_tokens=sum(cached for _, cached in found))

    async def ask_everyone(self) -> list[Completion]:
        """The only request of this batch, answered by every server that is up and has the present weights."""
        async with self.client() as http:
            self.http = http
            await asyncio.gather(*(self.meet(post) for post in self.posts if post.up))
            asked = [self.complete(post, 0) for post in self.posts if post.up]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        return [answer[0] for answer in answers if not isinstance(answer, BaseException)]

    def client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=KEEP_ALIVE_S)
        return httpx.AsyncClient(trust_env=False, limits=limits)

    async def cancel(self, watchers: Iterable[asyncio.Task[None]]) -> None:
        """Nothing of this call goes on after it."""
        tasks = [*watchers]
        for post in self.posts:
            tasks += [*post.asked.values(), *([post.confirming] if post.confirming else [])]
            post.leave()
            post.confirming = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def until_done(self) -> None:
        none_up_since: float | None = None
        while len(self.done) < len(self.requests):
            self.changed.clear()
            if self.refusal is not None:
                raise self.refusal
            for post in self.posts:
                self.ask(post)
                if post.up and not post.waiting and not post.asked:
                    self.confirm(post)
            if any(post.up for post in self.posts):
                none_up_since = None
            else:
                none_up_since = none_up_since or time.monotonic()
                if time.monotonic() - none_up_since > self.pool.timeout_s:
                    raise EngineLost(
                        f"no server of rollout.servers has answered for {self.pool.timeout_s:g} s (the last: "
                        f"{self.last_fault}); start them again (rft/serve.py), then continue with the same command"
                    )
            with suppress(TimeoutError):
                await asyncio.wait_for(self.changed.wait(), timeout=HEALTH_EVERY_S)

    def give(self, places: Iterable[int]) -> None:
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
                rest = round(family.work * len(later) / len(family.places))
                post.waiting.appendleft(Family(places=later, work=rest))
            for place in now:
                post.asked[place] = asyncio.create_task(self.ask_one(post, place))

    async def ask_one(self, post: Post, place: int) -> None:
        try:
            answer = await self.complete(post, place)
        except ServerFault as fault:
            self.lose(post, fault)
            return
        except RuntimeError as refusal:
            self.refusal = refusal
            self.changed.set()
            return
        progress.moved()
        del post.asked[place]
        post.unconfirmed[place] = answer
        post.heard_at = time.monotonic()
        self.changed.set()

    async def complete(self, post: Post, place: int) -> tuple[Completion, int]:
        return await post.server.complete(
            self.http,
            self.requests[place],
            self.sampling,
            stop_token_ids=self.pool.stop_token_ids,
            vocab_size=self.pool.vocab_size,
            policy_version=self.policy_version,
            label=self.label,
        )

    # -------------------------------------------------------------------------------------------- who has the weights

    async def meet(self, post: Post) -> None:
        """Notes what a server calls its weights; one that has others is lost, and brought back with these."""
        try:
            version = await self.in_thread(partial(post.server.weight_version, self.control_s))
        except ServerFault as fault:
            self.lose(post, fault)
            return
        if self.is_present(version):
            post.version = version
        else:
            self.lose(post, ServerFault(f"{post.server.url} has weights {version}, not {self.label}"))

    def is_present(self, version: str) -> bool:
        return version.startswith(f"{self.label}/")

    def confirm(self, post: Post) -> None:
        """Begins to ask what weights a server has, to know whether its answers count."""
        if post.unconfirmed and post.confirming is None:
            post.confirming = asyncio.create_task(self.take_confirmed(post, list(post.unconfirmed)))

    async def take_confirmed(self, post: Post, places: Sequence[int]) -> None:
        try:
            version = await self.in_thread(partial(post.server.weight_version, self.control_s))
        except ServerFault as fault:
            post.confirming = None
            self.lose(post, fault)
            return
        post.confirming = None
        post.heard_at = time.monotonic()
        if version != post.version:
            self.lose(post, ServerFault(f"{post.server.url} has weights {version}, not {post.version}"))
            return
        for place in places:
            if place in post.unconfirmed:
                self.done[place] = post.unconfirmed.pop(place)
                post.strikes = 0
        self.changed.set()

    def lose(self, post: Post, fault: ServerFault) -> None:
        """A server is gone: all that it had and that is not confirmed goes to others, once."""
        if not post.up:
            return
        logger.warning("%s; its requests go to other servers", fault)
        self.last_fault = str(fault)
        post.up = False
        post.strikes += 1
        self.give(post.leave())
        self.changed.set()

    # ------------------------------------------------------------------------------------------------------- watching

    async def watch(self, post: Post) -> None:
        """Looks after one server: notes its silence while it is up, and brings it back when it is not."""
        tries = 0
        while post.strikes < MOST_STRIKES:
            if post.up:
                tries = 0
                await asyncio.sleep(HEALTH_EVERY_S)
                await self.listen(post)
                self.confirm(post)
                continue
            tries += 1
            await asyncio.sleep(min(FIRST_WAIT_S * 2 ** max(0, tries + post.strikes - 2), LONGEST_WAIT_S))
            try:
                post.version = await self.in_thread(partial(self.bring_back, post.server))
            except ServerFault as fault:
                self.last_fault = str(fault)
                continue
            logger.warning("%s serves again", post.server.url)
            post.up, post.heard_at = True, time.monotonic()
            self.share_out_anew()

    def share_out_anew(self) -> None:
        """Whatever nobody has been asked yet, over the servers that are up now."""
        places, self.homeless = self.homeless, []
        for post in self.posts:
            places += [place for family in post.waiting for place in family.places]
            post.waiting.clear()
        self.give(places)
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

    def bring_back(self, server: Server) -> str:
        """What the server calls the present weights, which it has or is sent.

        Raises:
            ServerFault: it is still not there, or does not take the weights.
        """
        version = server.weight_version(self.control_s)
        if self.is_present(version):
            return version
        renewal = self.pool.threads.submit(self.pool.renew, server)
        self.pool.renewals.append(renewal)
        return renewal.result()
