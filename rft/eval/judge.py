r"""Open-ended answers, read by a judge: any model behind an OpenAI-compatible endpoint.

A verdict is a number from 0 to 1 in one `\boxed{}` (arXiv 2512.06688: a narrow judge sees query, preference and
reply). Each answer is judged in both layouts (preference or reply first), `compare.judge.repeats` times each; its
reward is the mean of the valid verdicts. A verdict that cannot be read is counted and never becomes a zero. The
leaderboard's protocol reads each answer once, preference first.
"""

from __future__ import annotations

import dataclasses
import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rft.chat.chat_model import ChatModel, ChatRequest
from rft.chat.endpoint import ChatReply
from rft.data import prompts
from rft.eval.config import JudgeConfig
from rft.eval.failed_answers import replies_to_keep
from rft.eval.predictions import Prediction
from rft.jsonl import whole_lines
from rft.records import Message, Question
from rft.reward.mcq import NUMBER_EDGES, FailureReason, bare_content, boxed
from rft.reward.thoughts import answer_of, split_thought

NUMBER = re.compile(r"(0?\.\d+|0|1(?:\.0+)?)\.?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One reading of one answer.

    Example:
        Verdict(question_id="val/3", sample=0, layout="gold_first", repeat=0, score=0.5, failure=None, text="...")
    """

    question_id: str
    sample: int
    layout: str
    """A key of prompts.JUDGE_LAYOUTS."""
    repeat: int
    score: float | None
    failure: str | None
    """Why there is no score: `unclosed_thought`, `no_box`, `several_scores` or `not_a_score`, or why the judge gave no
    verdict (rft.chat.endpoint)."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeResult:
    """How far the judge can be trusted.

    Example:
        JudgeResult(model="gpt-5-mini", num_verdicts=600, num_invalid=3, failures={"no_box": 3}, layout_gap=0.04,
                    repeat_gap=0.01, num_unjudged=0)
    """

    model: str
    num_verdicts: int
    num_invalid: int
    failures: dict[str, int]
    layout_gap: float | None
    """How much the order in the judge's prompt (reference first, or reply first) changes a score: the mean over answers
    of |mean score in one order - mean score in the other|. None where no answer was judged in both."""
    repeat_gap: float | None
    """Mean range of an answer's scores within a layout; None with one verdict each."""
    num_unjudged: int
    """Answers without any valid verdict: in no mean."""


def read_score(text: str) -> tuple[float | None, str | None]:
    """The score in a verdict, or why there is none."""
    _, answer = split_thought(text)
    if answer is None:
        return None, str(FailureReason.UNCLOSED_THOUGHT)
    boxes = boxed(answer)
    if not boxes:
        return None, "no_box"
    found = [NUMBER.fullmatch(bare_content(box, NUMBER_EDGES)) for box in boxes]
    numbers = {float(number.group(1)) if number else None for number in found}
    if len(numbers) > 1:
        return None, "several_scores"
    (number,) = numbers
    return (number, None) if number is not None else (None, "not_a_score")


def rubric_of(question: Question) -> tuple[str, str]:
    """The rubric's name, and what the judge is told of the user: the preference that the data set names
    (`columns["preference"]`), else the reference answer."""
    preference = str(question.columns.get("preference") or "")
    if not preference:
        return "answer", question.correct_answer
    return "avoid" if preference.lower().startswith("do not") else "follow", preference


def judge_request(question: Question, reply: str, layout: str) -> tuple[tuple[Message, ...], str]:
    """System line and user message of one verdict; the reply's thought is not shown."""
    rubric, gold = rubric_of(question)
    shown = {"query": question.query, "gold": gold, "reply": answer_of(reply).strip()}
    parts = "\n\n".join(
        prompts.JUDGE_PARTS[part].format(**{part: shown[part]}) for part in prompts.JUDGE_LAYOUTS[layout]
    )
    text = prompts.JUDGE_TEMPLATE.format(parts=parts, rubric=prompts.JUDGE_RUBRICS[rubric])
    return (Message(role="system", content=prompts.JUDGE_SYSTEM_PROMPT),), text


LEADERBOARD_LAYOUTS = ("gold_first",)
"""What the judge reads each answer in with compare.protocol=leaderboard."""

VerdictKey = tuple[str, int, str, int]
"""Question id, sample, layout, repeat."""


def judge_answers(
    config: JudgeConfig,
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    model: ChatModel,
    path: Path,
    layouts: Sequence[str] = tuple(prompts.JUDGE_LAYOUTS),
) -> Iterator[Verdict]:
    """Asks for the verdicts that `path` does not hold yet, and appends each as it comes, failed ones at the end.

    Args:
        questions: by id, those of the predictions.
        model: the judge.
        path: verdicts.jsonl.
        layouts: those of prompts.JUDGE_LAYOUTS that each answer is read in.

    Raises:
        ValueError: not one verdict came.
    """
    done = {(v.question_id, v.sample, v.layout, v.repeat) for v in verdicts_to_keep(path)}
    requests = (
        request
        for prediction in predictions
        if is_judged(prediction)
        for request in verdict_requests(config, prediction, questions[prediction.question_id], layouts)
        if request.tag not in done
    )
    failed: list[tuple[Verdict, str]] = []
    for key, reply in model.replies(requests):
        verdict = verdict_of(key, reply)
        if reply.failure is not None:
            failed.append((verdict, reply.detail))
        else:
            append_verdict(path, verdict)
        yield verdict
    if failed and not whole_lines(path):
        raise ValueError(f"the judge gave none of {len(failed)} verdicts, the last one: {failed[-1][1]}")
    for verdict, _ in failed:
        append_verdict(path, verdict)


def verdict_of(key: VerdictKey, reply: ChatReply) -> Verdict:
    question_id, sample, layout, repeat = key
    score, failure = (None, str(reply.failure)) if reply.failure is not None else read_score(reply.text)
    return Verdict(
        question_id=question_id,
        sample=sample,
        layout=layout,
        repeat=repeat,
        score=score,
        failure=failure,
        text=reply.text,
    )


def append_verdict(path: Path, verdict: Verdict) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(verdict), ensure_ascii=False) + "\n")


