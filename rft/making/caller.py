"""Asks models for the pieces of a data set, within a budget, and keeps every reply.

What was asked before is not asked again. A reply that cannot be used is kept with its reason, and the same thing is
asked for once more with another seed, `budget.attempts` times in all, but no longer when something was made without
it: that would then be another thing. A request that got no answer ends the run after its stage, so that what is made
depends on replies alone and not on when an endpoint was down.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from tqdm import tqdm

from rft.chat.endpoint import ChatReply, Endpoint, NoLongerAnswers
from rft.chat.failures import ReplyFailure
from rft.chat.gate import Gate
from rft.chat.threads import in_threads
from rft.making.calls import CallRow, Calls
from rft.making.config import MakingConfig, ModelSource, PromptName
from rft.making.prompts import SYSTEM
from rft.making.schemas import Reply, form_in_words, read_reply, response_format
from rft.making.seeds import request_seed
from rft.making.spending import Spending, Unfinished, charged_tokens, most_prompt_tokens
from rft.records import Message

NOT_OF_THE_REQUEST = (ReplyFailure.UNREACHABLE, ReplyFailure.OVERLOADED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One thing to be made.

    Example:
        Request(id="p3", parents=(), prompt="personas", fields={"sentence": "A baker ..."}, schema=PersonaReply,
                model="writer", max_tokens=800)
    """

    id: str
    parents: tuple[str, ...]
    prompt: PromptName
    fields: dict[str, Any]
    schema: type[Reply]
    model: str
    max_tokens: int
    greedy: bool = False
    check: Callable[[dict[str, Any]], str | None] | None = None
    """Why a reply of the right form cannot be used, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that can be asked.

    Example:
        Model(name="writer", source=ModelSource(...), endpoint=Endpoint(...), gate=Gate(8))
    """

    name: str
    source: ModelSource
    endpoint: Endpoint
    gate: Gate


