"""Process-wide state after vLLM had its way with it; tests/e2e/test_vllm_sync.py looks after a real engine."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from rft.rollout.vllm_side_effects import trainer_state_kept


def test_trainer_state_survives_what_vllm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "")
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    set_num_threads, num_threads = torch.set_num_threads, torch.get_num_threads()
    with pytest.raises(RuntimeError, match="engine"), trainer_state_kept():
        torch.manual_seed(5)
        random.seed(5)
        np.random.seed(5)
        torch.set_num_threads(num_threads + 1)
        torch.set_num_threads = lambda count: None
        os.environ["LD_PRELOAD"] = "libtcmalloc.so"
        raise RuntimeError("engine failed")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    assert torch.set_num_threads is set_num_threads
    assert torch.get_num_threads() == num_threads
    assert os.environ["LD_PRELOAD"] == ""
