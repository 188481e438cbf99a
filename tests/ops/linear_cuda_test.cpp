// Weights that have an operand times e4m3 inputs on the GPU against the definition in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "format/bf16.h"
#include "format/fp16.h"
#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/linear.h"
#include "support/buffers.h"
#include "support/quantized_weight.h"
#include "support/random.h"
#include "support/sanitized.h"
#include "support/tolerance.h"

namespace emberq::linear_cuda_test {
namespace {

struct Case {
  std::string backend, scheme;
  int64_t m, n, k;
};

std::unique_ptr<Backend> backend_of(const std::string& name) {
  return make_cuda_backend(name == "cuda"         ? CudaKernels::kFast
                           : name == "cuda-naive" ? CudaKernels::kNaive
                                                  : CudaKernels::kBatchInvariant);
}

constexpr float kP = 64;  // of e4m3 products

// Codes in no order and scales of every kind, zero and the smallest normal number among them.
QuantizedWeight random_weight(int64_t n, int64_t k, const std::string& name,
                              const std::function<int(std::mt19937_64&)>& code) {
  const WeightScheme scheme = *weight_scheme_from_name(name);
  std::mt19937_64 random(uint64_t(n * k));
  const bool products = scheme.dequant == Dequant::kE4m3,
             integers = scheme.code == WeightCode::kInt;
  QuantizedWeight weight = test::assemble(
      n, k, scheme,
      {.code = [&](int64_t, int64_t) { return code(random); },
       .scale =
           [&](int64_t, int64_t) {
             // Times p, all e4m3 numbers below 16, with either sign.
             if (products && integers)
               return fp8_decode(uint8_t(random() % 0x58 | (random() & 0x80))) / kP;
             const int kind = int(random() % 16);
             // Of products that are saturated up to such that are no normal numbers.
             if (products && kind > 1)
               return std::ldexp(float(128 + random() % 128), -6 - int(random() % 12)) / kP;
             // Of different exponents, so that sums in another order are other sums.
             const int exponent = kind == 1 ? -133 : -12 - int(random() % 8);
             return kind == 0 ? 0.0f : std::ldexp(float(128 + random() % 128), exponent);
           },
       .zero_point = [](int64_t, int64_t) { return int8_t(0); },
       .scale_type = DType::kBF16});
  if (products) weight.global_scale = kP;
  return weight;
}
using Code = std::function<int(std::mt19937_64&)>;
Code any_code(const std::string& name) {
  const WeightScheme scheme = *weight_scheme_from_name(name);
  return [scheme](std::mt19937_64& random) {
    const int u = int(random() % (1u << scheme.bits));
    return scheme.bits == 8 && (u & 0x7f) == 0x7f ? 0 : u;  // NaN is no code
  };
}
Code lowest_code(const std::string& name) {
  const WeightScheme scheme = *weight_scheme_from_name(name);
  const int u = scheme.code == WeightCode::kInt ? 0 : (1 << scheme.bits) - 1;
  return [u, scheme](std::mt19937_64&) { return scheme.bits == 8 ? u - 1 : u; };
}

// Everything that a linear reads, and what it must be within.
struct Problem {
  QuantizedWeight weight;
  std::vector<uint8_t> x;  // [m, k] e4m3
  std::vector<float> x_scale, bias;
  std::vector<bf16> residual;
  int64_t m = 0;
};

Problem random_problem(int64_t m, QuantizedWeight weight) {
  Problem p{.weight = std::move(weight), .m = m};
  const auto k = size_t(p.weight.k), n = size_t(p.weight.n);
  for (const float x : test::normal_floats(size_t(m) * k, 1)) p.x.push_back(fp8_encode(x * 60));
  for (const float x : test::normal_floats(size_t(m), 2)) p.x_scale.push_back(std::abs(x) + 0.1f);
  p.bias = test::normal_floats(n, 3);
  for (const float x : test::normal_floats(size_t(m) * n, 4))
    p.residual.push_back(bf16::from_float(x));
  return p;
}

// Stored is what the output and the residual are of.
template <class Stored = bf16>
std::vector<float> run(Backend& backend, const Problem& p, bool with_others) {
  constexpr DType kType = std::is_same_v<Stored, fp16> ? DType::kF16 : DType::kBF16;
  std::vector<Stored> addend;
  for (const bf16 x : p.residual) addend.push_back(Stored::from_float(x.to_float()));
  const Weight weight = backend.prepare(p.weight);
  const Buffer x = test::to_backend(backend, p.x), scale = test::to_backend(backend, p.x_scale),
               bias = test::to_backend(backend, p.bias),
               residual = test::to_backend(backend, addend);
  // Poisoned: every element must be written, and nothing behind them.
  const size_t count = addend.size();
  const Buffer out =
      test::to_backend(backend, std::vector<Stored>(count + 64, Stored::from_float(NAN)));
  Linear op{.x = test::quantized(x, scale, p.m, p.weight.k),
            .weight = &weight,
            .out = {kType, out.template as<void>(), nullptr, p.m, p.weight.n}};
  if (with_others) {
    op.bias = bias.template as<float>();
    op.residual = {kType, residual.template as<void>(), nullptr, p.m, p.weight.n};
  }
  backend.run(op);
  const auto stored = test::to_host<Stored>(backend, out.template as<void>(), count + 64);
  for (size_t i = count; i < stored.size(); ++i) EXPECT_TRUE(std::isnan(stored[i].to_float()));
  std::vector<float> y;
  for (size_t i = 0; i < count; ++i) y.push_back(stored[i].to_float());
  return y;
}

// A wgmma of 32 inputs adds them to its accumulator after all are cut to 13 bits below the leading
// one of the largest, sum included: 33 errors of 2^-13 of twice that. Groups are joined in FP32.
// E4m3 products, which have their group's scale in them, stay in the accumulator from wherever a
// run of inputs begins.
struct Expected {
  double value = 0, bound = 0;
};
Expected expected(const Problem& p, int64_t row, int64_t column, bool with_others) {
  const int64_t k = p.weight.k;
  const int group = p.weight.scheme.group_size ? p.weight.scheme.group_size : int(k);
  const bool products = p.weight.scheme.dequant == Dequant::kE4m3;
  const std::vector<float> scales = p.weight.scale.to_float();
  const int bits = p.weight.scheme.bits;
  const auto* words =
      p.weight.packed.data<uint32_t>() + size_t(column) * packed_words(size_t(k), bits);
  const double x_scale = double(p.x_scale[size_t(row)]);
  Expected result;
  double magnitude = 0, group_sum = 0, highest = 0, lowest = 0;  // of sums so far
  for (int64_t begin = 0; begin < k; begin += 32) {
    const float group_scale = scales[size_t(column * (k / group) + begin / group)];
    const double scale = products ? x_scale / double(kP) : double(group_scale) * x_scale;
    if (!products && begin % std::min(group, 128) == 0) group_sum = highest = lowest = 0;
    const double before = group_sum;
    double peak = 0;
    for (int64_t j = begin; j < begin + 32; ++j) {
      const float code = weight_code_value(p.weight.scheme,
                                           packed_code(words, size_t(j), bits) + (1 << (bits - 1)));
      const double term = double(fp8_decode(p.x[size_t(row * k + j)])) *
                          double(products ? fp8_round(code * (group_scale * kP)) : code);
      group_sum += term;
      peak = std::max(peak, std::abs(term));
      magnitude += scale * std::abs(term);
    }
    result.value += scale * (group_sum - before);
    highest = std::max(highest, group_sum), lowest = std::min(lowest, group_sum);
    peak = std::max(peak,
                    products ? highest - lowest : std::max(std::abs(before), std::abs(group_sum)));
    result.bound += scale * 33 * 0x1p-12 * peak;
  }
  if (with_others) {
    const double others = double(p.bias[size_t(column)]) +
                          double(p.residual[size_t(row * p.weight.n + column)].to_float());
    result.value += others, magnitude += std::abs(others);
  }
  result.bound += double(k / 32 + 4) * 0x1p-23 * magnitude + test::rounding(result.value, 8);
  return result;
}

void expect_definition(const Problem& p, const std::vector<float>& y, bool with_others) {
  for (int64_t r = 0; r < p.m; ++r)
    for (int64_t c = 0; c < p.weight.n; ++c) {
      const Expected e = expected(p, r, c, with_others);
      ASSERT_NEAR(y[size_t(r * p.weight.n + c)], e.value, e.bound) << r << ", " << c;
    }
}

class LinearCuda : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
    backend_ = backend_of(GetParam().backend);
  }
  std::unique_ptr<Backend> backend_;
};

