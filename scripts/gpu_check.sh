#!/bin/sh
# What a GPU is to be tried with, on a machine that has torch and transformers and nothing else:
#     scripts/gpu_check.sh [WHEELS]
# WHEELS is a folder of wheels for what is missing (pip download -d WHEELS ...); nothing is fetched.
# Writes docs/benchmarks/gpu.md. Without a GPU it tries the same checks small, on the CPU, and writes nothing.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -gt 0 ]; then
  "$python" -m pip install -q --no-index --no-deps --upgrade --target "$work/site" "$1"/*.whl
  PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
fi
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
if "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  device=cuda shape=3b dtype=bfloat16 prompt=2048 completion=512
else
  device=cpu shape=tiny dtype=float32 prompt=64 completion=16
fi
echo "gpu_check: $device"
"$python" scripts/gpu_check.py attention --device "$device" > "$work/attention.md"
"$python" scripts/gpu_check.py training --device "$device" --out "$work/run" > "$work/training.md"
"$python" -m mmrl bench step --model "$shape" --dtype "$dtype" --against none --prompts 2 --group-size 8 \
  --prompt-tokens "$prompt" --completion-tokens "$completion" --rounds 3 --json > "$work/step.json"
"$python" scripts/gpu_check.py page --attention "$work/attention.md" --training "$work/training.md" \
  --step "$work/step.json" > "$work/gpu.md"
if [ "$device" = cuda ]; then
  cp "$work/gpu.md" docs/benchmarks/gpu.md
  echo "gpu_check: docs/benchmarks/gpu.md"
else
  cat "$work/gpu.md"
fi
