#!/usr/bin/env bash
# Trains on several machines: run this on each of them, from the same commit, output_dir on a shared file system.
# Usage: NUM_MACHINES=2 MACHINE_RANK=0 MAIN_ADDRESS=10.0.0.1 launch/multi_node.sh CONFIG.yaml [section.key=value ...]
#   MACHINE_RANK      0 on the machine of MAIN_ADDRESS, then 1, 2, ...; under slurm it is known
#   MAIN_PORT=29500   a free port of that machine
#   GPUS_PER_NODE=8   the same on each machine
#   SCRIPT=...        rft/train.py (default) or rft/sft.py
#   DRY_RUN=1         print the command and stop
# What is spread over the GPUs is the config's train.deepspeed. data.cache_dir may be on a disk of each machine.
# Exit status: that of launch/one_node.sh. Where a rank dies, those of all machines end within seconds; where a whole
# machine is gone, after train.stall_timeout_s (docs/faults.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MACHINE_RANK=${MACHINE_RANK:-${SLURM_NODEID:-}}
if (($# == 0)) || [[ -z "${NUM_MACHINES:-}" || -z "$MACHINE_RANK" || -z "${MAIN_ADDRESS:-}" ]]; then
  sed -n '2,8s/^# //p' launch/multi_node.sh >&2
  exit 2
fi

# Micro-batches differ in size, which would leave the GPU's memory in pieces.
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
command=("${BIN:-.venv/bin}/python" launch/ranks.py
  --nnodes "$NUM_MACHINES"
  --node-rank "$MACHINE_RANK"
  --nproc-per-node "${GPUS_PER_NODE:-8}"
  --master-addr "$MAIN_ADDRESS"
  --master-port "${MAIN_PORT:-29500}"
  "${SCRIPT:-rft/train.py}" "$@")
printf '%q ' "${command[@]}"
echo
[[ -n "${DRY_RUN:-}" ]] || exec "${command[@]}"
