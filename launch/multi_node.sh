#!/usr/bin/env bash
# Trains on several machines: run this on each of them, from the same commit, output_dir on a shared file system.
# Usage: NUM_MACHINES=2 MACHINE_RANK=0 MAIN_ADDRESS=10.0.0.1 launch/multi_node.sh CONFIG.yaml [section.key=value ...]
#   MACHINE_RANK      0 on the machine of MAIN_ADDRESS, then 1, 2, ...; under slurm it is known
#   MAIN_PORT=29500   a free port of that machine
#   GPUS_PER_NODE=8   the same on each machine
#   PARALLEL=...      zero3 (default), zero2 or multi_gpu: a file of configs/accelerate
#   SCRIPT=...        rft/train.py (default) or rft/sft.py
#   DRY_RUN=1         print the command and stop
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
MACHINE_RANK=${MACHINE_RANK:-${SLURM_NODEID:-}}
if (($# == 0)) || [[ -z "${NUM_MACHINES:-}" || -z "$MACHINE_RANK" || -z "${MAIN_ADDRESS:-}" ]]; then
  sed -n '2,9s/^# //p' launch/multi_node.sh >&2
  exit 2
fi

PARALLEL=${PARALLEL:-zero3}
command=("${BIN:-.venv/bin}/accelerate" launch
  --config_file "configs/accelerate/$PARALLEL.yaml"
  --num_machines "$NUM_MACHINES"
  --machine_rank "$MACHINE_RANK"
  --num_processes "$((NUM_MACHINES * ${GPUS_PER_NODE:-8}))"
  --main_process_ip "$MAIN_ADDRESS"
  --main_process_port "${MAIN_PORT:-29500}")
if [[ "$PARALLEL" == zero* ]]; then
  # Each machine starts its own ranks; accelerate's default would log in to the others with pdsh.
  command+=(--deepspeed_multinode_launcher standard)
fi
command+=("${SCRIPT:-rft/train.py}" "$@")
printf '%q ' "${command[@]}"
echo
[[ -n "${DRY_RUN:-}" ]] || exec "${command[@]}"
