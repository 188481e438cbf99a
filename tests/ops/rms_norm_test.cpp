#include "ops/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <tuple>

#include "support/e4m3_row.h"
#include "support/own_type.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/tolerance.h"

namespace emberq::rms_norm_test {
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
    x_ = test::in_own_type(*backend_, rows_of(rows, dim));
    weight_ = test::normal_floats(size_t(dim), 8, 0.1f);
    for (float& value : weight_) value += 1;
  }

  Buffer upload_x() const { return test::upload_own(*backend_, x_); }
  Activations plain(const Buffer& buffer) const {
    return test::own(*backend_, buffer, rows_, dim_);
  }
  std::vector<float> download(const Buffer& buffer) const {
    return test::download_own(*backend_, buffer, x_.size());
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
  for (int64_t r = 0; r < rows_; ++r) {
    const std::vector<double> y = expected_row(r);
    for (int64_t c = 0; c < dim_; ++c)
      ASSERT_NEAR(out[size_t(r * dim_ + c)], y[size_t(c)],
                  bound(y[size_t(c)]) + test::rounding(y[size_t(c)], test::own_bits(*backend_)))
          << "row " << r << " column " << c;
  }
  op.out = op.x;
  backend_->run(op);
  EXPECT_EQ(download(x), out) << "in place";
}

TEST_P(RmsNormTest, QuantizesEachRowByItsOwnLargestMagnitude) {
  const Buffer x = upload_x(), weight = test::to_backend(*backend_, weight_);
  const test::E4m3Rows out(*backend_, rows_, dim_);
  backend_->run(
      RmsNorm{.x = plain(x), .weight = weight.as<float>(), .out = out.activations(), .eps = kEps});
  const auto codes = out.host_codes(*backend_);
  const auto scale = out.host_scale(*backend_);
  for (int64_t r = 0; r < rows_; ++r) {
    const std::vector<double> y = expected_row(r);
    std::vector<double> slack;
    for (const double value : y) slack.push_back(bound(value));
    const uint8_t* row = codes.data() + r * dim_;
    ASSERT_TRUE(test::are_codes_of(y, slack, scale[size_t(r)], row)) << "row " << r;
    for (size_t c = 0; c < y.size(); ++c)
      if (y[c] == 0) {
        ASSERT_EQ(row[c], std::signbit(y[c]) ? 0x80 : 0) << "row " << r << " column " << c;
      }
  }
}

TEST_P(RmsNormTest, AddsFirstRoundsOnceAndNormalizesWhatItStores) {
  std::vector<float> addend = test::normal_floats(x_.size(), 9);
  for (int64_t c = 0; c < std::min(int64_t(3), rows_) * dim_; ++c)
    addend[size_t(c)] *= float(c % 5) * 0x1p-8f;  // near the boundaries of BF16's rounding
  for (int64_t c = 0; rows_ > 5 && c < dim_; ++c)
    addend[size_t(5 * dim_ + c)] = -x_[size_t(5 * dim_ + c)];
  addend = test::in_own_type(*backend_, addend);
  std::vector<float> sum;
  for (size_t i = 0; i < x_.size(); ++i) sum.push_back(x_[i] + addend[i]);
  sum = test::in_own_type(*backend_, sum);
  const Buffer weight = test::to_backend(*backend_, weight_);

  // The norm of the sum without an addend, which the tests above hold to the definition.
  const Buffer whole = test::upload_own(*backend_, sum);
  const test::E4m3Rows expected(*backend_, rows_, dim_), got(*backend_, rows_, dim_);
  RmsNorm op{
      .x = plain(whole), .weight = weight.as<float>(), .out = expected.activations(), .eps = kEps};
  backend_->run(op);
  op.out = op.x;
  backend_->run(op);
  const std::vector<float> expected_out = download(whole);

  const Buffer x = upload_x(), other = test::upload_own(*backend_, addend),
               stored = test::upload_own(*backend_, std::vector<float>(x_.size(), NAN));
  op = {.x = plain(x),
        .addend = plain(other),
        .sum = plain(stored),
        .weight = weight.as<float>(),
        .out = got.activations(),
        .eps = kEps};
  backend_->run(op);
  EXPECT_EQ(download(stored), sum);
  EXPECT_EQ(got.host_codes(*backend_), expected.host_codes(*backend_));
  EXPECT_EQ(got.host_scale(*backend_), expected.host_scale(*backend_));

  op.sum = op.x, op.out = op.addend;
  backend_->run(op);
  EXPECT_EQ(download(x), sum) << "in place of x";
  EXPECT_EQ(download(other), expected_out) << "in place of the addend";
  const Buffer x_again = upload_x(), addend_again = test::upload_own(*backend_, addend);
  op.x = plain(x_again), op.addend = plain(addend_again), op.sum = op.addend, op.out = op.x;
  backend_->run(op);
  EXPECT_EQ(download(addend_again), sum) << "in place of the addend";
  EXPECT_EQ(download(x_again), expected_out) << "in place of x";
}