TEST_P(LinearCuda, MatchesTheDefinition) {
  const Case& c = GetParam();
  const Problem p = random_problem(c.m, random_weight(c.n, c.k, c.scheme, any_code(c.scheme)));
  for (const bool with_others : {false, true})
    expect_definition(p, run(*backend_, p, with_others), with_others);
}

TEST_P(LinearCuda, HoldsForInputsThatBreakThings) {
  const Case& c = GetParam();
  Problem zeros = random_problem(c.m, random_weight(c.n, c.k, c.scheme, any_code(c.scheme)));
  zeros.x.assign(zeros.x.size(), 0);
  for (const float y : run(*backend_, zeros, false)) ASSERT_EQ(y, 0.0f);
  Problem outlier = random_problem(c.m, random_weight(c.n, c.k, c.scheme, any_code(c.scheme)));
  for (int64_t r = 0; r < c.m; ++r) outlier.x[size_t(r * c.k + r % c.k)] = fp8_encode(448.0f);
  expect_definition(outlier, run(*backend_, outlier, false), false);
  Problem saturating =
      random_problem(c.m, random_weight(c.n, c.k, c.scheme, lowest_code(c.scheme)));
  saturating.x.assign(saturating.x.size(), fp8_encode(448.0f));
  expect_definition(saturating, run(*backend_, saturating, true), true);
}

