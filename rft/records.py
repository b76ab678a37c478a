"""Every record that travels between rooms: what it holds, in which units, with one worked example each.

The path of one training step, in the order the records appear:

    Question, Context   what the data set says               (data/)
    Prompt              a question as token ids              (tasks/)
    TurnRequest         what the engine is asked             (tasks/ -> rollout/)
    Completion          what the engine answered             (rollout/)
    Attempt             what a reward is computed from       (tasks/ -> reward/)
    Score               what the attempt is worth            (reward/)
    Answer              prompt, completion and score         (tasks/)
    MemoryUpdate        one rewriting of a memory            (tasks/)
    Rollout             all that one sibling did             (rollout/ -> grpo/)
    Sample              one token path with its advantage    (grpo/)

No record knows a column of any data set: what a data set says besides is in `Question.tags` and `Question.columns`.
Records are frozen: a step that needs another value makes another record. `reward` and `advantage` are different
fields of different records, and neither ever takes the other's value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a chat.

    Example:
        Message(role="user", content="Could you polish this note?")
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What several questions share: a user's chat history, a document, a code base; may be empty.

    Example:
        Context(context_id="data/chat_history_32k/chat_history_521.json", cluster="521",
                messages=(Message(role="user", content="..."), ...), profile=Message(role="system", content="..."))
    """

    context_id: str
    """Unique in a data set; where there is a file, its path inside the data set."""
    messages: tuple[Message, ...]
    """In order, roles that need not alternate. A leading system message takes the place of the task's own."""
    cluster: str | None = None
    """`Question.cluster` of the questions it belongs to; None where the data set does not say."""
    profile: Message | None = None
    """What the data set was written from, such as a user's description: shown only where the config asks for it."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What is odd about it although it can be used: a name to count it under, and one line for a person that names
    places inside the data set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question about a context, with its reference answer.

    Example:
        Question(question_id="benchmark/0", context_id="data/chat_history_32k/...json", cluster="521",
                 query="Any idea for my evening?", correct_answer="...", incorrect_answers=("...", "...", "..."),
                 evidence=(Message(...), ...), tags={"kind": "music", "updated": "false"},
                 columns={"preference": "Likes jazz"})
    """

    question_id: str
    """Unique in a data set."""
    context_id: str
    query: str
    correct_answer: str
    """The reference answer; with options, the right one of them."""
    incorrect_answers: tuple[str, ...] = ()
    """The other options; none where the answer is open."""
    cluster: str
    """Questions of one cluster (one user, one document) are alike: intervals are clustered by it, and development
    splits do not share one."""
    evidence: tuple[Message, ...] = ()
    """The messages of the context that hold the answer, where the data set says so."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the question is about, for breakdowns: the data set names the tags and their values."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the data set says; handed to reward functions by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A question made ready for the engine: token ids, and how its options were shown.

    With a memory the token ids are at first the question's own; the memory is put before them when it is written.

    Example:
        Prompt(question=question, token_ids=(1, 5, 9, 2, 7), num_context_tokens=3, option_order=(2, 3, 0, 1))
    """

    question: Question
    token_ids: tuple[int, ...]
    """The whole chat through the model's template, up to where the assistant's reply begins."""
    num_context_tokens: int
    """How many leading tokens are the shared context: equal for all questions of one context."""
    option_order: tuple[int, ...]
    """Which answer each option shows: 0 is the correct one, 1.. the incorrect ones in their order; empty without
    options."""
    evidence_turn: int | None = None
    """With a memory: the update, from 0, after which the question's evidence has been read; None where it is not in
    the context."""

    @property
    def question_id(self) -> str:
        return self.question.question_id

    @property
    def context_id(self) -> str:
        return self.question.context_id


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """One thing to ask the engine.

    Example:
        TurnRequest(prompt_ids=(1, 5, 9), seed=813, max_tokens=2048)
    """

    prompt_ids: tuple[int, ...]
    seed: int
    """Seed of this one completion, in [0, 2**63); greedy decoding ignores it."""
    max_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply of the engine.

    Example:
        Completion(token_ids=(7, 8, 2), logprobs=(-0.1, -1.2, -0.01), finish_reason="stop", policy_version=12)
    """

    token_ids: tuple[int, ...]
    """Sampled tokens, the end-of-turn token included when the reply ended by itself."""
    logprobs: tuple[float, ...]
    """Natural log of the probability each token was sampled with (temperature applied), same length."""
    finish_reason: FinishReason
    policy_version: int
    """How many weight syncs the engine had had when it sampled this; all of one batch have the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One reply to one question: all that a reward may depend on.

    Example:
        Attempt(question=question, option_order=(2, 3, 0, 1), asked="Any idea for my evening? ...",
                text="<think>...</think> \\boxed{c}", token_ids=(7, 8, 2), thought_open=False)
    """

    question: Question
    option_order: tuple[int, ...]
    """As in `Prompt`."""
    asked: str
    """The user message that asked, without the context before it."""
    text: str
    """The reply without special tokens."""
    token_ids: tuple[int, ...] = ()
    """The reply's tokens; none where a chat endpoint answered."""
    thought_open: bool = False
    """The prompt's template ends inside a thought, so the reply begins there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a reward says of one attempt.

    Example, multiple choice:
        Score(reward=0.0, parsed=None, failure="no_box")
    Example, two reward functions with the weights 1 and 0.2:
        Score(reward=1.2, parsed=None, failure=None, parts={"exact": 1.0, "brevity": 1.0})
    """

    reward: float | None
    """What the attempt is worth; None leaves it out of training, and it is counted."""
    parsed: str | None = None
    """The answer that was read in the reply; with multiple choice its letter, lower case."""
    failure: str | None = None
    """The named reason why no answer could be read. A wrong answer is no failure of this kind."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """The value of each reward function by name, before its weight; those that returned None are not in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question, one sampled reply, its score.

    Example:
        Answer(prompt=prompt, sibling=3, completion=completion, text="<think>...</think> \\boxed{c}", score=score)
    """

    prompt: Prompt
    sibling: int
    """0 .. num_generations-1"""
    completion: Completion
    text: str
    score: Score
    turn: int = 0
    """Memory updates made before this was asked; 0 with the whole context in the prompt."""


class UpdateFailure(StrEnum):
    """Why a rewritten memory was not taken, so that the one before it stayed."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    """Over memory.max_memory_tokens, or cut at memory.max_update_length."""
    TAGS = "tags"
    """A thought that never closes, or tags of a chat or of a thought in the memory's text."""
    REFUSAL = "refusal"
    """The model talks about itself instead of writing a memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUpdate:
    """One chunk of a context read, one memory written.

    Example:
        MemoryUpdate(prompt_ids=(1, 5, 9), completion=completion, memory="Likes jazz.", failure=None,
                     num_memory_tokens=3, num_chunk_tokens=4_870)
    """

    prompt_ids: tuple[int, ...]
    completion: Completion
    memory: str
    """As it stands after this update: the reply's, or the one before it where the reply failed."""
    failure: UpdateFailure | None
    num_memory_tokens: int
    num_chunk_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One sibling: with a memory, its updates in order and then its answers; with the whole context, one answer.

    Siblings form a group: they have the same questions in the same order, and the same chunks.

    Example:
        Rollout(updates=(update, update), answers=(answer, answer, answer))
    """

    updates: tuple[MemoryUpdate, ...]
    answers: tuple[Answer, ...]
    """From the final memory, or the whole context: one per question."""
    early_answers: tuple[Answer, ...] = ()
    """With memory.answer_at_evidence: from the memory as it stood when the question's evidence had just been read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One token path to train on.

    Example:
        Sample(prompt_ids=(1, 5, 9), completion_ids=(7, 8, 2), sampling_logprobs=(-0.1, -1.2, -0.01),
               advantage=0.5, group="train/17")
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """The tokens the loss is taken on."""
    sampling_logprobs: tuple[float, ...]
    """Log-probabilities at sampling time, one per completion token."""
    advantage: float
    """Group-relative advantage, the same for every token of the completion."""
    group: str
    """Samples of one group stand together and share most of their prompt: siblings of a question, siblings of a
    memory update, or the answers from one memory."""
    weight: float = 1.0
    """What its tokens count in the loss: the samples of one rollout weigh 1 together."""
    place: int = 0
    """Position in the batch of the first question of its rollout: the order of samples, whatever the ranks."""
