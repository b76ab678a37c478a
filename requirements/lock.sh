#!/usr/bin/env bash
# Resolves common.in into cuda.txt, then cpu.txt under its versions. Reads metadata only, downloads no wheel.
# Versions already in a lock stay unless its .in file forbids them; pass --upgrade to move them all.
set -euo pipefail
cd "$(dirname "$0")"

# torch's CPU build comes from wherever pip is told to look, else from PyTorch's own index.
if [[ -n "${PIP_FIND_LINKS:-}" ]]; then
  cpu_torch=(--find-links "$PIP_FIND_LINKS")
else
  cpu_torch=(--torch-backend cpu)
fi
compile=(../.venv/bin/uv pip compile --quiet --python-version 3.11 --python-platform x86_64-manylinux_2_31
  --annotation-style line --custom-compile-command "make lock")
"${compile[@]}" "$@" cuda.in -o cuda.txt
"${compile[@]}" "$@" "${cpu_torch[@]}" --overrides cpu-override.txt --excludes cpu-exclude.txt cpu.in -o cpu.txt
