#!/usr/bin/env bash
# Starts vLLM servers on this machine for runs with rollout.engine=server, and waits for them.
# Usage: launch/vllm_server.sh CONFIG.yaml [section.key=value ...] [-- vLLM's own options]
#   GPUS=4,5,6,7   the cards, one server on each; by default one server without a choice of card
#   PORT=8000      of the first server; the next ones have the ports after it
#   HOST=0.0.0.0   who may reach them; by default this machine alone
#   DRY_RUN=1      print the commands and stop
# The trainer takes the other cards: CUDA_VISIBLE_DEVICES=0,1,2,3 launch/one_node.sh CONFIG.yaml rollout.engine=server
# rollout.servers=[http://127.0.0.1:8000,...]. On several machines, run this on each that serves, and name their
# addresses; rollout.weight_folder is then a folder that trainer and servers see.
# A server that dies is started again after 5 s: the run notices, and sends it the weights. Ctrl-C ends all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($# == 0)); then
  sed -n '2,12s/^# //p' launch/vllm_server.sh >&2
  exit 2
fi

python=${BIN:-.venv/bin}/python
port=${PORT:-8000}
IFS=, read -ra cards <<<"${GPUS:-}"
((${#cards[@]})) || cards=("")

keep_serving() { # card, port, words of the command
  local card=$1 own_port=$2
  shift 2
  [[ -z "$card" ]] || export CUDA_VISIBLE_DEVICES=$card
  while true; do
    local status=0
    "$python" rft/serve.py --host "${HOST:-127.0.0.1}" --port "$own_port" "$@" || status=$?
    ((status != 2)) || return 2 # a mistake in the config, which no restart mends
    echo "vllm_server: the server on port $own_port ended with status $status; starting it again" >&2
    sleep 5
  done
}

trap 'trap - INT TERM; kill 0' INT TERM
for number in "${!cards[@]}"; do
  if [[ -n "${DRY_RUN:-}" ]]; then
    echo "${cards[$number]:+CUDA_VISIBLE_DEVICES=${cards[$number]} }$python rft/serve.py --host ${HOST:-127.0.0.1} --port $((port + number)) $*"
  else
    keep_serving "${cards[$number]}" $((port + number)) "$@" &
  fi
done
wait
