"""What holds for every test: no network, no GPU taken by surprise, nothing compiled outside .venv."""

from __future__ import annotations

import os
import signal

# Before anything imports a library that reads them.
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # tests start processes

import hypothesis
import pytest
import torch

# How long an example takes says nothing on a machine with other work.
hypothesis.settings.register_profile("rft", deadline=None)
hypothesis.settings.load_profile("rft")

# A shell starts what it puts into the background with SIGINT ignored, and a program would inherit that from the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test marked `gpu` is skipped where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))
