#!/usr/bin/env bash
# Trains on the GPUs of this machine.
# Usage: launch/one_node.sh CONFIG.yaml [section.key=value ...]
#   NUM_GPUS=4    how many; by default all that nvidia-smi lists
#   PARALLEL=...  zero3 (default), zero2 or multi_gpu: a file of configs/accelerate
#   SCRIPT=...    rft/train.py (default) or rft/sft.py
#   DRY_RUN=1     print the command and stop
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($# > 0)) || { sed -n '2,7s/^# //p' "launch/one_node.sh" >&2; exit 2; }

NUM_GPUS=${NUM_GPUS:-$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU' || true)}
((NUM_GPUS > 0)) || { echo "one_node: nvidia-smi lists no GPU; name a number with NUM_GPUS=..." >&2; exit 2; }

command=("${BIN:-.venv/bin}/accelerate" launch
  --config_file "configs/accelerate/${PARALLEL:-zero3}.yaml"
  --num_processes "$NUM_GPUS"
  "${SCRIPT:-rft/train.py}" "$@")
printf '%q ' "${command[@]}"
echo
[[ -n "${DRY_RUN:-}" ]] || exec "${command[@]}"
