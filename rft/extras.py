"""Packages that only some of the project needs: they come with pip's extras, and are asked for in time."""

from __future__ import annotations

from importlib.util import find_spec

EXTRAS = {
    "trl": "train",
    "deepspeed": "train",
    "peft": "train",
    "wandb": "train",
    "vllm": "cuda",  # or cpu, on a machine without a GPU
    "liger_kernel": "liger",
    "sentence_transformers": "retrieval",
    "tensorboard": "trackers",
    "trackio": "trackers",
    "wandb_workspaces": "trackers",
}
"""The extra (pyproject.toml) that brings a module."""


def need(module: str, what: str) -> None:
    """
    Args:
        module: of EXTRAS.
        what: needs it, such as a config key with its value.

    Raises:
        ValueError: it is not installed.
    """
    if find_spec(module) is None:
        raise ValueError(f"{what} needs {module}, which is not installed; run pip install 'rft[{EXTRAS[module]}]'")