def verdicts_to_keep(path: Path) -> list[Verdict]:
    """The verdicts of a file that are not asked for again."""
    return replies_to_keep(path, read_verdicts)


def is_judged(prediction: Prediction) -> bool:
    """Whether there is an answer to judge. One that was cut inside its thought, was filtered, or was never asked for,
    because the prompt was too long, is wrong without a judge."""
    return prediction.failure is None


def verdict_requests(
    config: JudgeConfig, prediction: Prediction, question: Question, layouts: Sequence[str]
) -> Iterator[ChatRequest[VerdictKey]]:
    for layout in layouts:
        context, text = judge_request(question, prediction.text, layout)
        for repeat in range(config.repeats):
            yield ChatRequest(
                tag=(prediction.question_id, prediction.sample, layout, repeat),
                context=context,
                question=text,
                max_tokens=config.max_completion_length,
                seed=repeat,
            )


def read_verdicts(path: Path) -> list[Verdict]:
    """The verdicts of a file; a last line that a crash cut short is left out.

    Raises:
        ValueError: another line that is no verdict.
    """
    found = []
    for number, line in enumerate(whole_lines(path), 1):
        try:
            found.append(Verdict(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            raise ValueError(f"{path} line {number} is no verdict of this version; remove the file") from None
    return found


def with_verdicts(predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Prediction]:
    """The predictions with their rewards: the mean of the valid scores, None where there is none."""
    of_answer: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in verdicts:
        of_answer.setdefault((verdict.question_id, verdict.sample), []).append(verdict)
    judged = []
    for prediction in predictions:
        if not is_judged(prediction):
            judged.append(prediction)
            continue
        found = of_answer.get((prediction.question_id, prediction.sample), [])
        scores = [verdict.score for verdict in found if verdict.score is not None]
        rows: tuple[dict[str, Any], ...] = tuple(
            {"layout": v.layout, "repeat": v.repeat, "score": v.score, "failure": v.failure} for v in found
        )
        reward = statistics.fmean(scores) if scores else None
        failure = None if scores else "no_valid_verdict"
        judged.append(dataclasses.replace(prediction, reward=reward, failure=failure, verdicts=rows))
    return judged


def summarize_judge(model: str, predictions: Sequence[Prediction]) -> JudgeResult:
    """Agreement of the judge with itself, over the verdicts of `predictions`."""
    verdicts = [verdict for prediction in predictions for verdict in prediction.verdicts]
    failures = [verdict["failure"] for verdict in verdicts if verdict["failure"]]
    layout_gaps, repeat_gaps = [], []
    for prediction in predictions:
        by_layout: dict[str, list[float]] = {}
        for verdict in prediction.verdicts:
            if verdict["score"] is not None:
                by_layout.setdefault(verdict["layout"], []).append(verdict["score"])
        if len(by_layout) == len(prompts.JUDGE_LAYOUTS):
            means = [statistics.fmean(scores) for scores in by_layout.values()]
            layout_gaps.append(max(means) - min(means))
        repeat_gaps += [max(scores) - min(scores) for scores in by_layout.values() if len(scores) > 1]
    return JudgeResult(
        model=model,
        num_verdicts=len(verdicts),
        num_invalid=len(failures),
        failures={reason: failures.count(reason) for reason in sorted(set(failures))},
        layout_gap=statistics.fmean(layout_gaps) if layout_gaps else None,
        repeat_gap=statistics.fmean(repeat_gaps) if repeat_gaps else None,
        num_unjudged=sum(prediction.reward is None for prediction in predictions),
    )
