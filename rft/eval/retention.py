"""How long a memory keeps what it has read: told from the words of the evidence, without a judge.

A question's key words are those of its evidence that make the right answer right: they also stand in the right answer
or in the preference that the data set names (`columns["preference"]`), and neither in the query nor in a wrong answer.
A memory holds the evidence when at least half of them stand in it. Where there are none nothing is measured, nor where
the user asked to forget (`columns["forgotten"]`): the right answer is then that nothing is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rft.records import Question

WORD = re.compile(r"[^\W\d_]{3,}")
COMMON = frozenset(
    """
    about all also and any are but can could did does for from had has have her here him his how into its just like
    likes more most not now one only other our out own really she should since some than that the their them then
    there these they this those too user very want was were what when which who will with would you your
    """.split()  # noqa: SIM905
)
"""English words that say nothing by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What became of one question's evidence in one memory; turns count updates from 0.

    Example, read in the second of five chunks, noted at once, gone after the fourth:
        Retention(evidence_turn=1, num_turns=5, entered=1, lost=3)
    """

    evidence_turn: int
    num_turns: int
    entered: int | None
    """The first update, from the evidence's on, whose memory holds it."""
    lost: int | None
    """The first later update from which on no memory holds it; None while the last one does."""

    @property
    def kept(self) -> bool:
        """Whether the final memory holds it."""
        return self.entered is not None and self.lost is None


def key_words(question: Question) -> frozenset[str]:
    """The words, lower case, by which a memory shows that it holds the question's evidence."""
    if question.columns.get("forgotten"):
        return frozenset()
    evidence = words_of(*(message.content for message in question.evidence))
    right = words_of(question.correct_answer, str(question.columns.get("preference") or ""))
    elsewhere = words_of(question.query, *question.incorrect_answers)
    return (evidence & right) - elsewhere - COMMON


def words_of(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in WORD.findall(text.lower()))


def follow_evidence(question: Question, evidence_turn: int, memories: Sequence[str]) -> Retention | None:
    """Follows a question's evidence through the memories after each update; None where it has no key words."""
    wanted = key_words(question)
    if not wanted:
        return None
    holds = [2 * len(wanted & words_of(memory)) >= len(wanted) for memory in memories]
    entered = next((turn for turn in range(evidence_turn, len(memories)) if holds[turn]), None)
    lost = None
    if entered is not None and not holds[-1]:
        lost = 1 + max(turn for turn in range(len(memories)) if holds[turn])
    return Retention(evidence_turn=evidence_turn, num_turns=len(memories), entered=entered, lost=lost)
