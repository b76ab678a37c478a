"""How the questions of a comparison are put and what replies are worth: the same for every system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rft.data.closing import Asking, closing_text
from rft.data.dataset import order_by_content
from rft.data.prompts import LeaderboardWording, McqWording, Wording, gold_letter, offered_letters, shown_order
from rft.eval.config import ComparisonConfig
from rft.records import Attempt, Question, Score
from rft.reward.final_answer import score_final_answer
from rft.reward.mcq import after_thought
from rft.reward.scorer import Scorer, TaskScorer, make_scorer
from rft.tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionForm:
    """What stands between a question and its reward.

    Example:
        QuestionForm(wording=task.wording, score=task.score, order_of=dataset.option_order)
    """

    wording: Wording
    score: Scorer
    order_of: Callable[[Question], tuple[int, ...]]
    """The order in which a question's options are shown; empty where they are hidden."""

    def asking(self, question: Question, *, show_query: bool = True) -> Asking:
        """The message that asks a question, or the two that do."""
        if isinstance(self.wording, LeaderboardWording):
            return self.wording.close(question, self.order_of(question), show_query=show_query)
        return self.wording.ask(question, self.order_of(question), show_query=show_query)

    def text_of(self, question: Question, *, show_query: bool = True) -> str:
        """`asking` as the one message of a user."""
        return closing_text(self.asking(question, show_query=show_query))

    def shown_order(self, question: Question) -> tuple[int, ...]:
        """`order_of`, or empty where the wording leaves the options out."""
        return shown_order(self.wording, question, self.order_of(question))


def make_question_form(config: ComparisonConfig, task: Task) -> QuestionForm:
    """The task's own words and scores, unless `compare.protocol` or `compare.answers` say otherwise."""
    protocol, order_of = config.compare.protocol, task.dataset.option_order
    wording: Wording
    if config.compare.answers == "open":
        wording = LeaderboardWording() if protocol == "leaderboard" else task.wording
        return QuestionForm(wording=wording, score=TaskScorer(leave_to_judge), order_of=lambda question: ())
    if protocol == "boxed":
        return QuestionForm(wording=task.wording, score=task.score, order_of=order_of)
    score = make_scorer(config.reward, final_answer_scores)
    if protocol == "leaderboard":
        return QuestionForm(wording=LeaderboardWording(), score=score, order_of=order_by_content)
    return QuestionForm(wording=McqWording("final_answer"), score=score, order_of=order_of)


def final_answer_scores(attempts: Sequence[Attempt]) -> list[Score]:
    """1.0 for the right letter in a line `Final Answer: A`, else 0.0."""
    return [
        score_final_answer(
            attempt.text,
            offered_letters(attempt.option_order),
            gold_letter(attempt.option_order),
            thought_open=attempt.thought_open,
        )
        for attempt in attempts
    ]


def leave_to_judge(attempts: Sequence[Attempt]) -> list[Score]:
    """No reward yet: a judge reads the answers later. Where a reply holds no answer, there is nothing to judge."""
    failures = [after_thought(attempt.text, attempt.thought_open)[1] for attempt in attempts]
    return [Score(reward=0.0, failure=str(failure)) if failure else Score(reward=None) for failure in failures]
