#!/usr/bin/env bash
# Makes .venv with everything pinned in requirements/, or leaves a finished one as it is.
#   DEVICE=cpu|cuda   which variant; by default cuda where nvidia-smi finds a GPU
#   PYTHON=python3.12 which Python (3.11 or later); by default the first one found
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
  echo "setup: $*" >&2
  exit 2
}

usable_python() { # 3.11 or later, with venv and pip's installer
  "$1" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
  local name
  for name in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    if usable_python "$name"; then
      echo "$name"
      return
    fi
  done
}

find_device() {
  if nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then echo cuda; else echo cpu; fi
}

has_library() { "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "$1" 2>/dev/null; }

has_headers() {
  "$python" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))'
}

check_needs() { # all that is missing, in one line, before anything is installed
  local missing=() driver
  [[ "$(uname -s)-$(uname -m)" == Linux-x86_64 ]] || missing+=("Linux on x86-64 (the locks are for it)")
  [[ -n "$python" ]] || missing+=("Python >= 3.11 with venv (name one with PYTHON=...)")
  command -v "${CXX:-c++}" >/dev/null || missing+=("a C++ compiler (Debian: g++)")
  if [[ -n "$python" ]]; then
    has_headers || missing+=("the headers of $python (Debian: python3-dev)")
    [[ "$device" == cuda ]] || has_library libnuma.so.1 || missing+=("libnuma (Debian: libnuma1), which vLLM links to")
  fi
  if [[ "$device" == cuda ]] && driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null); then
    ((${driver%%.*} >= 580)) || missing+=("an NVIDIA driver >= 580 for CUDA 13, here ${driver%%$'\n'*} (or DEVICE=cpu)")
  fi
  ((${#missing[@]} == 0)) || die "missing: $(printf '%s; ' "${missing[@]}" | sed 's/; $//')"
}

pip_install() { .venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps "$@"; }

install_torch() {
  local pin log
  pin=$(grep -oE '^torch==[^ ]+' "$lock")
  if [[ "$device" == cuda ]]; then
    pip_install "$pin"
  elif ! log=$(pip_install "$pin" 2>&1); then
    echo "setup: $pin is not where pip looks; asking PyTorch's own CPU index, which uv knows"
    pip_install -r requirements/uv.txt
    .venv/bin/python -m uv pip install --quiet --python .venv/bin/python --no-deps --torch-backend cpu "$pin" ||
      die "no $pin, neither where pip looks ($(tail -n 1 <<<"$log")) nor in PyTorch's CPU index"
  fi
}

install_all() {
  echo "setup: .venv for $device with $("$python" -V), $(grep -c '==' "$lock") packages, a few minutes"
  "$python" -m venv --clear .venv
  install_torch
  pip_install -r <(grep -v '^deepspeed==' "$lock")
  # A source distribution: built here, against the torch above, none of its kernels ahead of time.
  DS_BUILD_OPS=0 pip_install --no-build-isolation "$(grep -oE '^deepspeed==[^ ]+' "$lock")"
}

python=$(find_python)
device=${DEVICE:-$(find_device)}
[[ "$device" == cpu || "$device" == cuda ]] || die "DEVICE=$device is neither cpu nor cuda"
check_needs

# What a finished .venv was made from. Its scripts hold this folder's path, so a moved folder needs a new one.
lock=requirements/$device.txt
want="$device $("$python" -V) $PWD $(sha256sum <"$lock")"
if [[ "$(cat .venv/rft-lock 2>/dev/null)" != "$want" ]]; then
  install_all
  echo "$want" >.venv/rft-lock
fi

want=$(sha256sum <pyproject.toml)
if [[ "$(cat .venv/rft-project 2>/dev/null)" != "$want" ]]; then
  pip_install --no-build-isolation --editable .
  echo "$want" >.venv/rft-project
fi
