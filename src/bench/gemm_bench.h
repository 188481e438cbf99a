#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/meter.h"

// Four-bit weights times FP8 activations on a GPU, beside cuBLASLt's BF16 and FP8 products of the
// same shape. docs/benchmarks.md says what is measured and how.
namespace emberq::bench {

// A linear: out[m, n] = sum_k x[m, k] * w[n, k].
struct GemmShape {
  std::string layer;  // "qkv", "o", "gate_up" or "down"; empty for a shape given in numbers
  int64_t n = 0, k = 0;
  bool operator==(const GemmShape&) const = default;
};
// Those of a block of "llama-3-8b", "llama-2-7b" or "llama-2-70b", or the one of "28672x4096", N by
// K. InputError for anything else, and for a K that has no whole groups of 128.
std::vector<GemmShape> gemm_shapes(std::string_view model);

struct GemmBench {
  std::vector<GemmShape> shapes;
  std::vector<int64_t> tokens;       // M, for each shape
  std::vector<std::string> schemes;  // of our weights: "lut4-g128"
  Regime regime = Regime::kCold;
  std::string cublaslt;  // the library's file; empty: where it usually is
};

struct SchemeTime {
  std::string scheme;
  CallTime time;
  Cost cost;
  double error = 0;  // from the naive kernel's output: RMS, relative
};

struct CutlassTime {
  std::string tile;  // the fastest: "128x16 stream-K"
  CallTime time;
  double error = 0;  // from the naive kernel's output: RMS, relative
};

struct GemmRow {
  GemmShape shape;
  int64_t m = 0;
  std::optional<CallTime> bf16, fp8;   // cuBLASLt's
  std::optional<CutlassTime> cutlass;  // INT4 times FP8
  std::vector<SchemeTime> schemes;     // ours, as in GemmBench::schemes
};

struct GemmResult {
  Conditions conditions;
  std::string cublaslt;            // its version and file; empty where there is none
  std::string cutlass;             // its version; empty in a build without it
  std::vector<std::string> notes;  // why a column is empty
  std::vector<GemmRow> rows;
};

// Throws Error where there is no GPU to measure on, and where an output is not what the naive
// kernel computes.
GemmResult run_gemm_bench(const GemmBench& bench);

}  // namespace emberq::bench
