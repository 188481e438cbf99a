#!/usr/bin/env bash
# Packs the program, the GPU tests and the benchmarks of build/cuda, and the libraries they need besides the C
# library's, into build/gpu-bundle.tar.xz. On a machine with an NVIDIA driver and nothing else:
#
#   tar xf gpu-bundle.tar.xz && gpu-bundle/run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bundle=build/gpu-bundle
rm -rf "$bundle" && mkdir -p "$bundle/lib"
cp build/cuda/tests/emberq_ops_tests build/cuda/emberq "$bundle"
strip "$bundle"/emberq*
for binary in "$bundle"/emberq*; do
  ldd "$binary" | awk '$3 ~ /(openblas|gomp|gfortran|quadmath|utf8proc|onig)/ { print $3 }' | xargs -I{} cp -Lf {} "$bundle/lib"
done
cat >"$bundle/run" <<'END'
#!/usr/bin/env bash
# The tests on the GPU, under the sanitizer's tools where they are installed, then the benchmarks.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export LD_LIBRARY_PATH=$PWD/lib
status=0
./emberq_ops_tests --gtest_filter='*cuda*:*Cuda*' --gtest_brief=1 || status=1
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    echo "== $tool"
    compute-sanitizer --tool "$tool" --error-exitcode 1 ./emberq_ops_tests --gtest_brief=1 \
      --gtest_filter='*Sanitized/*cuda*:*Sanitized.*' 2>&1 | tail -3 || status=1
  done
fi
nvidia-smi --query-gpu=name,clocks.sm,power.draw --format=csv,noheader
./emberq bench ops --device cuda || status=1
./emberq bench gemm || status=1
exit $status
END
chmod +x "$bundle/run"
tar -C build -cJf build/gpu-bundle.tar.xz gpu-bundle
ls -l build/gpu-bundle.tar.xz
