"""results.json: every system asked the same questions, in one table. Its schema is `Results`, checked when it is read.

    OUTPUT_DIR/evaluation/personamem_v2-32k-val/
        results.json
        LABEL/SYSTEM/predictions.jsonl      one line per answer (rft.eval.predictions.Prediction)
        LABEL/SYSTEM/settings.json          what these answers depend on; others do not mix with them
        LABEL/SYSTEM/memories.jsonl         with a memory: each update
        LABEL/SYSTEM/verdicts.jsonl         with a judge: each verdict
        LABEL/SYSTEM/judge.json             what these verdicts depend on

Models are side by side: another `compare.label` adds rows. Systems without a model stand under `rules`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rft.eval.failed_answers import has_failed
from rft.eval.judge import JudgeResult, read_verdicts, summarize_judge, with_verdicts
from rft.eval.predictions import Prediction, read_predictions
from rft.eval.score import Difference, EvalResult, paired_difference, summarize
from rft.eval.systems import SYSTEMS

VERSION = 2
"""Of results.json. Raised by whoever changes its schema."""

RULES_LABEL = "rules"
"""Stands where a model's name would, for systems without a model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens of one system's answers.

    Example:
        Cost(prompt_tokens_mean=31_204.0, prompt_tokens_max=36_001, completion_tokens_mean=212.0,
             prefill_tokens_mean=1_420.0)
    """

    prompt_tokens_mean: float
    prompt_tokens_max: int
    completion_tokens_mean: float
    prefill_tokens_mean: float | None
    """Prompt tokens a local engine computed per answer, a memory's updates included; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemResult:
    """One row of the table.

    Example:
        SystemResult(system="full_history", model="qwen3_4b", is_control=False, num_samples=1,
                     result=EvalResult(...), cost=Cost(...), messages_dropped=0, difference=Difference(...),
                     baseline="qwen3_4b/no_history", judge=None, settings={...})
    """

    system: str
    model: str
    """The label; `rules` for systems without a model."""
    is_control: bool
    """Whether it sees nothing of what the question is about."""
    num_samples: int
    result: EvalResult
    cost: Cost
    messages_dropped: int
    """Left out of contexts that were too long, over all answers."""
    difference: Difference | None
    """To the baseline, question by question; None for the baseline itself and where it was not asked."""
    baseline: str | None
    judge: JudgeResult | None
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A comparison.

    Example:
        Results(version=2, name="personamem_v2-32k-benchmark", num_questions=5000,
                data={"rows_skipped": {}}, systems=[...], provenance={...})
    """

    version: int
    name: str
    """The folder's: data set and split, `leaderboard` for that protocol, `open` where a judge reads the answers."""
    num_questions: int
    """Asked now; a row says how many it has answers to."""
    data: dict[str, Any]
    """What was read and left out."""
    systems: list[SystemResult]
    provenance: dict[str, Any]


SCHEMA: TypeAdapter[Results] = TypeAdapter(Results)


def read_results(path: Path) -> Results:
    """Reads and validates results.json.

    Raises:
        ValueError: absent, or not of this version and its schema.
    """
    remedy = "make it again with rft/evaluate.py"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        version = stored["version"]
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; make it with rft/evaluate.py") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is no results file; {remedy}") from None
    if version != VERSION:
        raise ValueError(f"{path} is of version {version}, this program reads version {VERSION}; {remedy}")
    try:
        return SCHEMA.validate_python(stored)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {place}: {first['msg']}; {remedy}") from None


def write_results(folder: Path, results: Results) -> None:
    """Atomically, after a look at the schema."""
    text = json.dumps(dataclasses.asdict(results), indent=2, ensure_ascii=False) + "\n"
    SCHEMA.validate_json(text)
    temporary = folder / ".results.json.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / "results.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemAnswers:
    """All answers of one system of one model, with judgements where there are any.

    Example:
        SystemAnswers(model="qwen3_4b", system="full_history", predictions=[...], settings={...},
                      counters={"prompt_tokens": 4000}, judge=None)
    """

    model: str
    system: str
    predictions: list[Prediction]
    settings: dict[str, Any]
    counters: dict[str, int] | None
    """Of the local engine that answered."""
    judge: str | None
    """The model that read the answers."""


def collect_answers(folder: Path, question_ids: Sequence[str]) -> list[SystemAnswers]:
    """What the folder holds on these questions: models by name, systems in the order of `SYSTEMS`."""
    found = [answers_in(path.parent, set(question_ids)) for path in folder.glob("*/*/predictions.jsonl")]
    places = {name: place for place, name in enumerate(SYSTEMS)}
    return sorted(
        (answers for answers in found if answers.predictions),
        key=lambda one: (one.model == RULES_LABEL, one.model, places.get(one.system, len(places)), one.system),
    )