TEST_P(LinearCuda, RoundsToFp16WhereItsOutputIs) {
  const Case& c = GetParam();
  Problem p = random_problem(c.m, random_weight(c.n, c.k, c.scheme, any_code(c.scheme)));
  // Small enough for FP16's range, large enough for its smallest normal number.
  for (float& scale : p.x_scale) scale *= 0x1p-4f;
  for (const bool with_others : {false, true}) {
    const std::vector<float> y = run<fp16>(*backend_, p, with_others);
    for (int64_t r = 0; r < p.m; ++r)
      for (int64_t n = 0; n < p.weight.n; ++n) {
        const Expected e = expected(p, r, n, with_others);
        // FP16's rounding instead of BF16's, of the residual too, and steps of 2^-24 near zero.
        if (std::abs(e.value) >= 65504) continue;
        ASSERT_NEAR(y[size_t(r * p.weight.n + n)], e.value,
                    e.bound - test::rounding(e.value, 8) + test::rounding(e.value, 11) + 0x1p-24)
            << r << ", " << n;
      }
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* backend : {"cuda-naive", "cuda"}) {
    for (const int64_t m : {1, 3, 16, 17, 32, 33, 64, 65, 128, 129, 257})
      all.push_back({backend, "lut4-g128", m, 200, 384});
    for (const char* scheme : {"int4-g128", "int4-g64", "int4-g32", "lut4-g64", "lut4-g32",
                               "int4-g64-e4m3", "int4-g32-e4m3", "lut4-g64-e4m3", "lut4-g32-e4m3",
                               "fp8e4m3-g64", "fp8e4m3-g32", "fp6e2m3-g64", "fp6e2m3-g32"})
      for (const int64_t m : {1, 65, 130}) all.push_back({backend, scheme, m, 129, 256});
    for (const char* scheme : {"int4-g128-e4m3", "lut4-g128-e4m3"})
      for (const int64_t m : {1, 17, 33, 65, 129, 257})
        all.push_back({backend, scheme, m, 200, 384});
    for (const char* scheme : {"fp8e4m3-channel", "fp8e4m3-g128", "fp6e2m3-g128"})
      for (const int64_t m : {1, 17, 33, 65, 129, 257})
        all.push_back({backend, scheme, m, 200, 384});
    all.push_back({backend, "int4-channel", 5, 64, 512});
    all.push_back({backend, "int4-g32", 5, 1, 32});
    all.push_back({backend, "int4-g32", 70, 72, 160});
  }
  return all;
}

