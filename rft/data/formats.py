"""Which class reads which `data.format`."""

from __future__ import annotations

from rft.config import DataConfig
from rft.data.dataset import Dataset
from rft.data.readers.jsonl_dataset import JsonlDataset
from rft.data.readers.locomo import Locomo
from rft.data.readers.locomo_plus import LocomoPlus
from rft.data.readers.longmemeval import LongMemEval
from rft.data.readers.perma import Perma
from rft.data.readers.personamem_v1 import PersonaMemV1
from rft.data.readers.personamem_v2 import PersonaMemV2
from rft.plugins import choose

FORMATS: dict[str, type[Dataset]] = {
    "personamem_v2": PersonaMemV2,
    "personamem_v1": PersonaMemV1,
    "longmemeval": LongMemEval,
    "locomo": Locomo,
    "locomo_plus": LocomoPlus,
    "perma": Perma,
    "jsonl": JsonlDataset,
}


def dataset_class(config: DataConfig) -> type[Dataset]:
    """The class of `data.format`.

    Raises:
        ValueError: an unknown name, or no subclass of Dataset behind a dotted one.
    """
    found = choose("data.format", config.format, FORMATS)
    if not (isinstance(found, type) and issubclass(found, Dataset)):
        raise ValueError(f"data.format: {config.format} is no subclass of rft.data.dataset.Dataset")
    return found


def open_dataset(config: DataConfig) -> Dataset:
    """The data set of `data.format` at `data.source`.

    Raises:
        ValueError: an unknown format, or a source that cannot be used.
    """
    return dataset_class(config)(config)
