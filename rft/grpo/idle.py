"""When a run has nothing left to learn from: steps in a row that were skipped because no sample had a gradient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def idle_steps_after(before: int, updates: Sequence[Mapping[str, float]]) -> int:
    """How many steps in a row have been skipped by now.

    Args:
        before: the count before these steps.
        updates: the metrics of the steps taken since (`optimizer_step`), in order.
    """
    count = before
    for metrics in updates:
        count = count + 1 if metrics["update/skipped"] else 0
    return count


def check_idle(count: int, bound: int, mean_reward: float | None = None) -> None:
    """Stops a run in which `bound` steps in a row were skipped.

    Args:
        count: of `idle_steps_after`.
        bound: train.max_idle_steps.
        mean_reward: of the last batch, which tells whether all answers are good or all are bad; None if unknown.

    Raises:
        RuntimeError: names the reason, and what can be done.
    """
    if count < bound:
        return
    reward = "" if mean_reward is None else f" (mean reward of the last batch: {mean_reward:.3f})"
    raise RuntimeError(
        f"{count} steps in a row had nothing to learn from: in every group all siblings were equally good or equally "
        f"bad{reward}, so no sample had an advantage; choose questions that are neither too easy nor too hard, raise "
        "rollout.num_generations or rollout.temperature, check the reward, or raise train.max_idle_steps"
    )
