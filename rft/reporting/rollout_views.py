"""Rollouts as the report shows them: which groups, what was answered, and how a memory grew turn by turn."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rft.reporting.run_folder import Group, first_answer
from rft.reporting.templates import shortened

MAX_GROUPS = 12
"""Shown of one run: the first few and the last few."""

MAX_UPDATES = 24
"""Of a memory, shown of one rollout: the first few and the last few."""

MAX_ANSWERS = 8
"""From a memory, shown of one rollout."""

MAX_LINES = 200
"""Of one memory; of a longer one the lines that have changed."""

MAX_LINE_CHARS, MAX_TEXT_CHARS = 400, 8000
"""Shown of a line of a memory, and of a question, a thought or an answer."""

THOUGHT = re.compile(r"\A\s*<think>(.*?)</think>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a memory, and what the update did to it."""

    kind: str
    """`same`, `added` or `removed`."""
    text: str


def chosen_groups(groups: Sequence[Group]) -> list[Group]:
    """The first and the last few, those with a difference before those without."""
    if len(groups) <= MAX_GROUPS:
        return list(groups)
    first = sorted(groups[: MAX_GROUPS * 2], key=lambda group: group.worst is None)[: MAX_GROUPS // 3]
    newest = list(reversed(groups[-MAX_GROUPS * 4 :]))
    last = sorted(newest, key=lambda group: group.worst is None)[: MAX_GROUPS - len(first)]
    return sorted([*first, *last], key=lambda group: group.step)


def group_view(group: Group) -> dict[str, Any]:
    rollouts = [("best", group.best)] + ([("worst", group.worst)] if group.worst else [])
    asked = first_answer(group.best)
    return {
        "step": group.step,
        "question": asked["question_id"],
        "context": asked["context_id"],
        "tags": shortened(", ".join(f"{name} {value}" for name, value in asked["tags"].items()), MAX_LINE_CHARS),
        "rewards": [shown_reward(row["reward"]) for _, row in rollouts],
        "rollouts": [rollout_view(label, row) for label, row in rollouts],
    }


def rollout_view(label: str, row: dict[str, Any]) -> dict[str, Any]:
    answers = row.get("answers", [row])
    return {
        "label": label,
        "reward": shown_reward(row["reward"]),
        "updates": growth(row.get("updates", [])),
        "answers": [answer_view(answer) for answer in answers[:MAX_ANSWERS]],
        "num_answers": len(answers),
    }


def shown_reward(reward: float | None) -> str:
    return "none" if reward is None else f"{reward:.2f}"


def answer_view(row: dict[str, Any]) -> dict[str, Any]:
    thought = THOUGHT.match(row["text"])
    return {
        "question": shortened(row["prompt_tail"], MAX_TEXT_CHARS),
        "thought": shortened(thought.group(1).strip(), MAX_TEXT_CHARS) if thought else None,
        "answer": shortened(row["text"][thought.end() :].strip() if thought else row["text"], MAX_TEXT_CHARS),
        "verdict": shortened(verdict_of(row), MAX_LINE_CHARS),
        "is_right": row["reward"] is not None and row["reward"] >= 1,
        "tokens": f"{row['prompt_tokens']:,} tokens in, {row['completion_tokens']:,} out",
    }


def verdict_of(row: dict[str, Any]) -> str:
    """What was read in the reply, and what would have been right."""
    found = row["parsed"] or row["failure"] or f"reward {shown_reward(row['reward'])}"
    return str(found) if row["reward"] == 1 else f"{found}, right is {row['reference']}"


def growth(updates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A memory turn by turn: which lines each update added and removed; of many turns the first and the last ones."""
    memories = ["", *(update["memory"] for update in updates)]
    turns = list(range(len(updates)))
    if len(turns) > MAX_UPDATES:
        turns = [*turns[: MAX_UPDATES // 2], *turns[-MAX_UPDATES // 2 :]]
    return [
        {
            "turn": turn + 1,
            "failure": updates[turn]["failure"],
            "tokens": updates[turn]["memory_tokens"],
            "lines": shown_lines(changes(memories[turn], memories[turn + 1])),
        }
        for turn in turns
    ]


def shown_lines(lines: Sequence[Line]) -> list[Line]:
    """The lines that fit on a page: of many those that have changed, then how many more there are."""
    shown = list(lines)
    if len(lines) > MAX_LINES:
        shown = [line for line in lines if line.kind != "same"][:MAX_LINES]
        shown.append(Line(kind="same", text=f"({len(lines) - len(shown):,} more lines)"))
    return [Line(kind=line.kind, text=shortened(line.text, MAX_LINE_CHARS)) for line in shown]


def changes(before: str, after: str) -> list[Line]:
    """The lines of `after`, and those of `before` that are gone, in their places; in linear time."""
    old, new = before.splitlines(), after.splitlines()
    places: dict[str, deque[int]] = {}
    for place, line in enumerate(old):
        places.setdefault(line, deque()).append(place)
    # Each line of `after` takes the first line of `before` that says the same and is not taken.
    taken = [places[line].popleft() if places.get(line) else None for line in new]
    gone = sorted(place for left in places.values() for place in left)
    found: list[Line] = []
    added: list[Line] = []
    passed = 0
    for line, its_place in zip([*new, ""], [*taken, len(old)], strict=True):
        if its_place is None:
            added.append(Line(kind="added", text=line))
            continue
        while passed < len(gone) and gone[passed] < its_place:
            found.append(Line(kind="removed", text=old[gone[passed]]))
            passed += 1
        found += [*added, Line(kind="same", text=line)]
        added = []
    return found[:-1]  # the last one only ends the loop
