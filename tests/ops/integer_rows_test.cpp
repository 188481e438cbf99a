// Operations that write codes of integers, or of groups: what they write is their F32 output, in
// codes by the rules of format/scale.h, to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "format/scale.h"
#include "ops/backend.h"
#include "support/own_type.h"
#include "support/random.h"
#include "support/sanitized.h"

namespace emberq::integer_rows_test {
namespace {

struct Codes {
  DType type;
  int64_t group;  // 0: the row
  int code_max;
};
struct Case {
  std::string backend;
  int64_t rows, dim;
};

constexpr Codes kCodes[] = {{DType::kI8, 0, 127},      {DType::kI8, 0, 31},
                            {DType::kI8, 128, 127},    {DType::kI8, 64, 31},
                            {DType::kI8, 8, 127},      {DType::kI8, 24, 31},
                            {DType::kF8E4M3, 0, 127},  {DType::kF8E4M3, 128, 127},
                            {DType::kF8E4M3, 32, 127}, {DType::kF8E4M3, 24, 127}};

class IntegerRows : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (GetParam().backend == "cuda" && !cuda_available()) GTEST_SKIP() << "no CUDA device";
    backend_ = GetParam().backend == "cuda" ? make_cuda_backend() : make_cpu_backend();
    rows_ = GetParam().rows, dim_ = GetParam().dim;
  }

  // Rows of zeros, of an outlier, and of the least and largest numbers; then random ones.
  std::vector<float> values(uint64_t seed) const {
    std::vector<float> x = test::normal_floats(size_t(rows_ * dim_), seed, 3);
    const auto fill = [&](int64_t r, const auto& value) {
      for (int64_t c = 0; r < rows_ && c < dim_; ++c) x[size_t(r * dim_ + c)] = value(c);
    };
    fill(1, [](int64_t c) { return c % 2 ? 0.0f : -0.0f; });
    fill(2, [&](int64_t c) { return c == dim_ - 1 ? -1000.0f : 0.01f; });
    fill(3, [](int64_t c) { return c % 2 ? 0x1p-133f : -0x1p-133f; });
    fill(4, [](int64_t c) { return float(c % 255 - 127); });  // halves of codes' steps
    fill(5, [](int64_t c) { return float(c % 63 - 31) * 0.5f; });
    return test::in_own_type(*backend_, x);
  }

  // `run` writes to the activations that it is given.
  template <class Run>
  void expect_codes(const Run& run) {
    const auto size = size_t(rows_ * dim_);
    const Buffer plain = test::to_backend(*backend_, std::vector<float>(size, NAN));
    run(Activations{DType::kF32, plain.as<void>(), nullptr, rows_, dim_});
    expect_codes_of(test::to_host<float>(*backend_, plain.as<void>(), size), run);
  }

  template <class Run>
  void expect_codes_of(const std::vector<float>& y, const Run& run) {
    for (const Codes& of : kCodes) {
      if (of.group && dim_ % of.group != 0) continue;
      const int64_t group = of.group ? of.group : dim_, groups = rows_ * dim_ / group;
      // Poisoned: every element must be written, and nothing behind them.
      const Buffer codes = test::to_backend(*backend_, std::vector<uint8_t>(y.size() + 64, 0x7f)),
                   scale = test::to_backend(*backend_, std::vector<float>(size_t(groups) + 8, NAN));
      run(Activations{of.type, codes.as<void>(), scale.as<float>(), rows_, dim_, of.group,
                      of.code_max});
      const auto stored = test::to_host<uint8_t>(*backend_, codes.as<void>(), y.size() + 64);
      const auto scales = test::to_host<float>(*backend_, scale.as<void>(), size_t(groups) + 8);
      for (int64_t g = 0; g < groups; ++g) {
        const float *first = y.data() + g * group, s = scales[size_t(g)];
        float absmax = 0;
        for (int64_t c = 0; c < group; ++c) absmax = std::max(absmax, std::abs(first[c]));
        const bool integers = of.type == DType::kI8;
        ASSERT_EQ(s, integers ? int_row_scale(absmax, of.code_max) : fp8_row_scale(absmax))
            << "group " << g << " of " << group;
        for (int64_t c = 0; c < group; ++c) {
          const uint8_t expected = integers ? uint8_t(int_quantize(first[c], s, of.code_max))
                                            : fp8_quantize(first[c], s);
          ASSERT_EQ(int(stored[size_t(g * group + c)]), int(expected))
              << "group " << g << " of " << group << ", column " << c << ": " << first[c]
              << " over " << s;
        }
      }
      for (size_t i = y.size(); i < stored.size(); ++i) ASSERT_EQ(stored[i], 0x7f);
      for (size_t i = size_t(groups); i < scales.size(); ++i) ASSERT_TRUE(std::isnan(scales[i]));
    }
  }

