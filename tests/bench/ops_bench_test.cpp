#include "bench/ops_bench.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace emberq::bench::ops_bench_test {
namespace {

TEST(OpsBench, TimesEveryOperationForEachNumberOfTokens) {
  const auto backend = make_cpu_backend();
  const auto meter = make_cpu_meter(*backend);
  const OpsResult result = run_ops_bench(*meter, {.rows = {1, 3},
                                                  .repeats = 2,
                                                  .rotated_bytes = size_t(1) << 20,
                                                  .hidden = 64,
                                                  .intermediate = 512});
  EXPECT_EQ(result.conditions.repeats, 2);
  EXPECT_GE(result.conditions.rotated_bytes, 1 << 20);
  EXPECT_GT(result.conditions.peaks.copy_rate, 0);
  for (const int64_t rows : {1, 3})
    for (const char* operation : {"rms_norm", "per_token_quantize", "silu_and_mul"})
      EXPECT_TRUE(std::ranges::any_of(
          result.rows,
          [&](const OpsRow& row) { return row.operation == operation && row.rows == rows; }))
          << operation << " " << rows;
  for (const OpsRow& row : result.rows) {
    EXPECT_GT(row.time.seconds, 0) << row.operation << " " << row.variant;
    EXPECT_GE(row.cost.bytes, double(row.rows * row.columns)) << row.operation;
  }
}

TEST(OpsBench, TakesMemoryForTwoOfTheWidestOperandsAtLeast) {
  const auto backend = make_cpu_backend();
  const auto meter = make_cpu_meter(*backend);
  const OpsBench plan{
      .rows = {64}, .repeats = 1, .rotated_bytes = 4096, .hidden = 64, .intermediate = 512};
  EXPECT_EQ(run_ops_bench(*meter, plan).conditions.rotated_bytes, 2 * 64 * 1024 * 4);
}

}  // namespace
}  // namespace emberq::bench::ops_bench_test
