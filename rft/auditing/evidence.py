"""Whether the evidence of a question is in its history: word by word, else nearly so."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cached_property

from rft.auditing.findings import Case
from rft.auditing.words import content_words, words_of
from rft.records import Message, Question

NUM_COMPARED = 3
"""Messages of a history, those with most words in common, that evidence is compared with in full."""

FEWEST_OF_STEM, LONGEST_ENDING = 4, 3
"""Letters by which forms of one word are alike, and those in which they differ."""

SHOWN = 60
"""Characters of evidence in a case."""


class EvidenceSearch:
    """The texts of one history, looked through for evidence.

    Args:
        file: the id of its context.
        texts: of its messages, with None for one without.
        threshold: share of the words from which on evidence counts as changed and not as missing.
        roles: of its messages, where it is looked at who says what.
    """

    def __init__(
        self, file: str, texts: Sequence[str | None], threshold: float, roles: Sequence[str] | None = None
    ) -> None:
        self.file = file
        self.threshold = threshold
        self.texts = texts
        self.exact: dict[str, set[str]] = defaultdict(set)
        for text, role in zip(texts, roles or [""] * len(texts), strict=True):
            if text:
                self.exact[text].add(role)
        self.knows_roles = roles is not None

    def check(self, question: Question) -> Iterator[Case]:
        """At most one case of each check: no evidence, evidence that is missing, evidence that was changed."""
        if not question.evidence:
            yield Case(check="no_evidence", question=question.question_id, file=self.file, detail="no message is named")
        absent = [m for m in question.evidence if m.content not in self.exact and not self.holds(m)]
        first: dict[str, Case] = {}
        for message in question.evidence:
            said_by = self.exact.get(message.content)
            if self.knows_roles and said_by and message.role not in said_by:
                detail = f"{message.role}: {plain(message.content)[:SHOWN]!r} is said by the {', '.join(said_by)} there"
                first["evidence_changed"] = Case(
                    check="evidence_changed", question=question.question_id, file=self.file, detail=detail
                )
        for message in absent:
            case = self.case_of(question, message)
            first.setdefault(case.check, case)
        yield from first.values()

    def holds(self, message: Message) -> bool:
        """Whether some message holds the evidence, white space aside: neighbours of one role may have been joined."""
        text = plain(message.content)
        return any(text in found for found in self.plain_texts)

    def places(self, question: Question) -> list[int]:
        """Numbers of the messages that hold evidence, or nearly so."""
        found: set[int] = set()
        for message in question.evidence:
            text = plain(message.content)
            here = [number for number, other in enumerate(self.texts) if other and text in plain(other)]
            if not here:
                likeness, nearest = self.nearest(message)
                here = [nearest] if likeness >= self.threshold else []
            found.update(here)
        return sorted(found)

    def case_of(self, question: Question, message: Message) -> Case:
        likeness, number = self.nearest(message)
        shown = f"{message.role}: {plain(message.content)[:SHOWN]!r}"
        if likeness >= self.threshold and (lost := self.lost_words(question, message)):
            return Case(
                check="evidence_missing",
                question=question.question_id,
                file=self.file,
                message=number,
                detail=f"{shown} is there but for what it tells: {' '.join(lost)!r} is in no message",
            )
        if likeness >= self.threshold:
            detail = f"{shown} is there with {likeness:.0%} of its words"
            return Case(
                check="evidence_changed", question=question.question_id, file=self.file, message=number, detail=detail
            )
        return Case(
            check="evidence_missing",
            question=question.question_id,
            file=self.file,
            detail=f"{shown} is in no message (the nearest, {number}, has {likeness:.0%} of its words)",
        )

    def lost_words(self, question: Question, message: Message) -> list[str]:
        """What evidence shares with the right answer alone, or with the preference, where no word of it is in the
        history in any form: the place is there, the fact is not."""
        answer = content_words(question.correct_answer).difference(*map(content_words, question.incorrect_answers))
        told = answer | content_words(str(question.columns.get("preference") or ""))
        telling = (told & content_words(message.content)) - content_words(question.query)
        return [] if any(map(self.has_form_of, telling)) else sorted(telling)

    def has_form_of(self, word: str) -> bool:
        """Whether a word, or one that begins as it does, is in the history."""
        stem = word[: max(FEWEST_OF_STEM, len(word) - LONGEST_ENDING)]
        return any(other.startswith(stem) for other in self.num_with)

    def nearest(self, message: Message) -> tuple[float, int]:
        """The largest share of the evidence's words that one message has in the same order, and its number.

        Words weigh more the fewer messages of the history have them: histories are full of sentences of one pattern,
        and the rare words are those that tell them apart.
        """
        words = words_of(message.content)
        weights = {word: self.weight(word) for word in words}
        bag = Counter(words)
        total = sum(count * weights[word] for word, count in bag.items())
        if not total:
            return 0.0, 0
        common = [sum(n * weights[word] for word, n in (bag & other).items()) for other in self.bags]
        candidates = sorted(range(len(common)), key=lambda index: -common[index])[:NUM_COMPARED]
        found = [(in_order(words, words_of(self.texts[index] or ""), weights) / total, index) for index in candidates]
        return max(found, default=(0.0, 0))

    def weight(self, word: str) -> float:
        return math.log(1 + len(self.texts) / (1 + self.num_with[word]))

    @cached_property
    def plain_texts(self) -> list[str]:
        return [plain(text) for text in self.exact]

    @cached_property
    def bags(self) -> list[Counter[str]]:
        return [Counter(words_of(text or "")) for text in self.texts]

    @cached_property
    def num_with(self) -> Counter[str]:
        return Counter(word for bag in self.bags for word in bag)


def plain(text: str) -> str:
    return " ".join(text.split())


def in_order(words: Sequence[str], others: Sequence[str], weights: dict[str, float]) -> float:
    """The weight of the words that both have in the same order."""
    matcher = SequenceMatcher(None, words, others, autojunk=False)
    return sum(
        weights[word] for block in matcher.get_matching_blocks() for word in words[block.a : block.a + block.size]
    )