class Caller:
    """
    Args:
        config: checked.
        prompts: with the config's own in their places.
        models: by their names in the config.
        calls: what was asked before; it is added to.
    """

    def __init__(
        self, config: MakingConfig, prompts: dict[PromptName, str], models: dict[str, Model], calls: Calls
    ) -> None:
        self.config = config
        self.prompts = prompts
        self.models = models
        self.calls = calls
        self.spending = Spending(config.budget, config.models)
        for rows in calls.rows.values():
            for row in rows:
                self.spending.add(row)
                if not row.may_pass and row.model in models:
                    models[row.model].endpoint.has_answered = True  # in a run before: it may be down for a while

    def run(self, stage: str, requests: Iterable[Request]) -> dict[str, CallRow]:
        """The last row of each request, by its id, in the order of the requests.

        Raises:
            Unfinished: the budget is used up, or requests got no answer.
            ValueError: every request would fail.
        """
        waiting = list(requests)
        for model in self.models.values():
            model.gate.forget_times()
        num_threads = sum(self.models[name].gate.most for name in {request.model for request in waiting})
        rows: dict[str, CallRow] = {}
        jobs = ((request.id, request) for request in waiting)
        with tqdm(total=len(waiting), desc=stage, file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
            for item, row in in_threads(
                jobs, lambda request: self._last_row(stage, request), max(1, num_threads), self._interrupted
            ):
                rows[item] = row
                bar.set_postfix_str(f"cost {self.spending.cost:.4f}, {self.spending.tokens:,} tokens")
                bar.update()
        self._check_refusals(list(rows.values()))
        unanswered = [row for row in rows.values() if row.may_pass and not self._is_given_up(stage, row)]
        if unanswered:
            raise Unfinished(
                f"{len(unanswered)} requests of {stage} got no answer (the last one: {unanswered[-1].detail}); the "
                "same command asks for them again"
            )
        return {request.id: rows[request.id] for request in waiting}

    def _interrupted(self) -> None:
        """Ctrl-C: nothing more is sent, by those either that wait at the gate or would try again."""
        for model in self.models.values():
            model.gate.shut()

    def _check_refusals(self, rows: Sequence[CallRow]) -> None:
        """
        Raises:
            ValueError: a model has refused whatever it was ever asked: it is the way of asking that it refuses.
        """
        for name in {row.model for row in rows if row.failure == ReplyFailure.REFUSED_REQUEST}:
            ever = [row for found in self.calls.rows.values() for row in found if row.model == name]
            if all(row.failure == ReplyFailure.REFUSED_REQUEST for row in ever):
                raise ValueError(
                    f"every request was refused: {ever[-1].detail}; models.{name}.structured = json_object or none "
                    "asks for less"
                )

    def _last_row(self, stage: str, request: Request) -> CallRow:
        """That of the last attempt. Rows that are there are used, whatever `budget.attempts` was in their time."""
        row: CallRow | None = None
        for attempt in count():
            may_ask = attempt < self.config.budget.attempts and (row is None or request.id not in self.calls.parents)
            if not may_ask and not self.calls.of(stage, request.id, attempt):
                break
            row = self._row(stage, request, attempt)
            if row.failure is None or (row.may_pass and not self._is_given_up(stage, row)):
                break
        assert row is not None
        return row

    def _row(self, stage: str, request: Request, attempt: int) -> CallRow:
        """The row of an attempt: from the file, or from the endpoint."""
        model = self.models[request.model]
        messages = self.messages(request)
        options = response_format(request.schema, model.source.structured)
        sent = {
            "model": model.endpoint.model,
            "messages": [message.content for message in messages],
            "temperature": 0.0 if request.greedy else self.config.temperature,
            "max_tokens": request.max_tokens + model.source.thought_tokens,
            "seed": request_seed(self.config.seed, stage, request.id, attempt),
            **options,
        }
        digest = short_hash(sent)
        known = self.calls.of(stage, request.id, attempt)
        if any(row.request != digest for row in known):
            raise ValueError(
                f"{self.calls.path(stage)}: {request.id} was asked for in other words, by another version of this "
                "program or before a reply that it was made from was asked for again; choose another output_dir, or "
                "delete this file and those of the stages after it, whose requests are then made again"
            )
        if known and (not known[-1].may_pass or self._is_given_up(stage, known[-1])):
            return known[-1]
        held, spent = (most_prompt_tokens(messages, options), sent["max_tokens"]), (0, 0)
        self.spending.hold(model.name, *held)
        try:
            reply = model.endpoint.reply(
                messages, sent["max_tokens"], temperature=sent["temperature"], seed=sent["seed"], options=options
            )
            row = self._row_of(request, attempt, sent["seed"], digest, held, reply)
            spent = row.prompt_tokens, row.completion_tokens
            self.calls.add(stage, row)
        except NoLongerAnswers as error:
            raise Unfinished(f"{error}; the same command continues") from None
        finally:
            self.spending.settle(model.name, held, spent)
        return row

    def _row_of(
        self, request: Request, attempt: int, seed: int, digest: str, held: tuple[int, int], reply: ChatReply
    ) -> CallRow:
        value, failure, detail = None, str(reply.failure) if reply.failure else None, reply.detail
        if failure is None:
            value, failure, detail = read_reply(reply.text, request.schema)
            if failure is not None and reply.cut_off:
                failure = "cut_off"
            if value is not None and request.check is not None:
                failure = request.check(value)
        prompt_tokens, completion_tokens = charged_tokens(reply, held, self.models[request.model].source)
        return CallRow(
            id=request.id,
            attempt=attempt,
            parents=request.parents,
            model=request.model,
            seed=seed,
            prompt_version=short_hash([SYSTEM, self.prompts[request.prompt], request.schema.model_json_schema()]),
            request=digest,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            failure=failure,
            detail=detail,
            value=value if failure is None else None,
            text=reply.text if failure is not None else "",
        )

    def _is_given_up(self, stage: str, row: CallRow) -> bool:
        """Whether it broke the endpoint in as many runs as there are attempts, or others were made without it: it is
        then a failure like any other. An endpoint that is down or overloaded says nothing of the request."""
        if not row.may_pass or row.id in self.calls.parents:
            return row.may_pass
        broke = [one for one in self.calls.of(stage, row.id, row.attempt) if one.failure not in NOT_OF_THE_REQUEST]
        return len(broke) >= self.config.budget.attempts

    def messages(self, request: Request) -> tuple[Message, ...]:
        source = self.models[request.model].source
        text = self.prompts[request.prompt].format(**request.fields)
        system = SYSTEM.format(language=self.config.language, domain=self.config.domain)
        return (
            Message(role="system", content=system),
            Message(role="user", content=text + form_in_words(request.schema, source.structured)),
        )


def short_hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
