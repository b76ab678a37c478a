#!/usr/bin/env bash
# The demos: a small model learns to answer personalization questions by GRPO, with real vLLM rollouts, on a CPU.
# Usage: launch/demo.sh [memory] [section.key=value ...]        (`make demo` and `make demo-memory` set up and call it)
# Without `memory` the whole history is in the prompt; with it the model writes a memory and answers from that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

name=demo
if [ "${1:-}" = memory ]; then
  name=demo_memory
  shift
fi
bin=${BIN:-.venv/bin}
data=.cache/demo/data
own=checkpoints/$name
out=$own
for override in "$@"; do
  case "$override" in output_dir=*) out=${override#output_dir=} ;; esac
done
# The script removes the folder it makes by default, and nothing that somebody else named.
if [ "$out" != "$own" ] && [ -e "$out" ]; then
  echo "error: output_dir $out exists, and a demo is a run of its own; remove the folder or name another one" >&2
  exit 2
fi
if ! command -v nvidia-smi >/dev/null; then
  export DS_ACCELERATOR=cpu      # DeepSpeed would look for a GPU first, and say so
  export OMP_WAIT_POLICY=PASSIVE # threads that wait must not spin: the engine and the trainer share the cores
fi

if [ ! -d "$data" ]; then
  "$bin/python" rft/make_data.py synthetic "$data.tmp" --style brief --seed 0 --personas 600 --questions 5 --history-tokens 300 --decoys 0.3 --val-personas 60
  mv "$data.tmp" "$data"
fi

# A demo is a run of its own each time; checkpoint.resume=auto would continue the last one.
[ "$out" != "$own" ] || rm -rf "$own"
# Without a launcher in between Ctrl-C and SIGTERM reach the run; its weights are float32, which no GPU kernel takes.
export ACCELERATE_USE_CPU=true
command=("$bin/python" rft/train.py "configs/$name.yaml" "$@")
echo "${command[*]}"
"${command[@]}"
echo
cat "$out/summary.json"
