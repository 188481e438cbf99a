#pragma once

#include "bench/gemm_bench.h"

// What it takes to bring four-bit weights from the order of files into that of the products, on a
// GPU. docs/benchmarks.md says what is measured and how.
namespace emberq::bench {

struct RepackBench {
  std::vector<GemmShape> shapes;
  std::vector<std::string> schemes;  // for each shape: "lut4-g128"
};

struct RepackRow {
  GemmShape shape;
  std::string scheme;
  double bytes = 0;  // read and written: codes and scales
  CallTime time;
};

struct RepackResult {
  Conditions conditions;
  std::vector<RepackRow> rows;
};

// Throws Error where there is no GPU to measure on, and where a weight is not in the order that
// ops/cuda/linear/tile_order.h describes.
RepackResult run_repack_bench(const RepackBench& bench);

}  // namespace emberq::bench