def answers_in(folder: Path, question_ids: Set[str]) -> SystemAnswers:
    """The answers of one system's folder to these questions."""
    predictions = [one for one in read_predictions(folder / "predictions.jsonl") if one.question_id in question_ids]
    judge = read_json(folder / "judge.json")
    if judge is not None:
        predictions = with_verdicts(predictions, read_verdicts(folder / "verdicts.jsonl"))
    return SystemAnswers(
        model=folder.parent.name,
        system=folder.name,
        predictions=predictions,
        settings=read_json(folder / "settings.json") or {},
        counters=read_json(folder / "counters.json"),
        judge=str(judge["model"]) if judge is not None else None,
    )


def read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no file."""
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return found


def make_results(
    folder: Path,
    question_ids: Sequence[str],
    breakdowns: Sequence[str],
    baseline: str,
    data: dict[str, Any],
    provenance: dict[str, Any],
) -> Results:
    """The table of everything the folder holds on these questions.

    Args:
        folder: of the comparison.
        breakdowns: the tags by which results are broken down.
        baseline: a system of the same model, or `label/system`.
        data: what was read and left out.
        provenance: of this run.
    """
    every = collect_answers(folder, question_ids)
    by_name = {f"{one.model}/{one.system}": one for one in every}
    rows = []
    for one in every:
        name = f"{one.model}/{one.system}"
        other = baseline if "/" in baseline else f"{one.model}/{baseline}"
        compared = by_name.get(other) if other != name else None
        difference = paired_difference(one.predictions, compared.predictions) if compared else None
        rows.append(system_result(one, breakdowns, difference, other if difference else None))
    return Results(
        version=VERSION,
        name=folder.name,
        num_questions=len(question_ids),
        data=data,
        systems=rows,
        provenance=provenance,
    )


def system_result(
    answers: SystemAnswers, breakdowns: Sequence[str], difference: Difference | None, baseline: str | None
) -> SystemResult:
    predictions = answers.predictions
    try:
        result = summarize(predictions, breakdowns)
    except ValueError as error:
        raise ValueError(f"{answers.model}/{answers.system}: {error}") from None
    return SystemResult(
        system=answers.system,
        model=answers.model,
        is_control=answers.system in SYSTEMS and SYSTEMS[answers.system].is_control,
        num_samples=1 + max(prediction.sample for prediction in predictions),
        result=result,
        cost=cost_of(answers),
        messages_dropped=sum(prediction.messages_dropped for prediction in predictions),
        difference=difference,
        baseline=baseline,
        judge=summarize_judge(answers.judge, predictions) if answers.judge else None,
        settings=answers.settings,
    )


def cost_of(answers: SystemAnswers) -> Cost:
    predictions, counters = answers.predictions, answers.counters
    computed = None if counters is None else counters["prompt_tokens"] - counters["cached_prompt_tokens"]
    return Cost(
        prompt_tokens_mean=statistics.fmean(p.prompt_tokens for p in predictions),
        prompt_tokens_max=max(p.prompt_tokens for p in predictions),
        completion_tokens_mean=statistics.fmean(p.completion_tokens for p in predictions),
        prefill_tokens_mean=computed / len(predictions) if computed is not None else None,
    )


def as_table(results: Results) -> str:
    """For a terminal: one line per system."""
    header = (
        "model",
        "system",
        "n",
        "accuracy",
        "95% interval",
        "to baseline",
        "parsed",
        "cut off",
        "failed",
        "prompt tokens",
    )
    lines = [header, *(table_cells(row) for row in results.systems)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * len(texts[0]), *texts[1:]])


def table_cells(row: SystemResult) -> tuple[str, ...]:
    overall, difference = row.result.overall, row.difference
    return (
        row.model,
        row.system,
        str(overall.n),
        f"{overall.accuracy:.3f}",
        f"[{overall.low:.3f}, {overall.high:.3f}]",
        f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" if difference else "",
        f"{row.result.parse_rate:.1%}" if row.result.parse_rate is not None else "",
        f"{row.result.truncation_rate:.1%}",
        str(sum(count for failure, count in row.result.failures.items() if has_failed(failure)) or ""),
        f"{row.cost.prompt_tokens_mean:,.0f}" if row.cost.prompt_tokens_max else "",
    )
