#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "base/error.h"
#include "format/bf16.h"
#include "format/scale.h"
#include "support/buffers.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/tolerance.h"

namespace emberq {
namespace {

constexpr float kEps = 1e-5f;

// Rows that break things first, then random ones.
std::vector<float> rows_of(int64_t rows, int64_t dim) {
  std::vector<float> x = test::normal_floats(size_t(rows * dim), 7);
  const auto fill = [&](int64_t r, const auto& value) {
    for (int64_t c = 0; r < rows && c < dim; ++c) x[size_t(r * dim + c)] = value(c);
  };
  if (rows == 1) x[0] = 1000;  // an outlier, as trained models have
  fill(1, [](int64_t) { return 0.0f; });
  fill(2, [](int64_t) { return -3.0f; });
  fill(3, [](int64_t c) { return c == 5 ? 1e4f : 1e-3f; });
  fill(4, [](int64_t c) { return c % 2 ? 1e-20f : -1e-20f; });  // eps is all that is left
  fill(5, [](int64_t c) { return c % 3 ? 1e15f : -1e15f; });
  fill(6, [](int64_t c) { return float(c % 7) * 0x1p-133f; });  // subnormal
  fill(7, [](int64_t c) { return c ? -0.0f : 1e-38f; });
  return x;
}

class RmsNormTest : public testing::TestWithParam<std::tuple<std::string, int, int>> {
 protected:
  void SetUp() override {
    const auto& [name, rows, dim] = GetParam();
    if (name == "cuda" && !cuda_available()) GTEST_SKIP() << "no CUDA device";
    backend_ = name == "cuda" ? make_cuda_backend() : make_cpu_backend();
    rows_ = rows, dim_ = dim;
    x_ = rows_of(rows, dim);
    if (name == "cuda")
      for (float& value : x_) value = bf16::from_float(value).to_float();
    weight_ = test::normal_floats(size_t(dim), 8, 0.1f);
    for (float& value : weight_) value += 1;
  }

  // Of the backend's own type.
  Buffer upload_x() const {
    if (backend_->activation_type() == DType::kF32) return test::to_backend(*backend_, x_);
    std::vector<bf16> narrow;
    for (const float value : x_) narrow.push_back(bf16::from_float(value));
    return test::to_backend(*backend_, narrow);
  }
  Activations plain(const Buffer& buffer) const {
    return {backend_->activation_type(), buffer.as<void>(), nullptr, rows_, dim_};
  }
  std::vector<float> download(const Buffer& buffer) const {
    if (backend_->activation_type() == DType::kF32)
      return test::to_host<float>(*backend_, buffer.as<void>(), x_.size());
    std::vector<float> wide;
    for (const bf16 value : test::to_host<bf16>(*backend_, buffer.as<void>(), x_.size()))
      wide.push_back(value.to_float());
    return wide;
  }

  // The definition.
  std::vector<double> expected_row(int64_t r) const {
    double sum = 0;
    const float* x = x_.data() + r * dim_;
    for (int64_t c = 0; c < dim_; ++c) sum += double(x[c]) * double(x[c]);
    std::vector<double> y;
    for (int64_t c = 0; c < dim_; ++c)
      y.push_back(double(x[c]) / std::sqrt(sum / double(dim_) + double(kEps)) *
                  double(weight_[size_t(c)]));
    return y;
  }
  // Of y before it is stored. On the GPU a square passes up to 16 additions in its thread, 5 in its
  // warp and 32 between warps, which the root halves; the mean, eps, the root and two products add
  // five. The CPU sums in double.
  double bound(double y) const { return test::float_sum(std::abs(y), (16 + 5 + 32) / 2 + 5); }

