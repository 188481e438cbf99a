#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/cost.h"

// Four-bit weights times FP8 activations on a GPU, beside cuBLASLt's BF16 and FP8 products of the
// same shape. docs/benchmarks.md says what is measured and how.
namespace emberq {

// A linear: out[m, n] = sum_k x[m, k] * w[n, k].
struct GemmShape {
  std::string layer;  // "qkv", "o", "gate_up" or "down"; empty for a shape given in numbers
  int64_t n = 0, k = 0;
  bool operator==(const GemmShape&) const = default;
};
// Those of a block of "llama-3-8b", "llama-2-7b" or "llama-2-70b", or the one of "28672x4096", N by
// K. InputError for anything else, and for a K that has no whole groups of 128.
std::vector<GemmShape> gemm_shapes(std::string_view model);

// How calls are timed.
enum class Regime {
  kCold,   // one by one, each with nothing of its own in the L2
  kGraph,  // back to back from a CUDA graph, on weights that take turns
};

struct GemmBench {
  std::vector<GemmShape> shapes;
  std::vector<int64_t> tokens;       // M, for each shape
  std::vector<std::string> schemes;  // of our weights: "lut4-g128"
  Regime regime = Regime::kCold;
  std::string cublaslt;  // the library's file; empty: where it usually is
};

// What the card does at a moment.
struct GpuLoad {
  double sm_mhz = 0, watts = 0;
};

struct CallTime {
  double seconds = 0;           // of a call, the median
  double spread = 0;            // (90th percentile - 10th) / median
  std::optional<GpuLoad> load;  // just after the calls
};
CallTime summary(std::vector<double> seconds);

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

// What the card was seen to give in the same run. Rates are net of the fixed cost.
struct GpuPeaks {
  double fixed_seconds = 0;        // of a call of a kernel that does nothing
  double read_rate = 0;            // bytes a second from memory
  double copy_rate = 0;            // bytes a second copied, reads and writes counted
  std::optional<double> fp8_rate;  // operations a second of cuBLASLt's 8192 x 8192 x 8192
};
// The least time that this takes, as a share of the time it took without the fixed cost. Absent
// where a peak is unknown, and where it took no longer than nothing does.
std::optional<double> share_of_roof(const SchemeTime& time, const GpuPeaks& peaks);

struct GemmResult {
  std::string card, driver;
  std::string cublaslt;            // its version and file; empty where there is none
  std::string cutlass;             // its version; empty in a build without it
  std::vector<std::string> notes;  // why a column is empty
  GpuPeaks peaks;
  std::optional<GpuLoad> load;  // just after the peaks were measured
  int repeats = 0;              // behind each median
  int64_t flushed_bytes = 0;    // read before each call, kCold
  int64_t rotated_bytes = 0;    // of weights that take turns, at least; kGraph
  std::vector<GemmRow> rows;
};

// Throws Error where there is no GPU to measure on, and where an output is not what the naive
// kernel computes.
GemmResult run_gemm_bench(const GemmBench& bench);

}  // namespace emberq
