#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/meter.h"

// The operations between the products of a decoder, on any backend. docs/benchmarks.md says what is
// measured and how.
namespace emberq::bench {

struct OpsBench {
  std::vector<int64_t> rows;  // tokens, for each operation
  int repeats = Meter::kRepeats;
  size_t rotated_bytes = size_t(512) << 20;  // of inputs: ten times the L2 of an H100
  // Columns: the hidden and the intermediate size of Llama 3 8B.
  int64_t hidden = 4096, intermediate = 14336;
};

struct OpsRow {
  std::string operation, variant;  // "silu_and_mul", "f8e4m3 interleaved"
  int64_t rows = 0, columns = 0;
  Cost cost;
  CallTime time;
};

struct OpsResult {
  Conditions conditions;
  std::vector<OpsRow> rows;
};

OpsResult run_ops_bench(Meter& meter, const OpsBench& bench);

}  // namespace emberq::bench
