#include "ops/per_token_quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "format/scale.h"
#include "support/own_type.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/sanitized.h"

namespace emberq::per_token_quantize_test {
namespace {

struct Case {
  std::string backend;
  int64_t rows, dim;
};

// Rows that break things first, then random ones.
std::vector<float> rows_of(int64_t rows, int64_t dim) {
  std::vector<float> x = test::normal_floats(size_t(rows * dim), 5);
  const auto fill = [&](int64_t r, const auto& value) {
    for (int64_t c = 0; r < rows && c < dim; ++c) x[size_t(r * dim + c)] = value(c);
  };
  fill(1, [](int64_t c) { return c % 2 ? 0.0f : -0.0f; });
  fill(2, [&](int64_t c) { return c == dim - 1 ? -1000.0f : 0.01f; });  // one outlier, the last
  fill(3, [](int64_t) { return -3.0f; });
  fill(4, [](int64_t c) { return c % 2 ? 3e38f : -3e38f; });
  fill(5, [](int64_t c) { return c % 2 ? 0x1p-133f : -0x1p-133f; });  // BF16's smallest
  fill(6, [](int64_t c) { return float(c % 97) * 1e-36f; });
  fill(7, [](int64_t c) { return float(c % 449); });  // its scale is one: codes' boundaries
  return x;
}

class PerTokenQuantizeTest : public testing::TestWithParam<Case> {};

TEST_P(PerTokenQuantizeTest, HasTheFormatsScaleAndCodesToTheBit) {
  const auto& [name, rows, dim] = GetParam();
  if (name == "cuda" && !cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = name == "cuda" ? make_cuda_backend() : make_cpu_backend();
  const std::vector<float> x = test::in_own_type(*backend, rows_of(rows, dim));
  const Buffer in = test::upload_own(*backend, x);
  const test::E4m3Rows out(*backend, rows, dim);
  backend->run(PerTokenQuantize{.x = test::own(*backend, in, rows, dim), .out = out.activations()});
  const auto codes = out.host_codes(*backend);
  const auto scale = out.host_scale(*backend);
  for (int64_t r = 0; r < rows; ++r) {
    float absmax = 0;
    for (int64_t c = 0; c < dim; ++c) absmax = std::max(absmax, std::abs(x[size_t(r * dim + c)]));
    const float expected = fp8_row_scale(absmax);
    ASSERT_EQ(scale[size_t(r)], expected) << "row " << r;
    for (int64_t c = 0; c < dim; ++c)
      ASSERT_EQ(codes[size_t(r * dim + c)], fp8_quantize(x[size_t(r * dim + c)], expected))
          << "row " << r << " column " << c << ": " << x[size_t(r * dim + c)];
  }
}

std::vector<Case> cases() {
  std::vector<Case> all = {{"cpu", 1, 1}, {"cpu", 9, 1}, {"cpu", 9, 37}};
  for (const char* backend : {"cpu", "cuda"})
    for (const auto& [rows, dim] : {std::pair<int64_t, int64_t>{1, 8},
                                    {9, 8},
                                    {9, 1024},
                                    {9, 1032},
                                    {17, 4096},
                                    {9, 4104},
                                    {9, 8192},
                                    {9, 8200},
                                    {9, 14336},
                                    {9, 16392},
                                    {9, 28672},
                                    {1, 65536},
                                    {2500, 8},
                                    {1500, 4096}})
      all.push_back({backend, rows, dim});
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  return info.param.backend + "_" + std::to_string(info.param.rows) + "x" +
         std::to_string(info.param.dim);
}

bool sanitized(const Case& c) { return c.rows == 2500 || c.dim == 1032 || c.dim == 16392; }
INSTANTIATE_TEST_SUITE_P(Shapes, PerTokenQuantizeTest,
                         testing::ValuesIn(test::where_not(cases(), sanitized)), name_of);
INSTANTIATE_TEST_SUITE_P(ShapesSanitized, PerTokenQuantizeTest,
                         testing::ValuesIn(test::where(cases(), sanitized)), name_of);

TEST(PerTokenQuantizeCuda, RefusesWhatNoKernelTakes) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = make_cuda_backend();
  const auto refusal_of = [&](int64_t dim, DType type) {
    const Activations x{DType::kBF16, nullptr, nullptr, 1, dim},
        out{type, nullptr, nullptr, 1, dim};
    return error_of([&] { backend->run(PerTokenQuantize{.x = x, .out = out}); });
  };
  EXPECT_TRUE(contains(refusal_of(65544, DType::kF8E4M3), "rows of up to 65536, got 65544"));
  EXPECT_TRUE(contains(refusal_of(65544, DType::kI8), "rows of up to 65536, got 65544"));
  EXPECT_TRUE(contains(refusal_of(37, DType::kF8E4M3), "rows of multiples of 8, got 37"));
}

}  // namespace
}  // namespace emberq::per_token_quantize_test
