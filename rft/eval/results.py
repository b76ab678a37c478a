"""results.json: every system asked the same questions, in one table. Its schema is `Results`, checked when it is read.

    OUTPUT_DIR/evaluation/personamem_v2-32k-val/
        results.json
        LABEL/SYSTEM/predictions.jsonl      one line per answer (rft.eval.predictions.Prediction)
        LABEL/SYSTEM/settings.json          what these answers depend on; others do not mix with them
        LABEL/SYSTEM/memories.jsonl         with a memory: each update
        LABEL/SYSTEM/verdicts.jsonl         with a judge: each verdict

Models are side by side: another `evaluate.label` adds rows. Systems without a model stand under `rules`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rft.eval.judge import JudgeResult, read_verdicts, summarize_judge, with_verdicts
from rft.eval.predictions import Prediction, read_predictions
from rft.eval.score import Difference, EvalResult, paired_difference, summarize
from rft.eval.systems import SYSTEMS

VERSION = 1

RULES_LABEL = "rules"


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
        SystemResult(system="full_history", model="qwen3_4b", num_samples=1, result=EvalResult(...), cost=Cost(...),
                     messages_dropped=0, difference=Difference(...), baseline="qwen3_4b/no_history", judge=None,
                     settings={...})
    """

    system: str
    model: str
    """The label; `rules` for systems without a model."""
    num_samples: int
    result: EvalResult
    cost: Cost
    messages_dropped: int
    """Left out of histories that were too long, over all answers."""
    difference: Difference | None
    """To the baseline, question by question; None for the baseline itself and where it was not asked."""
    baseline: str | None
    judge: JudgeResult | None
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """An evaluation.

    Example:
        Results(version=1, benchmark="personamem_v2-32k-benchmark", num_questions=5000,
                data={"rows_skipped": {}}, systems=[...], provenance={...})
    """

    version: int
    benchmark: str
    """The folder's name: data set, window, split."""
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
        ValueError: absent, or not of this version's schema.
    """
    try:
        return SCHEMA.validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; make it with rft/evaluate.py") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {place}: {first['msg']}; make it again with this version") from None


def write_results(folder: Path, results: Results) -> None:
    """Atomically, after a look at the schema."""
    text = json.dumps(dataclasses.asdict(results), indent=2, ensure_ascii=False) + "\n"
    SCHEMA.validate_json(text)
    temporary = folder / ".results.json.tmp"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, folder / "results.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """All answers of one system of one model, with judgements where there are any."""

    model: str
    system: str
    predictions: list[Prediction]
    settings: dict[str, Any]
    counters: dict[str, int] | None


def collect(folder: Path, question_ids: Sequence[str]) -> list[Answers]:
    """What the folder holds on these questions: models by name, systems in the order of `SYSTEMS`."""
    wanted = set(question_ids)
    found = []
    for path in folder.glob("*/*/predictions.jsonl"):
        predictions = [p for p in read_predictions(path) if p.question_id in wanted]
        verdicts = path.with_name("verdicts.jsonl")
        if verdicts.exists():
            predictions = with_verdicts(predictions, read_verdicts(verdicts))
        if predictions:
            counters = path.with_name("counters.json")
            found.append(
                Answers(
                    model=path.parts[-3],
                    system=path.parts[-2],
                    predictions=predictions,
                    settings=json.loads(path.with_name("settings.json").read_text(encoding="utf-8")),
                    counters=json.loads(counters.read_text(encoding="utf-8")) if counters.exists() else None,
                )
            )
    return sorted(found, key=lambda one: (one.model == RULES_LABEL, one.model, SYSTEMS.index(one.system)))


def make_results(
    folder: Path, question_ids: Sequence[str], baseline: str, data: dict[str, Any], provenance: dict[str, Any]
) -> Results:
    """The table of everything the folder holds on these questions.

    `baseline` is a system of the same model, or `label/system`.
    """
    every = collect(folder, question_ids)
    by_name = {f"{one.model}/{one.system}": one for one in every}
    rows = []
    for one in every:
        name = f"{one.model}/{one.system}"
        other = baseline if "/" in baseline else f"{one.model}/{baseline}"
        compared = by_name.get(other) if other != name else None
        difference = paired_difference(one.predictions, compared.predictions) if compared else None
        rows.append(row_of(one, difference, other if difference else None))
    return Results(
        version=VERSION,
        benchmark=folder.name,
        num_questions=len(question_ids),
        data=data,
        systems=rows,
        provenance=provenance,
    )


def row_of(answers: Answers, difference: Difference | None, baseline: str | None) -> SystemResult:
    predictions = answers.predictions
    judge_model = answers.settings.get("judge")
    computed = None
    if answers.counters is not None:
        computed = answers.counters["prompt_tokens"] - answers.counters["cached_prompt_tokens"]
    return SystemResult(
        system=answers.system,
        model=answers.model,
        num_samples=1 + max(prediction.sample for prediction in predictions),
        result=summarize(predictions),
        cost=Cost(
            prompt_tokens_mean=statistics.fmean(p.prompt_tokens for p in predictions),
            prompt_tokens_max=max(p.prompt_tokens for p in predictions),
            completion_tokens_mean=statistics.fmean(p.completion_tokens for p in predictions),
            prefill_tokens_mean=computed / len(predictions) if computed is not None else None,
        ),
        messages_dropped=sum(prediction.messages_dropped for prediction in predictions),
        difference=difference,
        baseline=baseline,
        judge=summarize_judge(str(judge_model), predictions) if judge_model else None,
        settings=answers.settings,
    )


def as_table(results: Results) -> str:
    """For a terminal: one line per system."""
    header = ("model", "system", "n", "accuracy", "95% interval", "to baseline", "parsed", "cut off", "prompt tokens")
    lines = [header, *(cells_of(row) for row in results.systems)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    texts = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * len(texts[0]), *texts[1:]])


def cells_of(row: SystemResult) -> tuple[str, ...]:
    overall, difference = row.result.overall, row.difference
    return (
        row.model,
        row.system,
        str(overall.n),
        f"{overall.accuracy:.3f}",
        f"[{overall.low:.3f}, {overall.high:.3f}]",
        f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]" if difference else "",
        f"{row.result.parse_rate:.1%}",
        f"{row.result.truncation_rate:.1%}",
        f"{row.cost.prompt_tokens_mean:,.0f}" if row.cost.prompt_tokens_max else "",
    )