  std::unique_ptr<Backend> backend_;
  int64_t rows_ = 0, dim_ = 0;
  std::vector<float> x_, weight_;
};

TEST_P(RmsNormTest, MatchesTheDefinition) {
  const Buffer x = upload_x(), weight = test::to_backend(*backend_, weight_);
  // Poisoned: every element must be written.
  const Buffer result = test::to_backend(*backend_, std::vector<float>(x_.size(), NAN));
  RmsNorm op{.x = plain(x), .weight = weight.as<float>(), .out = plain(result), .eps = kEps};
  backend_->run(op);
  const std::vector<float> out = download(result);
  const int stored_bits = backend_->activation_type() == DType::kF32 ? 24 : 8;
  for (int64_t r = 0; r < rows_; ++r) {
    const std::vector<double> y = expected_row(r);
    for (int64_t c = 0; c < dim_; ++c)
      ASSERT_NEAR(out[size_t(r * dim_ + c)], y[size_t(c)],
                  bound(y[size_t(c)]) + test::rounding(y[size_t(c)], stored_bits))
          << "row " << r << " column " << c;
  }
  op.out = op.x;
  backend_->run(op);
  EXPECT_EQ(download(x), out) << "in place";
}

TEST_P(RmsNormTest, QuantizesEachRowByItsOwnLargestMagnitude) {
  const size_t n = x_.size();
  const Buffer x = upload_x(), weight = test::to_backend(*backend_, weight_);
  // Poisoned: every code and scale must be written.
  const Buffer codes = test::to_backend(*backend_, std::vector<uint8_t>(n, 0x7f)),
               scale = test::to_backend(*backend_, std::vector<float>(size_t(rows_), NAN));
  backend_->run(RmsNorm{.x = plain(x),
                        .weight = weight.as<float>(),
                        .out = test::quantized(codes, scale, rows_, dim_),
                        .eps = kEps});
  const auto q = test::to_host<uint8_t>(*backend_, codes.as<void>(), n);
  const auto s = test::to_host<float>(*backend_, scale.as<void>(), size_t(rows_));
  for (int64_t r = 0; r < rows_; ++r) {
    const std::vector<double> y = expected_row(r);
    double absmax = 0;
    for (const double value : y) absmax = std::max(absmax, std::abs(value));
    const double expected_scale = absmax > 0 ? absmax / 448 : 1;
    ASSERT_NEAR(s[size_t(r)], expected_scale,
                bound(expected_scale) + test::rounding(expected_scale, 24))
        << r;
    for (int64_t c = 0; c < dim_; ++c) {
      // Any code that a value within the bound would have got, once divided: rounding is monotonic.
      const double value = y[size_t(c)], slack = bound(value) + test::rounding(value, 24);
      const float low = fp8_round((value - slack) / double(s[size_t(r)])),
                  high = fp8_round((value + slack) / double(s[size_t(r)]));
      const float got = fp8_decode(q[size_t(r * dim_ + c)]);
      ASSERT_TRUE(low <= got && got <= high) << "row " << r << " column " << c << ": " << got;
      if (value == 0) {
        ASSERT_EQ(q[size_t(r * dim_ + c)], std::signbit(value) ? 0x80 : 0);
      }
    }
  }
}

std::string name_of(const testing::TestParamInfo<RmsNormTest::ParamType>& info) {
  const auto& [backend, rows, dim] = info.param;
  return backend + "_" + std::to_string(rows) + "x" + std::to_string(dim);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNormTest,
                         testing::Combine(testing::Values("cpu", "cuda"), testing::Values(1, 3, 17),
                                          testing::Values(8, 1024, 1032, 4096, 5120, 8200, 16384)),
                         name_of);

// More rows than a GPU works on at once.
INSTANTIATE_TEST_SUITE_P(ManyRows, RmsNormTest,
                         testing::Combine(testing::Values("cpu", "cuda"), testing::Values(2500),
                                          testing::Values(8, 1024, 5120)),
                         name_of);

TEST(RmsNormOfNoRows, WritesNothing) {
  for (const bool cuda : {false, true}) {
    if (cuda && !cuda_available()) GTEST_SKIP() << "no CUDA device";
    const auto backend = cuda ? make_cuda_backend() : make_cpu_backend();
    const std::vector<float> weight(64, 1.0f);
    const Buffer memory = test::to_backend(*backend, weight);
    const Activations none{backend->activation_type(), memory.as<void>(), nullptr, 0, 64};
    backend->run(RmsNorm{.x = none, .weight = memory.as<float>(), .out = none});
    EXPECT_EQ(test::to_host<float>(*backend, memory.as<void>(), 64), weight);
  }
}

TEST(RmsNormCuda, RefusesRowsThatNoConfigurationHolds) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = make_cuda_backend();
  const Activations x{DType::kBF16, nullptr, nullptr, 1, 16392};
  try {
    backend->run(RmsNorm{.x = x, .out = x});
    FAIL() << "ran";
  } catch (const Error& e) {
    EXPECT_TRUE(contains(e.what(), "the cuda backend takes rows of up to 16384, got 16392"));
  }
}

TEST(RmsNormCuda, RefusesIntegersByName) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = make_cuda_backend();
  const Activations x{DType::kBF16, nullptr, nullptr, 1, 64};
  const Activations out{DType::kI8, nullptr, nullptr, 1, 64};
  try {
    backend->run(RmsNorm{.x = x, .out = out});
    FAIL() << "ran";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "the cuda backend has no rms_norm to I8 operation");
  }
}

TEST(RmsNormChecks, NamesTheShapesThatDisagree) {
  const Activations x{DType::kF32, nullptr, nullptr, 2, 64},
      out{DType::kF32, nullptr, nullptr, 2, 32};
  try {
    check(RmsNorm{.x = x, .out = out});
    FAIL() << "accepted an output of another shape";
  } catch (const Error& e) {
    EXPECT_TRUE(contains(e.what(), "x is [2, 64] but out is [2, 32]"));
  }
}

}  // namespace
}  // namespace emberq