// Every kernel of the fast backend, at the edges of its tiles.
bool sanitized(const Case& c) {
  if (c.backend != "cuda") return false;
  if (c.scheme == "lut4-g128") return c.m % 10 == 7 || c.m == 33 || c.m == 65;
  return c.scheme == "int4-g32" || c.scheme == "fp6e2m3-g32" ||
         (c.scheme == "int4-g128-e4m3" && c.m == 17) || (c.scheme == "fp8e4m3-g128" && c.m > 100);
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  std::string name = c.backend + "_" + c.scheme + "_" + std::to_string(c.m) + "x" +
                     std::to_string(c.n) + "x" + std::to_string(c.k);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Shapes, LinearCuda, testing::ValuesIn(test::where_not(cases(), sanitized)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(ShapesSanitized, LinearCuda,
                         testing::ValuesIn(test::where(cases(), sanitized)), name_of);

TEST(LinearCudaBatchInvariantSanitized, GivesARowTheSameBitsWhateverRowsAreBesideIt) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = backend_of("cuda-batch-invariant");
  for (const auto& [n, k] : {std::pair{1000, 3968}, {4096, 1024}, {1096, 2080}}) {
    const char* scheme = n == 1000 ? "int4-g128" : n == 4096 ? "lut4-g128" : "fp8e4m3-channel";
    const Problem all = random_problem(600, random_weight(n, k, scheme, any_code(scheme)));
    const std::vector<float> y = run(*backend, all, true);
    for (const int64_t m : {1, 17, 64, 100, 256, 300}) {
      Problem first = all;
      first.m = m;
      first.x.resize(size_t(m * k)), first.x_scale.resize(size_t(m));
      first.residual.resize(size_t(m * n));
      const std::vector<float> alone = run(*backend, first, true);
      for (size_t i = 0; i < alone.size(); ++i) ASSERT_EQ(alone[i], y[i]) << m << ": " << i;
    }
  }
}

TEST(LinearCudaRepeated, GivesTheSameBitsEveryTime) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = backend_of("cuda");
  for (const int64_t m : {1, 40, 200, 700}) {
    const Problem p =
        random_problem(m, random_weight(1024, 4096, "lut4-g128", any_code("lut4-g128")));
    const std::vector<float> once = run(*backend, p, true);
    for (int again = 0; again < 4; ++again) ASSERT_EQ(run(*backend, p, true), once) << m;
  }
}

TEST(LinearCudaLarge, IsWhatTheNaiveKernelComputes) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto fast = backend_of("cuda"), naive = backend_of("cuda-naive");
  for (const int64_t m : {1, 16, 32, 64, 128, 512}) {
    const Problem p =
        random_problem(m, random_weight(4096, 4096, "lut4-g128", any_code("lut4-g128")));
    const std::vector<float> y = run(*fast, p, true), reference = run(*naive, p, true);
    double error = 0, power = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      error += std::pow(double(y[i]) - double(reference[i]), 2);
      power += std::pow(double(reference[i]), 2);
    }
    EXPECT_LT(std::sqrt(error / power), 0x1p-8) << m;  // one more rounding to BF16, and 1.3e-4
  }
}

}  // namespace
}  // namespace emberq::linear_cuda_test
