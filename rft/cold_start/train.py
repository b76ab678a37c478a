"""The cold start's training: trl's SFTTrainer on sequences that are written out as it asks for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import datasets
from trl import SFTConfig, SFTTrainer

from rft.cold_start.config import SftConfig
from rft.cold_start.model import load_or_build_model
from rft.cold_start.sequences import Sequences
from rft.config import to_dict
from rft.distributed import open_group
from rft.parallel import ParallelMode


def train(config: SftConfig, tokenizer: Any, sequences: Sequences, mode: ParallelMode) -> None:
    """Trains on `sequences` and saves model, tokenizer and resolved config in `output_dir`.

    Args:
        mode: what `parallel_mode` said of this config.
    """
    # transformers would open the group by itself, though on a CPU not with DeepSpeed.
    open_group(mode, config.train.ddp_timeout)
    arguments = SFTConfig(
        output_dir=config.output_dir,
        accelerator_config={"use_configured_state": True},
        max_length=None,
        remove_unused_columns=False,
        # The sequences come ready made, with labels.
        dataset_kwargs={"skip_prepare_dataset": True},
        **dataclasses.asdict(config.train) | {"deepspeed": mode.settings},
    )
    trainer = SFTTrainer(
        model=load_or_build_model(config, tokenizer),
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"indices": sequences.indices()}).with_transform(sequences),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(config.output_dir)
    if trainer.accelerator.is_main_process:
        # A pickle that names this machine's paths; sft_config.json says the same and more.
        Path(config.output_dir, "training_args.bin").unlink(missing_ok=True)
        settings = json.dumps(to_dict(config), indent=2)
        Path(config.output_dir, "sft_config.json").write_text(settings + "\n", encoding="utf-8")
