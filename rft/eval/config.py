"""The config of `rft/evaluate.py`: a training config, read for its model, data and engine, and what to compare."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from rft.config import Config
from rft.config_schema import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Text, section


@section
class EndpointConfig:
    """A model behind an OpenAI-compatible endpoint. Its key is read from an environment variable and never from a file.

    A failed answer stops nothing (rft/chat/failures.py). It is a wrong one where the model or the question is the
    reason, such as content_filter. Where it may pass, such as timeout, it is in no mean and asked again by the same
    command.
    """

    base_url: Text | None = None
    """Such as http://localhost:8000/v1; None is the client's own default. A query, ?api-version=..., is kept."""
    model: Text | None = None
    """The name the endpoint knows it by; None asks no endpoint."""
    concurrency: PositiveInt = 8
    """Requests in flight."""
    requests_per_minute: NonNegativeInt = 0
    """Requests sent in a minute, at most; 0 is no limit."""
    timeout: PositiveFloat = 600.0
    """Seconds one attempt may take."""
    max_retries: NonNegativeInt = 5
    """Further attempts after a timeout, a lost connection, a rate limit or a server error, each after a longer wait."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request, such as reasoning_effort."""
    api_key_env: Text | None = "OPENAI_API_KEY"
    """The environment variable that holds the key; null sends none. One that is named here has to be set; with a
    base_url, OPENAI_API_KEY need not be."""
    api_key_header: Text | None = None
    """The header that holds the key, such as api-key of Azure; None is Authorization: Bearer."""
    omit: list[Literal["temperature", "seed"]] = field(default_factory=list)
    """Fields that it refuses. This and what follows is also learned from the first request that it refuses."""
    system_role: bool = True
    """False writes the system line at the beginning of the user's message."""
    alternating_roles: bool = False
    """Whether user and assistant have to take turns: messages of one role that follow each other are then joined."""
    stream: bool = False
    """Whether it only streams."""


@section
class JudgeConfig:
    """With `compare.answers: open`: who reads the answers."""

    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """The judge's model."""
    repeats: PositiveInt = 1
    """Verdicts per layout; answers are always judged in both layouts."""
    max_completion_length: PositiveInt = 512
    """Tokens of one verdict."""


@section
class CompareConfig:
    """What is asked, how, and of whom. The model is `model.model_name_or_path`, or the endpoint's."""

    answers: Literal["choice", "open"] = "choice"
    """`choice`: a letter. `open`: no options are shown, a judge reads the answer."""
    protocol: Literal["boxed", "final_answer", "leaderboard"] = "boxed"
    """How a question is put: `boxed` is the task's own way, `final_answer` the paper's for models behind an API, with
    multiple choice, `leaderboard` the Agent Memory Leaderboard's, also with `answers: open` (docs/evaluation.md)."""
    label: Text | None = None
    """The model's name in tables and folders; None is the end of its path or id."""
    baseline: Text = "no_history"
    """System that the others are compared with, question by question; `label/system` is another model's."""
    num_samples: PositiveInt = 1
    """Answers per question."""
    temperature: NonNegativeFloat | None = 0.0
    """0 is greedy. None leaves it to an endpoint that takes no temperature."""
    batch_size: PositiveInt = 64
    """Questions that a local engine answers before their answers are written to disk."""
    max_context_tokens: PositiveInt = 8192
    """Of truncated_history: tokens of a prompt."""
    retrieval_window: PositiveInt = 6
    """Of bm25 and embeddings: messages that are found or left out together."""
    retrieval_overlap: NonNegativeInt = 2
    """Of bm25 and embeddings: messages that a window shares with the one before; below retrieval_window."""
    retrieval_top_k: PositiveInt = 10
    """Of bm25 and embeddings: how many of the best windows are shown, at most."""
    retrieval_max_tokens: PositiveInt | None = None
    """Of bm25 and embeddings: tokens of the messages that are shown, at most; a window that would go over them is left
    out. None is no limit."""
    embedding_model: Text = "sentence-transformers/all-MiniLM-L6-v2"
    """Of embeddings: a folder or hub id for sentence-transformers."""
    tokenizer: Text | None = None
    """With an endpoint: what counts tokens for truncated_history, memory and retrieval_max_tokens; None is the
    endpoint's model name."""
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)
    """A model that is asked instead of a local one."""
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    """Who reads open answers."""


@section
class ComparisonConfig(Config):
    """A whole comparison. `eval.split` and `eval.num_questions` say which questions, `output_dir` where the results
    go: into its folder `evaluation`."""

    system: Text | list[Text] = "default"
    """Systems or sets of systems (rft/eval/systems.py)."""
    compare: CompareConfig = field(default_factory=CompareConfig)
    """How they are compared."""

    @property
    def uses_endpoint(self) -> bool:
        return self.compare.endpoint.model is not None

    @property
    def label(self) -> str:
        """The model's name in folders and tables."""
        name = self.compare.label or self.compare.endpoint.model or self.model.model_name_or_path
        return name.rstrip("/").rpartition("/")[2]
