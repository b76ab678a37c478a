"""One vLLM server as seen from a trainer: its endpoints, and what is wrong when it does not answer as it should."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, cast

import httpx

from rft.records import Completion, FinishReason, TurnRequest
from rft.rollout.engine import Sampling

CONTROL_TIMEOUT_S = 30.0
"""For a question that a server answers at once."""
CONNECT_TIMEOUT_S = 10.0

ALMOST = 1e-3
"""A log-prob may be above 0 by so much: rounding."""


class ServerFault(Exception):
    """A server that does not answer, or answers what is no answer. Its requests go to others."""


class Server:
    """
    Args:
        url: such as http://10.0.0.7:8000.
        request_timeout_s: for one completion.
        load_timeout_s: for new weights.
        adapter: weights come as LoRA adapters, and a request names its adapter.
    """

    def __init__(self, url: str, request_timeout_s: float, load_timeout_s: float, *, adapter: bool = False) -> None:
        self.url = url.rstrip("/")
        self.request_timeout_s = request_timeout_s
        self.load_timeout_s = load_timeout_s
        self.adapter = adapter
        key = os.environ.get("VLLM_API_KEY")
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}

    # ------------------------------------------------------------------------------------------------------- control

    def get(self, path: str, timeout_s: float = CONTROL_TIMEOUT_S) -> Any:
        """
        Raises:
            ServerFault: no answer, an error, or no JSON.
        """
        return self._call("GET", path, None, timeout_s)

    def post(self, path: str, body: dict[str, Any] | None = None, timeout_s: float = CONTROL_TIMEOUT_S) -> Any:
        """As `get`."""
        return self._call("POST", path, body, timeout_s)

    def tell(self, path: str, body: dict[str, Any], timeout_s: float = CONTROL_TIMEOUT_S) -> None:
        """As `post`, where the answer is words for a person."""
        response = self._send("POST", path, body, timeout_s)
        if response.is_error:
            raise refusal(self.url, path, response)

    def _call(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
        return answer_of(self.url, path, self._send(method, path, body, timeout_s))

    def _send(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> httpx.Response:
        limits = httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        # A proxy of the machine's own environment is not for servers of this run.
        with httpx.Client(trust_env=False, headers=self.headers, timeout=limits) as http:
            try:
                return http.request(method, self.url + path, json=body)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ServerFault(f"{self.url} does not answer ({type(error).__name__})") from error

    def weight_version(self, timeout_s: float = CONTROL_TIMEOUT_S) -> str:
        """What the server calls its weights.

        Raises:
            ServerFault: no answer.
        """
        return str(self._read(self.get("/weight_info", timeout_s), "weight_version"))

    def ask_workers(self, method: str, *arguments: str, timeout_s: float = CONTROL_TIMEOUT_S) -> list[dict[str, Any]]:
        """What each worker of the server says to a method of rft/serving/worker.py.

        Raises:
            ServerFault: no answer.
        """
        answer = self.post("/collective_rpc", {"method": method, "args": list(arguments)}, timeout_s)
        found = self._read(answer, "results")
        if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
            raise ServerFault(f"{self.url} answers nonsense to {method}")
        return found

    def sees(self, folder: str, total: float) -> bool:
        """Whether the server reads, in a folder, numbers with this sum."""
        sums = [found.get("sum") for found in self.ask_workers("rft_sum_of_files", folder)]
        return all(one is not None and abs(one - total) < 1e-6 for one in sums)

    def load_files(self, folder: str, version: str) -> None:
        """Has the server load the weights in a folder, forget its prefix cache, and call them `version`, in this order:
        whoever reads that name knows that the rest is done.

        Raises:
            ServerFault: it cannot, or its prefix cache is in use.
        """
        found = self.ask_workers("rft_load_files", folder, timeout_s=self.load_timeout_s)
        problems = [one.get("error") for one in found if one.get("error")]
        if problems:
            raise ServerFault(f"{self.url} did not take the weights: {problems[0]}")
        self.call_weights(version)

    def load_adapter(self, folder: str, label: str, before: str, version: str) -> None:
        """As `load_files`, of a LoRA adapter that requests call `label`.

        Args:
            before: what requests called the one before; it is not kept.
        """
        body = {"lora_name": label, "lora_path": folder, "load_inplace": True}
        self.tell("/v1/load_lora_adapter", body, self.load_timeout_s)
        with suppress(ServerFault):  # a server that was started again has none
            self.tell("/v1/unload_lora_adapter", {"lora_name": before})
        self.call_weights(version)

    def call_weights(self, version: str) -> None:
        """Has the server forget its prefix cache, then call its weights `version`."""
        if not self._read(self.post("/reset_prefix_cache"), "success"):
            raise ServerFault(f"{self.url} did not reset its prefix cache: some of its blocks are still in use")
        self.post("/update_weight_version", {"new_version": version})

    def _read(self, answer: Any, key: str) -> Any:
        if not isinstance(answer, dict) or key not in answer:
            raise ServerFault(f"{self.url} answers nonsense: {str(answer)[:100]!r}")
        return answer[key]

    # --------------------------------------------------------------------------------------------------- completions

    async def complete(
        self,
        http: httpx.AsyncClient,
        request: TurnRequest,
        sampling: Sampling,
        *,
        stop_token_ids: Sequence[int],
        vocab_size: int,
        policy_version: int,
        label: str,
    ) -> tuple[Completion, int]:
        """The completion, and how many prompt tokens came from the prefix cache.

        Raises:
            ServerFault: no answer in time, an error, or something that is no completion of this request.
            RuntimeError: the server refuses the request as one that cannot be answered; no other would take it.
        """
        body = {
            **({"model": label} if self.adapter else {}),
            "token_ids": list(request.prompt_ids),
            # What was computed with other weights is never read again.
            "cache_salt": label,
            "sampling_params": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "seed": request.seed,
                "max_tokens": request.max_tokens,
                "stop_token_ids": list(stop_token_ids),
                "logprobs": 0,
                "detokenize": False,
            },
        }
        path = "/inference/v1/generate"
        try:
            limits = httpx.Timeout(self.request_timeout_s, connect=CONNECT_TIMEOUT_S)
            response = await http.post(self.url + path, json=body, headers=self.headers, timeout=limits)
        except httpx.HTTPError as error:
            raise ServerFault(f"{self.url} does not answer ({type(error).__name__})") from error
        if response.status_code in (400, 413, 422):
            raise RuntimeError(f"{self.url} refuses a request: {first_words(response)}")
        reply = answer_of(self.url, path, response)
        try:
            completion = completion_of(reply, policy_version)
            cached = int(((reply.get("usage") or {}).get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ServerFault(f"{self.url} answers nonsense ({type(error).__name__}: {error})") from error
        if (problem := problem_of(completion, request, stop_token_ids, vocab_size)) is not None:
            raise ServerFault(f"{self.url} answers nonsense ({problem})")
        return completion, cached


def answer_of(url: str, path: str, response: httpx.Response) -> Any:
    """The JSON of an answer; an empty one is None.

    Raises:
        ServerFault: an error status, with the first line that the server says, or no JSON.
    """
    if response.is_error:
        raise refusal(url, path, response)
    try:
        return response.json() if response.content else None
    except ValueError as error:
        raise ServerFault(f"{url}{path} answers no JSON") from error


def refusal(url: str, path: str, response: httpx.Response) -> ServerFault:
    return ServerFault(f"{url}{path} has status {response.status_code}: {first_words(response)}")


def first_words(response: httpx.Response) -> str:
    return " ".join(response.text.split())[:300]


def completion_of(reply: Any, policy_version: int) -> Completion:
    """From the body of /inference/v1/generate."""
    (choice,) = reply["choices"]
    return Completion(
        token_ids=tuple(int(token) for token in choice["token_ids"]),
        logprobs=tuple(float(entry["logprob"]) for entry in choice["logprobs"]["content"]),
        finish_reason=cast(FinishReason, choice["finish_reason"]),
        policy_version=policy_version,
    )


def problem_of(
    completion: Completion, request: TurnRequest, stop_token_ids: Sequence[int], vocab_size: int
) -> str | None:
    """Why something cannot be a completion of the request; None where it can."""
    tokens, logprobs = completion.token_ids, completion.logprobs
    if not 0 < len(tokens) <= request.max_tokens:
        return f"{len(tokens)} tokens for at most {request.max_tokens}"
    if len(logprobs) != len(tokens):
        return f"{len(logprobs)} log-probs for {len(tokens)} tokens"
    if not all(0 <= token < vocab_size for token in tokens):
        return f"a token outside of the vocabulary of {vocab_size}"
    if not all(math.isfinite(value) and value <= ALMOST for value in logprobs):
        return "a log-prob that is none"
    if completion.finish_reason == "length":
        return None if len(tokens) == request.max_tokens else "cut before the limit"
    if completion.finish_reason == "stop":
        return None if tokens[-1] in stop_token_ids else "ended without a stop token"
    return f"finish_reason {completion.finish_reason!r}"
