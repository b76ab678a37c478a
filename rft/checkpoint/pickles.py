"""What a checkpoint's pickles would execute when they are loaded.

accelerate loads its own state with `weights_only`. DeepSpeed does not, so that a file from somebody else could run any
code. Here every pickle is looked through first, without executing anything.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from torch.serialization import get_unsafe_globals_in_checkpoint

PICKLES = (".pkl", ".bin", ".pt", ".pth")
"""Endings of what accelerate and DeepSpeed write with torch.save."""

KNOWN = {
    # Random generators' states (accelerate).
    *("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"),
    *("numpy.ndarray", "numpy.dtype", "numpy.dtypes.UInt32DType", "_codecs.encode"),
    # Model and optimizer states (DeepSpeed).
    *("deepspeed.runtime.zero.config.ZeroStageEnum", "deepspeed.utils.tensor_fragment.fragment_address"),
    *("deepspeed.runtime.fp16.loss_scaler.LossScaler", "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler"),
    *("argparse.Namespace", "types.SimpleNamespace", "collections.OrderedDict", "builtins.set", "builtins.slice"),
}
"""Names that our own checkpoints hold. Each builds a plain object, and none calls what it is given."""


def check_pickles(checkpoint: Path) -> None:
    """Refuses a checkpoint whose training state would execute something when it is loaded.

    Raises:
        ValueError: names the file and what it would call.
    """
    for path in sorted((checkpoint / "state").rglob("*")):
        if path.is_file() and path.suffix in PICKLES:
            check_pickle(path)


def check_pickle(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is not a file that torch.save writes today, and is not loaded: it could execute anything; move "
            "the checkpoint away"
        )
    try:
        found = get_unsafe_globals_in_checkpoint(path)
    except Exception as error:  # a pickle that cannot be read: whatever the parser stumbles over
        raise ValueError(
            f"{path} is not loaded: its pickle cannot be read ({error}); move the checkpoint away"
        ) from None
    foreign = sorted(set(found) - KNOWN)
    if foreign:
        raise ValueError(
            f"{path} is not loaded: it would call {', '.join(foreign[:3])}, which no checkpoint of rft does; somebody "
            "has changed it, move the checkpoint away"
        )
