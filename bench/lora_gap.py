"""Log-probs of engine and trainer with a LoRA policy in bfloat16: adapters merged into whole weights, and as adapters.

    python bench/lora_gap.py

A Qwen3 of 4 layers with random bfloat16 weights gets adapters of rank 32 and the recipe's learning rate
(configs/qwen3_4b_lora.yaml). After so many updates vLLM on this machine samples completions, and their log-probs are
compared. Beside them: how much of the change of a weight is left once the merged weight is rounded. Writes
bench/results/lora_gap.json; a minute.
"""

from __future__ import annotations

import json
import random
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from demo import RESULTS
from peft import LoraConfig as PeftLora
from peft import get_peft_model
from transformers import Qwen3Config, Qwen3ForCausalLM

from rft.config import LoraConfig, RolloutConfig
from rft.records import Completion, TurnRequest
from rft.rollout.engine import Sampling
from rft.rollout.vllm_engine import VllmEngine
from rft.telemetry.provenance import provenance
from rft.weights import FullWeights, named_full_weights

VOCAB = 1000
LORA = LoraConfig(r=32, lora_alpha=64)
LEARNING_RATE = 5e-5
UPDATES = (0, 10, 100, 400)
SAMPLING = Sampling(temperature=1.0, top_p=1.0, top_k=0)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        base_model().save_pretrained(folder)
        found = {}
        for way in ("merged", "adapter"):
            # An engine takes its process with it.
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
                found[way] = pool.submit(measure, folder, way).result()
    rows = [
        {
            "updates": updates,
            "gap_merged": found["merged"]["gaps"][number],
            "gap_adapter": found["adapter"]["gaps"][number],
            "change": found["adapter"]["changes"][number],
            "weights_changed": found["merged"]["weights_changed"][number],
            "change_lost": found["merged"]["change_lost"][number],
        }
        for number, updates in enumerate(UPDATES)
    ]
    report = {"command": "python bench/lora_gap.py", "provenance": provenance(), "rows": rows}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lora_gap.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(rows, indent=2))


def base_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCAB, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=1024, tie_word_embeddings=True,
        initializer_range=0.05, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).to(torch.bfloat16)


def measure(folder: str, way: str) -> dict[str, list[float]]:
    """Gaps after each number of updates, which are the same for both ways."""
    base = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in named_full_weights(base)}
    torch.manual_seed(1)
    policy: Any = get_peft_model(
        base, PeftLora(r=LORA.r, lora_alpha=LORA.lora_alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    engine = VllmEngine(
        folder, RolloutConfig(vllm_kv_cache_gb=0.25), window=512, dtype=torch.bfloat16, seed=0, stop_token_ids=[1],
        lora=LORA if way == "adapter" else None,
    )  # fmt: skip
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=LEARNING_RATE)
    generator = torch.Generator().manual_seed(2)
    found: dict[str, list[float]] = {name: [] for name in ("gaps", "changes", "weights_changed", "change_lost")}
    done = 0
    for updates in UPDATES:
        for _ in range(updates - done):
            ids = torch.randint(2, VOCAB, (4, 64), generator=generator)
            policy(ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        done = updates
        engine.sync_weights(FullWeights(policy, adapter=way == "adapter"))
        replies = engine.generate(requests(), SAMPLING)
        found["gaps"].append(gap(policy, replies))
        with policy.disable_adapter():
            found["changes"].append(gap(policy, replies))
        changed, lost = rounding(policy, before)
        found["weights_changed"].append(changed)
        found["change_lost"].append(lost)
    return found


def requests() -> list[TurnRequest]:
    rng = random.Random(0)
    prompts = [tuple(rng.randrange(2, VOCAB) for _ in range(200)) for _ in range(4)]
    return [TurnRequest(prompt_ids=p, seed=8 * i + k, max_tokens=64) for i, p in enumerate(prompts) for k in range(8)]


def gap(policy: Any, replies: list[Completion]) -> float:
    """Mean |log p(engine) - log p(trainer)|, in nats."""
    gaps = []
    for asked, reply in zip(requests(), replies, strict=True):
        ids = torch.tensor([asked.prompt_ids + reply.token_ids])
        with torch.no_grad():
            logprobs = policy(ids).logits[0].float().log_softmax(-1)
        start = len(asked.prompt_ids)
        mine = logprobs[start - 1 : -1].gather(1, ids[0, start:, None])[:, 0]
        gaps.append((mine - torch.tensor(reply.logprobs)).abs())
    return torch.cat(gaps).mean().item()


def rounding(policy: Any, before: dict[str, torch.Tensor]) -> tuple[float, float]:
    """The share of adapted weights that differ from the base once merged and rounded, and how much of their change is
    lost by it: |rounded - exact| / |exact - base|, as norms over all of them."""
    differ = number = 0
    lost = whole = 0.0
    merged = dict(named_full_weights(policy))
    for path, layer in policy.get_base_model().named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        name = f"{path}.weight"
        delta = layer.scaling["default"] * (
            layer.lora_B["default"].weight.float() @ layer.lora_A["default"].weight.float()
        )
        rounded = merged[name].float() - before[name].float()
        differ += int((rounded != 0).sum())
        number += rounded.numel()
        lost += float(((rounded - delta.detach()) ** 2).sum())
        whole += float((delta.detach() ** 2).sum())
    return differ / number, (lost / whole) ** 0.5 if whole else 0.0


if __name__ == "__main__":
    main()
