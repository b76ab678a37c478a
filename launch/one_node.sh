#!/usr/bin/env bash
# Trains on the GPUs of this machine.
# Usage: launch/one_node.sh CONFIG.yaml [section.key=value ...]
#   NUM_GPUS=4    how many; by default those of CUDA_VISIBLE_DEVICES, else all that nvidia-smi lists
#   SCRIPT=...    rft/train.py (default) or rft/sft.py
#   DRY_RUN=1     print the command and stop
# What is spread over the GPUs is the config's train.deepspeed; train.deepspeed=null gives each the whole model.
# Exit status: 0 finished, 2 a mistake in the config or data, 70 a fault, 75 stopped by SIGTERM or SIGUSR1 or hanging
# (the same command continues from the checkpoint), 130 stopped by SIGINT, 1 anything else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
(($# > 0)) || { sed -n '2,9s/^# //p' "launch/one_node.sh" >&2; exit 2; }

if [[ -z "${NUM_GPUS:-}" && -n "${CUDA_VISIBLE_DEVICES:-}" ]]; then
  NUM_GPUS=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .)
fi
NUM_GPUS=${NUM_GPUS:-$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU' || true)}
((NUM_GPUS > 0)) || { echo "one_node: nvidia-smi lists no GPU; name a number with NUM_GPUS=..." >&2; exit 2; }

# Micro-batches differ in size, which would leave the GPU's memory in pieces.
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
command=("${BIN:-.venv/bin}/python" launch/ranks.py
  --standalone
  --nproc-per-node "$NUM_GPUS"
  "${SCRIPT:-rft/train.py}" "$@")
printf '%q ' "${command[@]}"
echo
[[ -n "${DRY_RUN:-}" ]] || exec "${command[@]}"
