#!/usr/bin/env bash
# Starts vLLM servers on this machine for runs with rollout.engine=server, one per card, and keeps them up.
# Usage: launch/vllm_server.sh CONFIG.yaml [section.key=value ...] [-- vLLM's own options]
#   GPUS=4,5,6,7   the cards, one server on each; by default one server without a choice of card
#   PORT=8000      of the first server; the next ones have the ports after it
#   HOST=0.0.0.0   who may reach them; by default this machine alone (docs/servers.md)
#   DRY_RUN=1      print the commands and stop
# The trainer takes the other cards: CUDA_VISIBLE_DEVICES=0,1,2,3 launch/one_node.sh CONFIG.yaml rollout.engine=server
# 'rollout.servers=[http://127.0.0.1:8000,...]'. On several machines, run this on each that serves, and name their
# addresses; rollout.weight_folder is then a folder that trainer and servers see.
# A server that dies is started again after 5 s: the run notices, and sends it the weights. Ctrl-C ends all.
# Exit status: 2 after a mistake in the config, 130 or 143 after a signal.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($# == 0)); then
  sed -n '2,13s/^# //p' launch/vllm_server.sh >&2
  exit 2
fi

python=${BIN:-.venv/bin}/python
port=${PORT:-8000}
IFS=, read -ra cards <<<"${GPUS:-}"
((${#cards[@]})) || cards=("")

keep_serving() { # card, port, words of the command
  local card=$1 own_port=$2 server
  shift 2
  [[ -z "$card" ]] || export CUDA_VISIBLE_DEVICES=$card
  trap '[[ -z "${server:-}" ]] || kill "$server" 2>/dev/null; exit 143' TERM INT
  while true; do
    local status=0
    "$python" rft/serve.py --host "${HOST:-127.0.0.1}" --port "$own_port" "$@" &
    server=$!
    wait "$server" || status=$?
    ((status != 2)) || return 2 # a mistake in the config, which no restart mends
    echo "vllm_server: the server on port $own_port ended with status $status; starting it again" >&2
    sleep 5
  done
}

end_all() { # signal's status
  trap - INT TERM
  kill "${keepers[@]}" 2>/dev/null || true
  wait || true
  exit "$1"
}

keepers=()
for number in "${!cards[@]}"; do
  if [[ -n "${DRY_RUN:-}" ]]; then
    echo "${cards[$number]:+CUDA_VISIBLE_DEVICES=${cards[$number]} }$python rft/serve.py --host ${HOST:-127.0.0.1} --port $((port + number)) $*"
  else
    keep_serving "${cards[$number]}" $((port + number)) "$@" &
    keepers+=($!)
  fi
done
[[ -z "${DRY_RUN:-}" ]] || exit 0
trap 'end_all 130' INT
trap 'end_all 143' TERM
status=0
wait -n || status=$? # a keeper ends only after a mistake, which is that of all
end_all "$status"
