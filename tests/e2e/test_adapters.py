"""LoRA adapters in the real vLLM as adapters (rollout.lora=adapter): log-probs after every sync, in one process and
through a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from peft import LoraConfig as PeftLora
from peft import get_peft_model

from rft.config import LoraConfig, RolloutConfig
from rft.records import Completion
from rft.rollout.vllm_engine import VllmEngine
from rft.weights import named_adapter_weights
from tests.e2e.runs import launch, steps
from tests.e2e.servers import through, vllm_servers
from tests.e2e.small_run import write_small_run
from tests.e2e.test_vllm_sync import (
    BOUND,
    SAMPLED,
    STOP_TOKEN_IDS,
    WINDOW,
    in_own_process,
    logprob_gap,
    requests,
    tiny_model,
    update,
)

LORA = LoraConfig(r=4, lora_alpha=8)


@dataclass
class Report:
    """What one engine process measured."""

    gaps: list[float]
    """Mean |log p(engine) - log p(trainer)|: before any update, then after each."""
    moves: list[float]
    """What each update changed of the log-probs of the completions before it."""
    versions: list[int]
    repeated: bool
    """The same requests, the prefix cache emptied in between, gave the same bits."""
    after_sleep: float


def measure(folder: Path) -> Report:
    torch.set_num_threads(1)
    base = tiny_model(tied=True)
    base.save_pretrained(folder)
    policy = get_peft_model(
        base, PeftLora(r=LORA.r, lora_alpha=LORA.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    engine = VllmEngine(
        str(folder), RolloutConfig(vllm_kv_cache_gb=0.25), window=WINDOW, dtype=torch.float32, seed=0,
        stop_token_ids=STOP_TOKEN_IDS, lora=LORA,
    )  # fmt: skip
    engine.sync_weights(named_adapter_weights(policy))
    replies = engine.generate(requests(), SAMPLED)
    gaps, moves, versions = [logprob_gap(policy, replies)], [], [replies[0].policy_version]
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-2)
    for step in range(3):
        update(policy, optimizer, seed=step)
        moves.append(logprob_gap(policy, replies))
        engine.sync_weights(named_adapter_weights(policy))
        replies = engine.generate(requests(), SAMPLED)
        gaps.append(logprob_gap(policy, replies))
        versions.append(replies[0].policy_version)
    engine.reset_prefix_cache()
    again: list[Completion] = engine.generate(requests(), SAMPLED)
    engine.sleep()
    engine.sync_weights(named_adapter_weights(policy))
    return Report(
        gaps=gaps,
        moves=moves,
        versions=versions,
        repeated=again == replies,
        after_sleep=logprob_gap(policy, engine.generate(requests(), SAMPLED)),
    )


def test_every_version_of_an_adapter_is_the_trainers(tmp_path: Path):
    report = in_own_process(measure, tmp_path)
    assert max(*report.gaps, report.after_sleep) < BOUND
    assert min(report.moves) > 1000 * BOUND, "updates too small to show a stale adapter"
    assert report.versions == [1, 2, 3, 4]
    assert report.repeated


@pytest.mark.slow
def test_a_server_and_the_engine_in_the_trainer_serve_the_same_adapter(tmp_path: Path):
    write_small_run(tmp_path)
    config = yaml.safe_load((tmp_path / "run.yaml").read_text())
    config["model"]["lora"] = {"r": 4, "lora_alpha": 8}
    config["rollout"] |= {"lora": "adapter", "vllm_kv_cache_gb": 0.1}
    config["train"] |= {"deepspeed": None, "learning_rate": 1e-2}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    local, served = tmp_path / "local", tmp_path / "served"
    launch(tmp_path, f"output_dir={local}", "train.max_steps=4")
    with vllm_servers(1, tmp_path / "run.yaml", tmp_path) as servers:
        launch(tmp_path, f"output_dir={served}", "train.max_steps=4", *through(servers))
        with pytest.raises(AssertionError, match=r"room for adapters, and rollout\.lora is merged"):
            launch(tmp_path, f"output_dir={tmp_path / 'no'}", "rollout.lora=merged", *through(servers))
    left, right = steps(local), steps(served)
    assert all(row["sampling/sampling_logp_difference/mean"] <= 1e-5 for row in (*left, *right))
    assert sum(row["grad_norm"] > 0 for row in left) >= 2
    assert [row["reward"] for row in right] == [row["reward"] for row in left]
