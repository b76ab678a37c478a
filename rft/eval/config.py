"""The settings of `rft/evaluate.py`: a training config, read for its model, data and engine, and what to compare."""

from __future__ import annotations

import os
from dataclasses import field
from typing import Any, Literal

from rft.config import Config, section
from rft.data.benchmarks import BenchmarkName
from rft.data.prompts import Protocol
from rft.eval.systems import MEMORY, choose_systems


@section
class EndpointConfig:
    """A model behind an OpenAI-compatible endpoint. Its key is read from OPENAI_API_KEY and from nowhere else."""

    base_url: str | None = None
    """Such as http://localhost:8000/v1; None is the client's own default."""
    model: str | None = None
    """The name the endpoint knows it by; None asks no endpoint."""
    concurrency: int = 8
    """Requests in flight."""
    requests_per_minute: int = 0
    """0 is no limit."""
    timeout: float = 600.0
    """Seconds one attempt may take."""
    max_retries: int = 5
    """Further attempts after a timeout, a lost connection, a rate limit or a server error, each after a longer wait."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, such as reasoning_effort."""


@section
class JudgeConfig:
    """With `evaluate.answers: open`: who reads the answers."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    repeats: int = 1
    """Verdicts per layout; answers are always judged in both layouts."""
    max_completion_length: int = 512


@section
class CompareConfig:
    """What is asked, how, and of whom. The model is `model.model_name_or_path`, or the endpoint's."""

    benchmark: BenchmarkName = "personamem_v2"
    answers: Literal["choice", "open"] = "choice"
    """`open`: no options are shown, a judge reads the answer."""
    protocol: Protocol = "boxed"
    label: str | None = None
    """The model's name in tables and folders; None is the end of its path or id."""
    baseline: str = "no_history"
    """System that the others are compared with, question by question; `label/system` is another model's."""
    num_samples: int = 1
    """Answers per question."""
    temperature: float | None = 0.0
    """0 is greedy. None leaves it to an endpoint that takes no temperature."""
    batch_size: int = 64
    """Questions between two writings of results, on a local engine."""
    max_context_tokens: int = 8192
    """Of truncated_history: tokens of a prompt."""
    retrieval_window: int = 6
    retrieval_overlap: int = 2
    retrieval_top_k: int = 10
    embedding_model: str = "sentence-transformers/all-MiniLM-L6-v2"
    tokenizer: str | None = None
    """With an endpoint: what counts tokens for truncated_history and memory; None is the endpoint's model name."""
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)


@section
class EvaluationConfig(Config):
    """A whole evaluation. `eval.split` and `eval.num_questions` say which questions, `output_dir` where the results
    go: into its folder `evaluation`."""

    system: str | list[str] = "default"
    """Systems or sets of systems (rft/eval/systems.py)."""
    evaluate: CompareConfig = field(default_factory=CompareConfig)

    @property
    def uses_endpoint(self) -> bool:
        return self.evaluate.endpoint.model is not None

    @property
    def label(self) -> str:
        """The model's name in folders and tables."""
        name = self.evaluate.label or self.evaluate.endpoint.model or self.model.model_name_or_path
        return name.rstrip("/").rpartition("/")[2]


def check(config: EvaluationConfig) -> None:
    """Refuses what cannot work, before anything is read.

    Raises:
        ValueError: one line that names the keys and the fix.
    """
    compare = config.evaluate
    systems = choose_systems(config.system)
    positive = {
        "evaluate.num_samples": compare.num_samples,
        "evaluate.batch_size": compare.batch_size,
        "evaluate.max_context_tokens": compare.max_context_tokens,
        "evaluate.endpoint.concurrency": compare.endpoint.concurrency,
        "evaluate.judge.repeats": compare.judge.repeats,
        "evaluate.judge.max_completion_length": compare.judge.max_completion_length,
        "rollout.max_completion_length": config.rollout.max_completion_length,
        "data.max_prompt_length": config.data.max_prompt_length,
    }
    open_ended = compare.answers == "open"
    problems = [(value <= 0, f"{key} must be positive, not {value}") for key, value in positive.items()]
    problems += [
        (
            compare.num_samples > 1 and compare.temperature == 0,
            "evaluate.num_samples > 1 with evaluate.temperature = 0 asks for the same answer again; raise one of them",
        ),
        (
            compare.temperature is None and not config.uses_endpoint,
            "evaluate.temperature: null leaves it to an endpoint; name evaluate.endpoint.model, or set a temperature",
        ),
        (
            compare.temperature is not None and compare.temperature < 0,
            "evaluate.temperature must not be negative",
        ),
        (
            compare.benchmark == "longmemeval" and not open_ended,
            "longmemeval has no options; set evaluate.answers=open and evaluate.judge.endpoint.model",
        ),
        (
            open_ended and compare.judge.endpoint.model is None,
            "evaluate.answers=open needs a judge; set evaluate.judge.endpoint.model",
        ),
        (
            open_ended and any(name.endswith(("_option", "_letter", "options_only")) for name in systems),
            "evaluate.answers=open shows no options; leave out longest_option, shortest_option, majority_letter and "
            "options_only, for example system=full_history,no_history,other_history",
        ),
        (
            MEMORY in systems and config.uses_endpoint and (config.memory.query_aware or compare.num_samples > 1),
            "system memory behind an endpoint is query-blind and greedy; set memory.query_aware=false and "
            "evaluate.num_samples=1",
        ),
        ("/" in (compare.label or ""), "evaluate.label names a folder; leave out the slash"),
    ]
    for key, endpoint in (("evaluate.endpoint", compare.endpoint), ("evaluate.judge.endpoint", compare.judge.endpoint)):
        keyless = endpoint.model is not None and endpoint.base_url is None and not os.environ.get("OPENAI_API_KEY")
        problems.append((keyless, f"set OPENAI_API_KEY, or {key}.base_url for an endpoint that needs no key"))
    for broken, message in problems:
        if broken:
            raise ValueError(message)