  std::unique_ptr<Backend> backend_;
  int64_t rows_ = 0, dim_ = 0;
};

TEST_P(IntegerRows, OfPerTokenQuantizeAreItsInputInCodes) {
  const std::vector<float> x = values(1);
  const Buffer in = test::upload_own(*backend_, x);
  expect_codes_of(x, [&](const Activations& out) {
    backend_->run(PerTokenQuantize{.x = test::own(*backend_, in, rows_, dim_), .out = out});
  });
}

TEST_P(IntegerRows, OfRmsNormAreItsValuesInCodes) {
  if (dim_ > 16384) GTEST_SKIP() << "no rows of such length on CUDA";
  const Buffer x = test::upload_own(*backend_, values(1)),
               addend = test::upload_own(*backend_, values(2)),
               sum = test::upload_own(*backend_, values(3)),
               weight = test::to_backend(*backend_, test::normal_floats(size_t(dim_), 4));
  for (const bool of_sum : {false, true})
    expect_codes([&](const Activations& out) {
      RmsNorm op{
          .x = test::own(*backend_, x, rows_, dim_), .weight = weight.as<float>(), .out = out};
      if (of_sum) {
        op.addend = test::own(*backend_, addend, rows_, dim_);
        op.sum = test::own(*backend_, sum, rows_, dim_);
      }
      backend_->run(op);
    });
}

TEST_P(IntegerRows, OfSiluAndMulAreItsValuesInCodes) {
  const Buffer gate = test::upload_own(*backend_, values(1)),
               up = test::upload_own(*backend_, values(2));
  for (const int64_t hadamard : {0, 8, 512})
    if (hadamard == 0 || dim_ % hadamard == 0)
      expect_codes([&](const Activations& out) {
        backend_->run(SiluAndMul{.gate = test::own(*backend_, gate, rows_, dim_),
                                 .up = test::own(*backend_, up, rows_, dim_),
                                 .out = out,
                                 .hadamard = hadamard});
      });
}

TEST_P(IntegerRows, OfInterleavedGateAndUpAreThoseOfSeparateOnes) {
  const std::vector<float> gate = values(1), up = values(2);
  std::vector<float> both;
  for (size_t begin = 0; begin < gate.size(); begin += 8) {
    both.insert(both.end(), &gate[begin], &gate[begin] + 8);
    both.insert(both.end(), &up[begin], &up[begin] + 8);
  }
  const Buffer in = test::upload_own(*backend_, both);
  expect_codes([&](const Activations& out) {
    backend_->run(SiluAndMul{.gate = test::own(*backend_, in, rows_, 2 * dim_),
                             .out = out,
                             .hadamard = dim_ % 512 == 0 ? 512 : 0});
  });
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* backend : {"cpu", "cuda"})
    for (const auto& [rows, dim] : {std::pair<int64_t, int64_t>{1, 8},
                                    {9, 24},
                                    {9, 128},
                                    {9, 1024},
                                    {9, 1032},
                                    {70, 4096},
                                    {9, 8200},
                                    {6, 14336},
                                    {70, 14336},
                                    {3, 28672}})
      all.push_back({backend, rows, dim});
  return all;
}

std::string name_of(const testing::TestParamInfo<Case>& p) {
  return p.param.backend + "_" + std::to_string(p.param.rows) + "x" + std::to_string(p.param.dim);
}

bool sanitized(const Case& c) { return c.rows < 70 && (c.dim < 4096 || c.dim == 28672); }
INSTANTIATE_TEST_SUITE_P(Shapes, IntegerRows,
                         testing::ValuesIn(test::where_not(cases(), sanitized)), name_of);
INSTANTIATE_TEST_SUITE_P(ShapesSanitized, IntegerRows,
                         testing::ValuesIn(test::where(cases(), sanitized)), name_of);

}  // namespace
}  // namespace emberq::integer_rows_test
