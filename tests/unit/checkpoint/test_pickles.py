"""Nothing in a checkpoint is executed: a planted payload is refused before it is loaded."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from rft.checkpoint.pickles import check_pickles
from rft.checkpoint.resume import choose_whole
from rft.checkpoint.save import save
from rft.checkpoint.state import TrainerState
from rft.config import to_dict
from rft.parallel import ParallelMode
from tests.unit.checkpoint.builder import a_config, make_model, make_tokenizer, seal, write_checkpoint


class Payload:
    """Creates a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize(
    "name", ["scheduler.bin", "random_states_0.pkl", "pytorch_model/zero_model_states.pt", "x.pth"]
)
def test_a_planted_payload_is_refused_and_not_executed(tmp_path: Path, name: str):
    config = a_config(tmp_path)
    folder = write_checkpoint(tmp_path, to_dict(config))
    path = folder / "state" / name
    path.parent.mkdir(exist_ok=True)
    torch.save({"module": Payload(tmp_path / "executed")}, path)
    seal(folder)  # whoever plants something writes the hashes anew
    with pytest.raises(ValueError, match=r"is not loaded: it would call posix\.system") as caught:
        choose_whole(config, ParallelMode(kind="single", num_ranks=1), Accelerator(cpu=True))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_a_plain_pickle_is_refused(tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "scheduler.bin").write_bytes(pickle.dumps(Payload(tmp_path / "executed")))
    with pytest.raises(ValueError, match=r"scheduler\.bin is not a file that torch\.save writes today"):
        check_pickles(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_our_own_checkpoints_pass(tmp_path: Path):
    accelerator = Accelerator(cpu=True)
    model = make_model()
    prepared, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    prepared(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
    optimizer.step()
    saved = save(a_config(tmp_path), accelerator, prepared, make_tokenizer(), TrainerState(step=1), {})
    assert {path.suffix for path in (saved / "state").iterdir()} == {".safetensors", ".bin", ".pkl"}
    check_pickles(saved)


def test_what_deepspeed_saves_passes(tmp_path: Path):
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    (tmp_path / "state").mkdir()
    saved = {
        "loss_scaler": LossScaler(scale=1.0),
        "zero_stage": ZeroStageEnum.weights,
        "param_slice_mappings": [OrderedDict(weight=fragment_address(numel=4, start=0))],
        "random": np.random.get_state(),
    }
    torch.save(saved, tmp_path / "state" / "optim_states.pt")
    check_pickles(tmp_path)
