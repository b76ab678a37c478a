"""Where a run's numbers go: metrics.jsonl first, trackers as views of it, a progress bar for the eye.

Only the main process writes. Files are the results; a run without a tracker loses nothing.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from rft.config import Config
from rft.data.prompts import gold_letter
from rft.jsonl import rewrite_lines, whole_lines
from rft.records import Answer, Rollout
from rft.telemetry.trackers import Trackers

LOGS = ("metrics.jsonl", "rollouts.jsonl")
"""Files of a run to which every step adds rows."""

PROMPT_TAIL_CHARS = 2000
"""How much of a question is kept with a logged answer, from its end."""


class RunLog:
    """The numbers of one run.

    Args:
        config: of the run; `log` and `output_dir` are used.
        first_step: optimizer steps already taken; rows after it are left over from work that a resume repeats,
            and are removed. None is a fresh start, to which no row belongs.
        evaluation_due: the evaluation at `first_step` is still to come; one that was cut short may have left its row.
        num_steps: length of the progress bar.
        tokenizer: decodes the question of a logged answer.
        main: whether this process writes at all.
    """

    def __init__(
        self,
        config: Config,
        *,
        first_step: int | None,
        num_steps: int,
        tokenizer: PreTrainedTokenizerBase,
        main: bool,
        evaluation_due: bool = False,
    ) -> None:
        self.main = main
        self.tokenizer = tokenizer
        self.output_dir = Path(config.output_dir)
        self.rollouts_per_step = config.log.rollouts_per_step
        if not main:
            return
        for name in LOGS:
            keep_rows(self.output_dir / name, first_step, evaluation_due=evaluation_due)
        self.trackers = Trackers(config, first_step)
        self.bar = tqdm(total=num_steps, initial=first_step or 0, desc="train", unit="step", dynamic_ncols=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends one row to metrics.jsonl: `values`, all measured at optimizer step `step`."""
        if not self.main:
            return
        append_json(self.output_dir / "metrics.jsonl", {"step": step, **values})
        self.trackers.metrics(step, values)
        self.bar.update(step - self.bar.n)
        shown = {"reward": "reward", "grad_norm": "|grad|", "eval/accuracy": "eval"}
        self.bar.set_postfix({label: f"{values[key]:.3f}" for key, label in shown.items() if key in values})

    def rollouts(self, step: int, groups: Sequence[Sequence[Rollout]]) -> None:
        """Appends the best and the worst rollout of the first few groups of a step."""
        if not self.main:
            return
        for group in groups[: self.rollouts_per_step]:
            ordered = sorted(group, key=mean_reward)
            for rollout in {id(r): r for r in (ordered[-1], ordered[0])}.values():
                append_json(self.output_dir / "rollouts.jsonl", {"step": step, **rollout_row(rollout, self.tokenizer)})

    def table(self, step: int, name: str, rows: Sequence[dict[str, Any]]) -> None:
        """Shows the first rows as a table where a tracker has tables; the files that hold all are the caller's."""
        if self.main:
            self.trackers.table(step, name, rows)

    def artifact(self, name: str, file: Path) -> None:
        """Hands a file to the trackers that keep files."""
        if self.main:
            self.trackers.artifact(name, file)

    def say(self, text: str) -> None:
        """Prints a line without breaking the progress bar."""
        if self.main:
            self.bar.write(text)

    def flush(self) -> None:
        """Forces the rows to the disk: a checkpoint must not outlive those of its steps."""
        if not self.main:
            return
        for name in LOGS:
            if (path := self.output_dir / name).exists():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def close(self) -> None:
        if not self.main:
            return
        self.bar.close()
        self.trackers.close()


def mean_reward(rollout: Rollout) -> float:
    """Over its answers; 0 where none has a reward."""
    rewards = [answer.score.reward for answer in rollout.answers if answer.score.reward is not None]
    return sum(rewards) / len(rewards) if rewards else 0.0


def rollout_row(rollout: Rollout, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """One rollout as plain values: its answer, or its memory after each update and its answers."""
    answers = [answer_row(answer, tokenizer) for answer in rollout.answers]
    if not rollout.updates:
        return answers[0]
    return {
        "context_id": answers[0]["context_id"],
        "sibling": answers[0]["sibling"],
        "reward": mean_reward(rollout),
        "updates": [
            {
                "memory": update.memory,
                "failure": update.failure,
                "memory_tokens": update.num_memory_tokens,
                "chunk_tokens": update.num_chunk_tokens,
                "completion_tokens": len(update.completion.token_ids),
            }
            for update in rollout.updates
        ],
        "answers": answers,
    }


def answer_row(answer: Answer, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """One answer as plain values: the question's text, not the 32k tokens of context before it."""
    prompt, question, score = answer.prompt, answer.prompt.question, answer.score
    return {
        "question_id": question.question_id,
        "context_id": question.context_id,
        "tags": dict(question.tags),
        "sibling": answer.sibling,
        "option_order": list(prompt.option_order),
        "reference": gold_letter(prompt.option_order) if prompt.option_order else question.correct_answer,
        "parsed": score.parsed,
        "reward": score.reward,
        "parts": dict(score.parts),
        "failure": score.failure,
        "finish_reason": answer.completion.finish_reason,
        "prompt_tail": tokenizer.decode(prompt.token_ids[prompt.num_context_tokens :])[-PROMPT_TAIL_CHARS:],
        "prompt_tokens": len(prompt.token_ids),
        "completion_tokens": len(answer.completion.token_ids),
        "text": answer.text,
    }


def append_json(path: Path, row: dict[str, Any]) -> None:
    """One line of JSON; a value that is not a number (a step without any) becomes null, so that every reader copes."""
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(clean, ensure_ascii=False) + "\n")


def keep_rows(path: Path, step: int | None, *, evaluation_due: bool = False) -> None:
    """Keeps the rows of a jsonl file up to and including `step`; a last line cut short by a crash goes too.

    Args:
        step: None keeps none.
        evaluation_due: rows of `step` that an evaluation wrote go as well.

    Raises:
        ValueError: a line that no run wrote.
    """
    if not path.exists():
        return
    rows = [] if step is None else [(line, row["step"], row) for line, row in read_rows(path)]
    rewrite_lines(
        path,
        [
            line
            for line, at, row in rows
            if at < step or (at == step and not (evaluation_due and any(key.startswith("eval/") for key in row)))
        ],
    )


def read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The whole lines of metrics.jsonl or rollouts.jsonl, and what they say.

    Raises:
        ValueError: names the first line that no run wrote.
    """
    remedy = "move it away, or choose another output_dir"
    try:
        lines = whole_lines(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no file of rows ({error}); {remedy}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.append((line, row | {"step": int(row["step"])}))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{path}: line {number} is no row of a run; {remedy}") from None
    return found
