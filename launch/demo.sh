#!/usr/bin/env bash
# The demo: a small model learns to answer personalization questions by GRPO, with real vLLM rollouts, on a CPU.
# Usage: launch/demo.sh [section.key=value ...]        (`make demo` sets up and calls it)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bin=${BIN:-.venv/bin}
data=.cache/demo/data
out=checkpoints/demo
for override in "$@"; do
  case "$override" in output_dir=*) out=${override#output_dir=} ;; esac
done
if ! command -v nvidia-smi >/dev/null; then
  export DS_ACCELERATOR=cpu      # DeepSpeed would look for a GPU first, and say so
  export OMP_WAIT_POLICY=PASSIVE # threads that wait must not spin: the engine and the trainer share the cores
fi

if [ ! -d "$data" ]; then
  "$bin/python" rft/make_data.py synthetic "$data.tmp" --style brief --seed 0 --personas 600 --questions 5 --history-tokens 300 --decoys 0.3 --val-personas 60
  mv "$data.tmp" "$data"
fi

# The demo is a run of its own each time; checkpoint.resume=auto would continue the last one.
rm -rf "$out"
command=("$bin/accelerate" launch --config_file configs/accelerate/cpu.yaml rft/train.py configs/demo.yaml "$@")
echo "${command[*]}"
"${command[@]}"
echo
cat "$out/summary.json"
