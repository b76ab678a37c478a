"""Every record that travels between rooms: what it holds, in which units, with one worked example each.

The path of one training step, in the order the records appear:

    Question, History   what the data set says               (data/)
    Prompt              a question as token ids              (tasks/)
    TurnRequest         what the engine is asked             (tasks/ -> rollout/)
    Completion          what the engine answered             (rollout/)
    Score               what the answer is worth             (reward/)
    Answer              prompt, completion and score         (tasks/)
    MemoryUpdate        one rewriting of a memory            (tasks/)
    Rollout             all that one sibling did             (rollout/ -> grpo/)
    Sample              one token path with its advantage    (grpo/)

Records are frozen: a step that needs another value makes another record. `reward` and `advantage`
are different fields of different records, and neither ever takes the other's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

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
class History:
    """One persona's chat with a chatbot; several questions share it.

    Example:
        History(history_id="data/chat_history_32k/chat_history_250913_163134_persona521.json",
                persona_id=521, messages=(Message(role="system", content="..."), ...))
    """

    history_id: str
    """Path of the file inside the data set, as the CSV links it."""
    persona_id: int
    messages: tuple[Message, ...]
    """As stored: the persona card (a system message) first, roles that need not alternate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One row of a PersonaMem-v2 CSV: a query, one right and three wrong answers.

    Example:
        Question(question_id="benchmark/0", row=0, persona_id=521, history_id="data/chat_history_32k/...json",
                 query="Any idea for my evening?", correct_answer="...", incorrect_answers=("...", "...", "..."),
                 pref_type="neutral_preferences", who="self", updated=False, sensitive=False,
                 scenario="translation", topic="music", preference="Likes jazz", distance_tokens=18_861,
                 evidence=(Message(...), ...))
    """

    question_id: str
    """`<csv name>/<row>`, unique in a data set."""
    row: int
    """Row index in the CSV, from 0; the paper seeds the option order with it."""
    persona_id: int
    history_id: str
    query: str
    correct_answer: str
    incorrect_answers: tuple[str, ...]
    """Three; none where the question has no options and a judge reads the answer."""
    pref_type: str
    who: str
    """`self` or `others`: whose preference the evidence shows."""
    updated: bool
    """The preference replaces an earlier, opposite one."""
    sensitive: bool
    scenario: str
    topic: str
    preference: str
    distance_tokens: int
    """Tokens between evidence and query, as the data set counted them."""
    evidence: tuple[Message, ...]
    """The turns that reveal the preference (`related_conversation_snippet`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A question made ready for the engine: token ids, and the letter that is right.

    With a memory the token ids are at first the question's own; the memory is put before them when it is written.

    Example:
        Prompt(question_id="train/17", persona_id=4, history_id="...", token_ids=(1, 5, 9, 2, 7),
               num_history_tokens=3, letters=("a", "b", "c", "d"), gold="c", option_order=(2, 3, 0, 1),
               pref_type="neutral_preferences", who="self", updated=False, sensitive=False, scenario="translation")
    """

    question_id: str
    persona_id: int
    history_id: str
    token_ids: tuple[int, ...]
    """The whole chat through the model's template, up to where the assistant's reply begins."""
    num_history_tokens: int
    """How many leading tokens are the shared history: equal for all questions of one history."""
    letters: tuple[str, ...]
    """The letters offered, in order."""
    gold: str
    """The right one of `letters`."""
    option_order: tuple[int, ...]
    """Which answer each letter shows: 0 is the correct answer, 1-3 the incorrect ones in CSV order."""
    pref_type: str
    who: str
    updated: bool
    sensitive: bool
    scenario: str
    query: str = ""
    """The user's words."""
    evidence_turn: int | None = None
    """With a memory: the update, from 0, after which the question's evidence has been read; None where it is not in
    the history."""


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
    """How many weight syncs the engine had had when it sampled this."""


class FailureReason(StrEnum):
    """Why an answer has no valid letter. A wrong but valid letter is no failure of this kind."""

    EMPTY = "empty"
    """Nothing, or only white space."""
    UNCLOSED_THOUGHT = "unclosed_thought"
    """A thought opens and never closes, so there is no answer."""
    NO_BOX = "no_box"
    """No \\boxed{...} in the answer."""
    UNREADABLE_BOX = "unreadable_box"
    """Boxes, but none holds a single letter."""
    NOT_AN_OPTION = "not_an_option"
    """A single letter that was not offered."""
    SEVERAL_LETTERS = "several_letters"
    """Boxes with different letters."""
    PROMPT_TOO_LONG = "prompt_too_long"
    """In an evaluation: the question could not be asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What the scorer says of one reply.

    Example:
        Score(reward=0.0, letter=None, failure=FailureReason.NO_BOX)
    """

    reward: float
    """1.0 when the letter is the gold one, else 0.0."""
    letter: str | None
    """The parsed letter, lower case; None when there is none."""
    failure: FailureReason | None
    """Why `letter` is None; None when there is a letter."""


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
    """Memory updates made before this was asked; 0 with the whole history in the prompt."""


class UpdateFailure(StrEnum):
    """Why a rewritten memory was not taken, so that the one before it stayed."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    """Over memory.max_memory_tokens, or cut at memory.max_update_length."""
    TAGS = "tags"
    """An unclosed thought, or tags of a chat or of a thought in the memory's text."""
    REFUSAL = "refusal"
    """The model talks about itself instead of writing a memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUpdate:
    """One chunk of a history read, one memory written.

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
    """One sibling: with a memory, its updates in order and then its answers; with the whole history, one answer.

    Siblings form a group: they have the same questions in the same order, and the same chunks.

    Example:
        Rollout(updates=(update, update), answers=(answer, answer, answer))
    """

    updates: tuple[MemoryUpdate, ...]
    answers: tuple[Answer, ...]
    """From the final memory, or the whole history: one per question."""
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
