// BF16 weights times BF16 inputs on the GPU against the definition in double: logits.
#include <gtest/gtest.h>

#include <cmath>

#include "format/bf16.h"
#include "format/fp16.h"
#include "ops/linear.h"
#include "support/buffers.h"
#include "support/random.h"
#include "support/tolerance.h"

namespace emberq::linear_unquantized_cuda_test {
namespace {

struct Case {
  int64_t m, n, k;
};

std::vector<bf16> random_bf16(size_t count, uint64_t seed) {
  std::vector<bf16> values;
  for (const float x : test::normal_floats(count, seed)) values.push_back(bf16::from_float(x));
  return values;
}

template <class T>
float to_f32(T x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return x.to_float();
}
template <class T>
T from_f32(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else
    return T::from_float(x);
}

class UnquantizedLinear : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
    backend_ = make_cuda_backend();
  }

  // `rows` are chosen from an input of `rows_in` rows; empty: the rows as they are.
  template <class Out>
  void expect_definition(DType type, int bits, const std::vector<int32_t>& rows, int64_t rows_in,
                         bool with_others) {
    const auto [m, n, k] = GetParam();
    const std::vector<bf16> w = random_bf16(size_t(n * k), 1),
                            x = random_bf16(size_t(rows_in * k), 2);
    const std::vector<float> bias = test::normal_floats(size_t(n), 3);
    std::vector<Out> residual;
    for (const float r : test::normal_floats(size_t(m * n), 4))
      residual.push_back(from_f32<Out>(r));
    const Weight weight =
        backend_->prepare(Tensor::copy_of(DType::kBF16, {n, k}, std::span<const bf16>(w)));
    const Buffer x_device = test::to_backend(*backend_, x),
                 rows_device = test::to_backend(*backend_, rows),
                 bias_device = test::to_backend(*backend_, bias),
                 residual_device = test::to_backend(*backend_, residual);
    const size_t count = size_t(m * n);
    const Buffer out =
        test::to_backend(*backend_, std::vector<Out>(count + 64, from_f32<Out>(NAN)));
    Linear op{.x = {DType::kBF16, x_device.as<void>(), nullptr, rows_in, k},
              .weight = &weight,
              .rows = rows.empty() ? nullptr : rows_device.as<int32_t>(),
              .out = {type, out.as<void>(), nullptr, m, n}};
    if (with_others) {
      op.bias = bias_device.as<float>();
      op.residual = {type, residual_device.as<void>(), nullptr, m, n};
    }
    backend_->run(op);
    const auto y = test::to_host<Out>(*backend_, out.as<void>(), count + 64);
    for (size_t i = count; i < y.size(); ++i) EXPECT_TRUE(std::isnan(to_f32(y[i])));
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c) {
        const int64_t from = rows.empty() ? r : rows[size_t(r)];
        double sum = 0, magnitude = 0;
        for (int64_t i = 0; i < k; ++i) {
          const double term =
              double(x[size_t(from * k + i)].to_float()) * double(w[size_t(c * k + i)].to_float());
          sum += term, magnitude += std::abs(term);
        }
        if (with_others) {
          const double others =
              double(bias[size_t(c)]) + double(to_f32(residual[size_t(r * n + c)]));
          sum += others, magnitude += std::abs(others);
        }
        // An mma adds 16 products to a sum of up to 128, all cut to 23 bits or more below the
        // leading one of the largest; these sums are joined in FP32.
        const double bound = 8 * 17 * 0x1p-23 * magnitude +
                             test::float_sum(magnitude, int((k + 127) / 128 + 12)) +
                             (bits < 24 ? test::rounding(sum, bits) : 0);
        ASSERT_NEAR(to_f32(y[size_t(r * n + c)]), sum, bound) << "row " << r << ", column " << c;
      }
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(UnquantizedLinear, MatchesTheDefinitionInDouble) {
  const int64_t m = GetParam().m;
  for (const bool with_others : {false, true}) {
    expect_definition<float>(DType::kF32, 24, {}, m, with_others);
    expect_definition<bf16>(DType::kBF16, 8, {}, m, with_others);
    expect_definition<fp16>(DType::kF16, 11, {}, m, with_others);
  }
}

TEST_P(UnquantizedLinear, OfChosenRowsTakesTheseRowsOfItsInput) {
  const int64_t m = GetParam().m, all = 7;
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < m; ++i) rows.push_back(int32_t((5 + 4 * i) % all));
  expect_definition<float>(DType::kF32, 24, rows, all, false);
}

TEST_P(UnquantizedLinear, GivesARowTheSameBitsAloneAndAmongOthers) {
  const auto [m, n, k] = GetParam();
  const Weight weight = backend_->prepare(
      Tensor::copy_of(DType::kBF16, {n, k}, std::span<const bf16>(random_bf16(size_t(n * k), 1))));
  const Buffer x = test::to_backend(*backend_, random_bf16(size_t(m * k), 2));
  const auto logits = [&](int64_t first, int64_t count) {
    const Activations all{DType::kBF16, x.as<void>(), nullptr, m, k};
    const Buffer out(*backend_, size_t(count * n) * sizeof(float));
    backend_->run(Linear{.x = all.slice(first, count),
                         .weight = &weight,
                         .out = {DType::kF32, out.as<void>(), nullptr, count, n}});
    return test::to_host<float>(*backend_, out.as<void>(), size_t(count * n));
  };
  const std::vector<float> together = logits(0, m);
  for (const int64_t row : {int64_t(0), m - 1}) {
    const auto from = together.begin() + std::ptrdiff_t(row * n);
    EXPECT_EQ(logits(row, 1), std::vector<float>(from, from + std::ptrdiff_t(n))) << row;
  }
}

INSTANTIATE_TEST_SUITE_P(ShapesSanitized, UnquantizedLinear,
                         testing::Values(Case{1, 1, 8}, Case{1, 37, 200}, Case{2, 1000, 4096},
                                         Case{8, 64, 256}, Case{17, 63, 520}, Case{70, 130, 1024}),
                         [](const auto& p) {
                           const Case& c = p.param;
                           return "cuda_" + std::to_string(c.m) + "x" + std::to_string(c.n) + "x" +
                                  std::to_string(c.k);
                         });

}  // namespace
}  // namespace emberq::linear_unquantized_cuda_test
