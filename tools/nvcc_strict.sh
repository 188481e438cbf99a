#!/usr/bin/env bash
# Runs a compiler command and fails where ptxas reports what makes wgmma slow: C7508 (setmaxnreg ignored),
# C7510 ... C7519 (products serialized, waits or arrivals injected). ptxas says so in information lines of
# -v, which no flag turns into errors. CMake calls every nvcc command through it.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$@" 2> >(tee "$log" | grep -v '^ptxas info\|bytes stack frame' >&2)
status=$?
wait
if grep -E '\(C75(08|1[0-9])\)' "$log" >&2; then
  echo "nvcc_strict: wgmma would be serialized" >&2
  exit 1
fi
exit $status
