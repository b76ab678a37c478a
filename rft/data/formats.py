"""Which class reads which `data.format`."""

from __future__ import annotations

from rft.config import DataConfig
from rft.data.dataset import Dataset
from rft.data.jsonl_dataset import JsonlDataset
from rft.data.locomo import Locomo
from rft.data.longmemeval import LongMemEval
from rft.data.personamem_v1 import PersonaMemV1
from rft.data.personamem_v2 import PersonaMemV2
from rft.plugins import choose

FORMATS: dict[str, type[Dataset]] = {
    "personamem_v2": PersonaMemV2,
    "personamem_v1": PersonaMemV1,
    "longmemeval": LongMemEval,
    "locomo": Locomo,
    "jsonl": JsonlDataset,
}


def open_dataset(config: DataConfig) -> Dataset:
    """The data set of `data.format` at `data.source`.

    Raises:
        ValueError: an unknown format, or a source that cannot be used.
    """
    found = choose("data.format", config.format, FORMATS)
    if not (isinstance(found, type) and issubclass(found, Dataset)):
        raise ValueError(f"data.format: {config.format} is no subclass of rft.data.dataset.Dataset")
    return found(config)
