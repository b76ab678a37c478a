"""Where a run's numbers go: metrics.jsonl first, wandb as a view of it, a progress bar for the eye.

Only the main process writes. Files are the results; a run without wandb loses nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from rft.config import Config, to_dict
from rft.data.prompts import gold_letter
from rft.jsonl import rewrite_lines, whole_lines
from rft.records import Answer, Rollout

logger = logging.getLogger(__name__)

LOGS = ("metrics.jsonl", "rollouts.jsonl")
"""Files of a run to which every step adds rows."""

TABLE_ROWS = 200
"""Of a table in wandb."""

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
        self.wandb_run: Any = None
        if not main:
            return
        for name in LOGS:
            keep_rows(self.output_dir / name, first_step, evaluation_due=evaluation_due)
        self.wandb_run = start_wandb(config) if config.log.report_to == "wandb" else None
        self.bar = tqdm(total=num_steps, initial=first_step or 0, desc="train", unit="step", dynamic_ncols=True)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Appends one row to metrics.jsonl: `values`, all measured at optimizer step `step`."""
        if not self.main:
            return
        append_json(self.output_dir / "metrics.jsonl", {"step": step, **values})
        if self.wandb_run is not None:
            self.wandb_run.log(values, step=step)
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
        """Shows the first rows as a table in wandb; the files that hold all of them are the caller's."""
        if self.wandb_run is None or not rows:
            return
        import wandb

        columns = list(rows[0])
        table = wandb.Table(columns=columns, data=[[row[column] for column in columns] for row in rows[:TABLE_ROWS]])
        self.wandb_run.log({name: table}, step=step)

    def artifact(self, name: str, file: Path) -> None:
        """Hands a file to wandb."""
        if self.wandb_run is None:
            return
        import wandb

        artifact = wandb.Artifact(f"{name}-{self.wandb_run.id}", type=name)
        artifact.add_file(str(file))
        self.wandb_run.log_artifact(artifact)

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
        if self.wandb_run is not None:
            self.wandb_run.finish()


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
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no file of rows ({error}); {remedy}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.append((line, row | {"step": int(row["step"])}))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{path}: line {number} is no row of a run; {remedy}") from None
    return found


WANDB_ADDRESSES = ("WANDB_MODE", "WANDB_BASE_URL")
"""Variables that can be wrong in such a way that wandb does not start even offline."""


def start_wandb(config: Config) -> Any:
    """A wandb run, offline where there is no key or wandb refuses. Trouble with wandb is a warning and never stops
    training."""
    try:
        return open_wandb(config, os.environ.get("WANDB_MODE") or None)
    except Exception as error:  # keys, addresses, networks and servers fail in many ways
        logger.warning("wandb: %s; this run is recorded offline (`wandb sync` sends it later)", first_line(error))
    kept = {name: os.environ.pop(name) for name in WANDB_ADDRESSES if name in os.environ}
    try:
        return open_wandb(config, "offline")
    except Exception as error:
        logger.warning("wandb did not start (%s); metrics.jsonl has every number", first_line(error))
        return None
    finally:
        os.environ |= kept


def open_wandb(config: Config, mode: str | None) -> Any:
    import wandb

    if mode is None:
        mode = "online" if wandb.login(prompt=False) else "offline"
    id_file = Path(config.output_dir) / "wandb_id.txt"
    run_id = id_file.read_text(encoding="utf-8").strip() if id_file.exists() else uuid.uuid4().hex[:8]
    id_file.write_text(run_id + "\n", encoding="utf-8")
    chosen: Any = mode
    return wandb.init(
        project=config.log.project,
        name=config.log.run_name or Path(config.output_dir).name,
        id=run_id,
        resume="allow" if mode == "online" else None,
        dir=config.output_dir,
        config=to_dict(config),
        mode=chosen,
        settings=wandb.Settings(init_timeout=60, silent=True),
    )


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
