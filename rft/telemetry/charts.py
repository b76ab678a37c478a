"""The charts of a run in the order in which docs/curves.md reads them: section, chart, and the metrics it draws."""

from __future__ import annotations

GAP = "sampling/sampling_logp_difference"
RATIO = "sampling/importance_sampling_ratio"

CHARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "The four to watch": {
        "held-out accuracy": ("eval/accuracy", "eval/accuracy_low", "eval/accuracy_high"),
        "reward": ("reward",),
        "log-prob gap, engine to trainer": (f"{GAP}/mean",),
        "gradient norm": ("grad_norm",),
    },
    "Reward and groups": {
        "spread within a group": ("reward_std",),
        "groups without a difference": ("frac_reward_zero_std",),
        "answers that can be read": ("parse_rate",),
        "letters": ("letters/a", "letters/b", "letters/c", "letters/d"),
    },
    "Completions": {
        "length": ("completions/mean_length", "completions/min_length", "completions/max_length"),
        "cut at the longest length": ("completions/clipped_ratio",),
        "samples that are trained on": ("completions/trained_ratio",),
    },
    "Update": {
        "loss": ("loss",),
        "entropy": ("entropy",),
        "divergence from the reference": ("kl",),
        "clipped tokens": ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean"),
        "importance ratio": (f"{RATIO}/min", f"{RATIO}/mean", f"{RATIO}/max"),
        "learning rate": ("learning_rate",),
        "tokens computed, of all": ("update/unique_token_ratio",),
        "skipped steps": ("update/skipped",),
    },
    "Engine": {
        "prefix cache": ("engine/prefix_cache_hit_rate",),
        "tokens": ("engine/prompt_tokens", "engine/prefill_tokens", "engine/generated_tokens"),
        "preemptions": ("engine/preemptions",),
    },
    "Memory agent": {
        "tokens of a memory": ("memory/tokens_mean", "memory/tokens_max"),
        "updates that failed": ("memory/failure_rate",),
        "evidence kept": ("eval/retention", "eval/retention_entered"),
    },
    "Time": {
        "seconds of a step": ("step_time", "time/rollout_s", "time/update_s", "time/logprobs_s", "time/sync_s"),
        "tokens per second": ("tokens_per_second", "update/tokens_per_second"),
        "memory": ("peak_memory_gib",),
    },
}
