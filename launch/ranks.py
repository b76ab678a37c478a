"""torchrun for the scripts of this folder: it starts this machine's ranks, and ends with the run's own exit status.

    python launch/ranks.py --nproc-per-node 8 rft/train.py configs/qwen3_4b.yaml

It takes torchrun's arguments. torchrun itself, and `accelerate launch`, turn every status but 0 into 1 and print a
traceback of their own, pass SIGUSR1 on to nobody, and kill the ranks 30 seconds after SIGTERM. The statuses are in
rft/process_exit.py.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
FAILED = 1


def main(argv: list[str]) -> int:
    """Runs the ranks; the exit status."""
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "1800")
    with tempfile.TemporaryDirectory() as folder:
        # Under slurm it is set: the batch script reads it when the launchers are gone.
        file = Path(os.environ.setdefault("RFT_STATUS_FILE", f"{folder}/status"))
        try:
            try:
                run(parse_args(["--signals-to-handle", SIGNALS, *argv]))
            finally:
                ignore_signals()
        except ChildFailedError as error:
            return reported(file) or failed(error)
        except SignalException as error:
            # A run that had finished when the signal came has finished.
            found = reported(file)
            return 128 + error.sigval if found is None else found
    return 0


def ignore_signals() -> None:
    """The ranks have ended, and their status is what counts: a signal that comes now is too late to change it."""
    for name in SIGNALS.split(","):
        signal.signal(signal.Signals[name], signal.SIG_IGN)


def reported(file: Path) -> int | None:
    """The status that the first rank of this machine wrote down; None where it wrote none."""
    text = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return int(text) if text else None


def failed(error: ChildFailedError) -> int:
    """Says which rank failed; its own traceback stands above."""
    print(error, file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking the interpreter down takes a moment, in which a signal would have its default effect again.
    os._exit(status)