TEST_P(RmsNormTest, TakesXItselfAsAddend) {
  const Buffer x = upload_x(), weight = test::to_backend(*backend_, weight_);
  const test::E4m3Rows out(*backend_, rows_, dim_);
  backend_->run(RmsNorm{.x = plain(x),
                        .addend = plain(x),
                        .sum = plain(x),
                        .weight = weight.as<float>(),
                        .out = out.activations(),
                        .eps = kEps});
  std::vector<float> twice;
  for (const float value : x_) twice.push_back(2 * value);
  EXPECT_EQ(download(x), twice);
}

std::string name_of(const testing::TestParamInfo<RmsNormTest::ParamType>& info) {
  const auto& [backend, rows, dim] = info.param;
  return backend + "_" + std::to_string(rows) + "x" + std::to_string(dim);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RmsNormTest,
                         testing::Combine(testing::Values("cpu", "cuda"), testing::Values(1),
                                          testing::Values(8, 1024, 1032, 4096, 5120, 8200, 16384)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(ShapesSanitized, RmsNormTest,
                         testing::Combine(testing::Values("cpu", "cuda"), testing::Values(3, 17),
                                          testing::Values(8, 1024, 1032, 4096, 5120, 8200, 16384)),
                         name_of);

// More rows than a GPU works on at once.
INSTANTIATE_TEST_SUITE_P(ManyRows, RmsNormTest,
                         testing::Combine(testing::Values("cuda"), testing::Values(2500),
                                          testing::Values(1024, 5120)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(ManyRowsSanitized, RmsNormTest,
                         testing::Combine(testing::Values("cpu", "cuda"), testing::Values(2500),
                                          testing::Values(8)),
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
  EXPECT_TRUE(contains(error_of([&] { backend->run(RmsNorm{.x = x, .out = x}); }),
                       "the cuda backend takes rows of up to 16384, got 16392"));
}

TEST(RmsNormChecks, NamesTheShapesThatDisagree) {
  const Activations x{DType::kF32, nullptr, nullptr, 2, 64},
      out{DType::kF32, nullptr, nullptr, 2, 32};
  EXPECT_TRUE(contains(error_of([&] { check(RmsNorm{.x = x, .out = out}); }),
                       "x is [2, 64] but out is [2, 32]"));
}

TEST(RmsNormChecks, WantAPlaceForTheSumThatIsNotTheOutput) {
  float memory[2 * 64] = {};
  const Activations x{DType::kF32, memory, nullptr, 2, 64},
      short_rows{DType::kF32, memory, nullptr, 2, 32};
  const auto with = [&](const Activations& addend, const Activations& sum) {
    return error_of([&] { check(RmsNorm{.x = x, .addend = addend, .sum = sum, .out = x}); });
  };
  EXPECT_EQ(with({}, {}), "");
  EXPECT_TRUE(contains(with(short_rows, x), "addend or sum is F32 [2, 32]"));
  EXPECT_TRUE(contains(with(x, {}), "addend or sum is F32 [0, 0]"));
  EXPECT_TRUE(contains(with(x, x), "sum and out are the same memory"));
}

TEST(RmsNormCost, CountsTheAddendAndTheSum) {
  float memory[2 * 64] = {};
  const Activations x{DType::kF32, memory, nullptr, 2, 64};
  const Cost plain = cost(RmsNorm{.x = x, .out = x}),
             with = cost(RmsNorm{.x = x, .addend = x, .sum = x, .out = x});
  EXPECT_EQ(with.bytes - plain.bytes, 2 * 2 * 64 * 4);
  EXPECT_EQ(with.flops - plain.flops, 2 * 64);
}

}  // namespace
}  // namespace emberq::rms_norm_test
