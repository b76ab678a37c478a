"""Writes the tables of README.md and docs/ from the files in bench/results.

    python docs/make_tables.py

A table stands between `<!-- table: NAME -->`, NAME being a key of TABLES, and `<!-- end of table -->`. A test compares
the pages with what this would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MARKED = re.compile(r"<!-- table: ([\w ]+) -->\n.*?<!-- end of table -->", re.DOTALL)

Row = list[str]


def demo(result: dict[str, Any]) -> list[Row]:
    head = [
        "seed",
        "before",
        "after",
        "steps",
        "seconds",
        "largest gap, engine to trainer",
        "prompt tokens from the prefix cache",
    ]
    rows = [
        [
            seed,
            f"{run['accuracy_before']:.3f}",
            f"{run['accuracy_after']:.3f}",
            str(run["num_steps"]),
            f"{run['wall_seconds']:.0f}",
            power(run["max_logprob_gap"]),
            f"{run['prefix_cache_hit_rate']:.0%}",
        ]
        for seed, run in result["seeds"].items()
    ]
    return [head, *rows]


def kinds(result: dict[str, Any]) -> list[Row]:
    rows = [
        [f"`{tag}`", f"{found['before']:.2f}", f"{found['after']:.2f}"]
        for tag, found in result["accuracy_by_tag"].items()
    ]
    return [["questions", "before", "after"], *rows]


def controls(result: dict[str, Any]) -> list[Row]:
    rows = [
        [
            row["system"],
            f"{row['accuracy']:.3f}",
            "{:.3f} to {:.3f}".format(*row["interval"]),
            "" if row["difference"] is None else "{:+.3f} ({:.3f} to {:.3f})".format(*row["difference"]),
            f"{row['prompt_tokens']:.0f}" if row["prompt_tokens"] else "",
        ]
        for row in result["controls"]
    ]
    baseline = next(row["baseline"] for row in result["controls"] if row["baseline"])
    return [["system", "accuracy", "95% interval", f"to {baseline.rpartition(chr(47))[2]}", "prompt tokens"], *rows]


def demo_memory(result: dict[str, Any]) -> list[Row]:
    runs = list(result["seeds"].items())
    return [
        ["300 held-out questions", *(f"seed {seed}, {when}" for seed, _ in runs for when in ("before", "after"))],
        ["accuracy from the memory alone", *(f"{run[f'accuracy_{when}']:.3f}" for _, run in runs for when in ENDS)],
        [
            "evidence in the final memory, of what was read",
            *(f"{run[f'retention_{when}']:.0%}" for _, run in runs for when in ENDS),
        ],
        ["tokens of a memory", *(f"{run[f'memory_tokens_{when}']:.0f}" for _, run in runs for when in ENDS)],
    ]


ENDS = ("before", "after")


def train_step(result: dict[str, Any]) -> list[Row]:
    head = [
        "what", "times trl's speed", "times the plain path's", "FLOPs saved, counted", "tokens saved",
        "peak memory / trl's", "log-probs differ by", "gradients differ by",
    ]  # fmt: skip
    rows = [
        [
            STEPS.get(row["row"], row["row"]),
            f"{row['speedup_vs_trl']:.2f}",
            f"{row['speedup_vs_dense']:.2f}",
            f"{row['flop_ratio']:.2f}",
            f"{row['token_ratio']:.2f}",
            f"{row['peak_memory_ratio']:.2f}",
            power(row["logprob_max_diff"]),
            power(row["grad_rel_diff"]),
        ]
        for row in result["rows"]
    ]
    return [head, *rows]


STEPS = {
    "one prompt": "8 completions of 128 on a prompt of 4,096",
    "one prompt, checkpointed": "the same, all with gradient checkpointing",
    "one prompt, forest checkpointed": "the same, ours alone with gradient checkpointing",
    "four questions": "4 questions of 64 on a history of 4,096, 8 completions each",
    "three personas": "histories of 1,024, 2,048 and 3,072, 2 questions each, 8 completions",
    "memory turns": "2 memory turns: chunk of 1,024, own memories of 256, 8 siblings",
    "P=1024": "8 completions of 128 on a prompt of 1,024",
    "P=2048": "8 completions of 128 on a prompt of 2,048",
    "P=8192": "8 completions of 128 on a prompt of 8,192",
    "G=2": "2 completions of 128 on a prompt of 2,048",
    "G=32": "32 completions of 128 on a prompt of 2,048",
}


def trl_dropin(result: dict[str, Any]) -> list[Row]:
    head = [
        "whole steps of trainer.train()",
        "times trl's speed",
        "FLOPs saved, counted",
        "share of that",
        "trl's micro-batch",
    ]
    rows = [
        [
            row["row"],
            f"{row['speed_up']:.2f}",
            f"{row['flop_ratio']:.2f}",
            f"{row['share_of_flop_ratio']:.2f}",
            str(row["trl_micro_batch"]),
        ]
        for row in result["rows"]
    ]
    return [head, *rows]


def selection(result: dict[str, Any]) -> list[Row]:
    head = [
        "questions per step", "seed", "groups without a difference", "pilots per step", "seconds per step",
        "steps and seconds to 0.80", "accuracy after 200 steps",
    ]  # fmt: skip
    rows = [
        [
            name,
            seed,
            f"{run['frac_reward_zero_std']:.2f}",
            f"{run['select/candidates']:.1f}" if "select/candidates" in run else "",
            f"{run['mean_step_seconds']:.2f}",
            "not reached"
            if run["steps_to_target"] is None
            else f"{run['steps_to_target']}, {run['seconds_to_target']:.0f} s",
            f"{run['accuracy_after']:.3f}",
        ]
        for name, runs in result["arms"].items()
        for seed, run in runs.items()
    ]
    return [head, *rows]


def selection_kinds(result: dict[str, Any]) -> list[Row]:
    arms = result["accuracy_by_tag"]
    first = next(iter(arms.values()))
    rows = [
        [f"`{tag}`", f"{first[tag]['before']:.2f}", *(f"{found[tag]['after']:.2f}" for found in arms.values())]
        for tag in first
    ]
    return [["questions", "before", *(f"after, {name}" for name in arms)], *rows]


def kept_share(result: dict[str, Any]) -> list[Row]:
    shares = list(next(iter(result["kept_share"].values())))
    rows = [[p, *(f"{found[share]:.2f}" for share in shares)] for p, found in result["kept_share"].items()]
    return [["p", *(f"exploring share {share}" for share in shares)], *rows]


def lora_gap(result: dict[str, Any]) -> list[Row]:
    head = [
        "updates", "engine to the base model", "gap, merged", "gap, as adapter", "merged weights that differ at all",
        "change lost to rounding",
    ]  # fmt: skip
    rows = [
        [
            str(row["updates"]),
            power(row["change"]) if row["change"] else "0",
            power(row["gap_merged"]),
            power(row["gap_adapter"]),
            f"{row['weights_changed']:.0%}",
            f"{row['change_lost']:.0%}",
        ]
        for row in result["rows"]
    ]
    return [head, *rows]


def time_to_accuracy(result: dict[str, Any]) -> list[Row]:
    rows = [
        [name, "not reached" if found is None else f"{found:.0f}"]
        for name, found in result["seconds_to_target"].items()
    ]
    return [["trainer", f"seconds to {result['target_accuracy']:.2f}"], *rows]


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], list[Row]]]] = {
    "demo": ("demo.json", demo),
    "selection": ("selection.json", selection),
    "selection kinds": ("selection.json", selection_kinds),
    "kept share": ("selection.json", kept_share),
    "lora gap": ("lora_gap.json", lora_gap),
    "time to accuracy": ("time_to_accuracy.json", time_to_accuracy),
    "demo kinds": ("demo.json", kinds),
    "demo controls": ("demo.json", controls),
    "demo memory": ("demo_memory.json", demo_memory),
    "demo memory controls": ("demo_memory.json", controls),
    "train step": ("train_step.json", train_step),
    "trl drop in": ("trl_dropin.json", trl_dropin),
}
"""A table's name: the file it is made from, and how."""


def with_tables(text: str) -> str:
    """A page with the tables of today's files."""
    return MARKED.sub(lambda found: f"<!-- table: {found[1]} -->\n{table(found[1])}<!-- end of table -->", text)


def table(name: str) -> str:
    file, rows_of = TABLES[name]
    head, *rows = rows_of(json.loads((ROOT / "bench" / "results" / file).read_text(encoding="utf-8")))
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def power(value: float) -> str:
    """1.2e-6"""
    return f"{value:.1e}".replace("e-0", "e-")


def main() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if (written := with_tables(text)) != text:
            page.write_text(written, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
