// Every weight scheme times every kind of input on the GPU, against the definition in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <random>

#include "format/bf16.h"
#include "format/fp16.h"
#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/linear.h"
#include "support/buffers.h"
#include "support/quantized_weight.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/sanitized.h"
#include "support/tolerance.h"

namespace emberq::linear_general_cuda_test {
namespace {

constexpr float kP = 64;  // of e4m3 products

// A kind of input: BF16, or codes with scales of groups or of rows.
struct InputKind {
  std::string name;
  DType type = DType::kBF16;
  bool grouped = false;
  int code_max = 127;
};
const std::vector<InputKind> kInputs = {{"bf16"},
                                        {"fp8_token", DType::kF8E4M3},
                                        {"fp8_group", DType::kF8E4M3, true},
                                        {"int8_token", DType::kI8},
                                        {"int8_group", DType::kI8, true},
                                        {"int6_group", DType::kI8, true, 31}};

struct Case {
  std::string scheme;  // "bf16": not quantized
  InputKind input;
};

using Random = std::mt19937_64;

int64_t group_of(const WeightScheme& scheme, int64_t k) {
  return scheme.group_size ? scheme.group_size : k;
}
bool is_nan_code(const WeightScheme& scheme, int u) {
  return scheme.code == WeightCode::kFloat && scheme.bits == 8 && (u & 0x7f) == 0x7f;
}
// Any code, and those with the largest magnitudes: -2^(bits-1), or what ends in ones.
int any_code(const WeightScheme& scheme, Random& random) {
  int u = int(random() % (1u << scheme.bits));
  while (is_nan_code(scheme, u)) u = int(random() % (1u << scheme.bits));
  return u;
}
int lowest_code(const WeightScheme& scheme) {
  if (scheme.code == WeightCode::kInt) return 0;
  return (1 << scheme.bits) - (scheme.bits == 8 ? 2 : 1);
}
int highest_code(const WeightScheme& scheme) {
  if (scheme.code == WeightCode::kInt) return (1 << scheme.bits) - 1;
  return (1 << (scheme.bits - 1)) - (scheme.bits == 8 ? 2 : 1);
}

// A weight, and its values [n, k] by the definition, exact.
struct WeightCase {
  int64_t n = 0, k = 0, group = 0;  // group: of a scale
  QuantizedWeight quantized;        // unless dense
  std::vector<bf16> dense;
  std::vector<double> values;

  Weight prepare(Backend& backend) const {
    if (dense.empty()) return backend.prepare(quantized);
    return backend.prepare(Tensor::copy_of(DType::kBF16, {n, k}, std::span<const bf16>(dense)));
  }
};

Tensor in_fp16(const Tensor& scale) {
  std::vector<fp16> narrow;
  for (const float s : scale.to_float()) narrow.push_back(fp16::from_float(s));
  return Tensor::copy_of(DType::kF16, scale.shape(), std::span<const fp16>(narrow));
}

using CodeOf = std::function<int(int64_t row, int64_t column)>;
using ScaleOf = std::function<float(int64_t row, int64_t group)>;

WeightCase quantized_weight(int64_t n, int64_t k, const WeightScheme& scheme, DType scale_type,
                            const CodeOf& code, const ScaleOf& scale) {
  Random random(uint64_t(n + k));
  WeightCase w{.n = n, .k = k, .group = group_of(scheme, k)};
  w.quantized = test::assemble(
      n, k, scheme,
      {.code = code,
       .scale = scale,
       .zero_point = [&](int64_t, int64_t) { return int8_t(int(random() % 16) - 8); },
       .scale_type = scale_type == DType::kF16 ? DType::kF32 : scale_type});
  if (scale_type == DType::kF16) w.quantized.scale = in_fp16(w.quantized.scale);
  if (scheme.dequant == Dequant::kE4m3) w.quantized.global_scale = kP;
  const std::vector<float> scales = w.quantized.scale.to_float();
  const size_t words = packed_words(size_t(k), scheme.bits);
  for (int64_t row = 0; row < n; ++row)
    for (int64_t j = 0; j < k; ++j) {
      const auto at = size_t(row * (k / w.group) + j / w.group);
      const int u = packed_code(w.quantized.packed.data<uint32_t>() + size_t(row) * words,
                                size_t(j), scheme.bits) +
                    (1 << (scheme.bits - 1));
      float value = weight_code_value(scheme, u);
      if (scheme.zero_point) value -= float(w.quantized.zero_point.data<int8_t>()[at]);
      w.values.push_back(scheme.dequant == Dequant::kE4m3
                             ? double(fp8_round(value * scales[at] * kP)) / double(kP)
                             : double(value) * double(scales[at]));
    }
  return w;
}

WeightCase dense_weight(int64_t n, int64_t k) {
  WeightCase w{.n = n, .k = k, .group = k};
  for (const float x : test::normal_floats(size_t(n * k), uint64_t(n + k))) {
    w.dense.push_back(bf16::from_float(x));
    w.values.push_back(double(w.dense.back().to_float()));
  }
  return w;
}

// Scales of every sign and size, zero among them.
ScaleOf any_scale(Random& random) {
  return [&random](int64_t, int64_t) {
    if (random() % 16 == 0) return 0.0f;
    const float magnitude = std::ldexp(float(128 + random() % 128), -13 - int(random() % 6));
    return random() % 2 ? magnitude : -magnitude;
  };
}

WeightCase random_weight(int64_t n, int64_t k, const std::string& name, DType scale_type) {
  if (name == "bf16") return dense_weight(n, k);
  const WeightScheme scheme = *weight_scheme_from_name(name);
  Random random(uint64_t(n * k));
  // FireQ's scales are e4m3 numbers over p.
  const bool e4m3_scales = scheme.dequant == Dequant::kE4m3 && scheme.code == WeightCode::kInt;
  return quantized_weight(
      n, k, scheme, scale_type, [&](int64_t, int64_t) { return any_code(scheme, random); },
      e4m3_scales
          ? ScaleOf([&](int64_t, int64_t) { return fp8_decode(uint8_t(random() % 0x58)) / kP; })
          : any_scale(random));
}

// An input, and its values [m, k], exact.
struct InputCase {
  InputKind kind;
  int64_t m = 0, k = 0, group = 0;  // group: of a scale
  std::vector<uint8_t> bytes;       // as the backend takes them
  std::vector<float> scale;
  std::vector<double> codes, values;

  void push(float code) {
    switch (kind.type) {
      case DType::kBF16: {
        const uint16_t bits = bf16::from_float(code).bits;
        bytes.push_back(uint8_t(bits)), bytes.push_back(uint8_t(bits >> 8));
        codes.push_back(double(bf16{bits}.to_float()));
        return;
      }
      case DType::kF8E4M3:
        bytes.push_back(fp8_encode(code));
        codes.push_back(double(fp8_decode(bytes.back())));
        return;
      default:
        bytes.push_back(uint8_t(int8_t(code)));
        codes.push_back(double(int8_t(bytes.back())));
    }
  }
  void finish() {
    for (size_t i = 0; i < codes.size(); ++i)
      values.push_back(scale.empty() ? codes[i] : codes[i] * double(scale[i / size_t(group)]));
  }
};

// Of a multiple of 32 where one divides k.
int64_t input_group(const InputKind& kind, int64_t k) {
  if (!kind.grouped) return k;
  for (const int64_t size : {96, 64, 32})
    if (k % size == 0) return size;
  return 8;
}

InputCase input_of(const InputKind& kind, int64_t m, int64_t k,
                   const std::function<float(int64_t row, int64_t column)>& code,
                   bool scale_of_one = false) {
  InputCase x{.kind = kind, .m = m, .k = k, .group = input_group(kind, k)};
  for (int64_t row = 0; row < m; ++row)
    for (int64_t j = 0; j < k; ++j) x.push(code(row, j));
  if (kind.type != DType::kBF16)
    for (const float s : test::normal_floats(size_t(m * (k / x.group)), 2))
      x.scale.push_back(scale_of_one ? 1.0f : 0.01f + 0.02f * std::abs(s));
  x.finish();
  return x;
}
// Row 2, where there is one, is zeros.
InputCase random_input(const InputKind& kind, int64_t m, int64_t k) {
  const std::vector<float> normal = test::normal_floats(size_t(m * k), 3);
  return input_of(kind, m, k, [&](int64_t row, int64_t j) {
    if (row == 2) return 0.0f;
    const float x = normal[size_t(row * k + j)];
    if (kind.type != DType::kI8) return x * (kind.type == DType::kF8E4M3 ? 60.0f : 1.0f);
    const float limit = float(kind.code_max);
    return std::round(std::clamp(x * limit / 3, -limit - 1, limit));
  });
}

// Where a linear runs and what it gives, in the type of its output.
class Runner {
 public:
  Runner(Backend& backend, const WeightCase& weight)
      : backend_(backend), weight_(weight.prepare(backend)) {}

  template <class Out>
  std::vector<float> run(const InputCase& x, const std::vector<int32_t>& rows = {},
                         const std::vector<float>& bias = {},
                         const std::vector<float>& residual = {}) {
    constexpr DType kType = std::is_same_v<Out, float>  ? DType::kF32
                            : std::is_same_v<Out, fp16> ? DType::kF16
                                                        : DType::kBF16;
    const int64_t m = rows.empty() ? x.m : int64_t(rows.size());
    std::vector<Out> addend;
    for (const float r : residual) addend.push_back(from_float<Out>(r));
    const Buffer bytes = test::to_backend(backend_, x.bytes),
                 scale = test::to_backend(backend_, x.scale),
                 chosen = test::to_backend(backend_, rows),
                 bias_device = test::to_backend(backend_, bias),
                 addend_device = test::to_backend(backend_, addend);
    const size_t count = size_t(m * weight_.n);
    // Poisoned: every element must be written, and nothing behind them.
    const Buffer out =
        test::to_backend(backend_, std::vector<Out>(count + 64, from_float<Out>(NAN)));
    Linear op{.x = {x.kind.type, bytes.as<void>(), nullptr, x.m, x.k},
              .weight = &weight_,
              .rows = rows.empty() ? nullptr : chosen.as<int32_t>(),
              .out = {kType, out.template as<void>(), nullptr, m, weight_.n}};
    if (x.kind.type != DType::kBF16) {
      op.x.scale = scale.as<float>();
      op.x.group = x.kind.grouped ? x.group : 0;
      op.x.code_max = x.kind.code_max;
    }
    if (!bias.empty()) op.bias = bias_device.as<float>();
    if (!residual.empty())
      op.residual = {kType, addend_device.template as<void>(), nullptr, m, weight_.n};
    backend_.run(op);
    std::vector<float> y;
    for (const Out v : test::to_host<Out>(backend_, out.template as<void>(), count + 64))
      y.push_back(to_float(v));
    for (size_t i = count; i < y.size(); ++i) EXPECT_TRUE(std::isnan(y[i])) << "behind the end";
    y.resize(count);
    return y;
  }

  template <class Out>
  static Out from_float(float x) {
    if constexpr (std::is_same_v<Out, float>)
      return x;
    else
      return Out::from_float(x);
  }
  template <class Out>
  static float to_float(Out x) {
    if constexpr (std::is_same_v<Out, float>)
      return x;
    else
      return x.to_float();
  }

 private:
  Backend& backend_;
  Weight weight_;
};

// A sum in runs of inputs that share their scales, of up to 128, and what FP32 may add to it: of
// each run's sum the product of the scales, the product with that, and the additions up to the last
// one. A run's sum is exact of integers. Of other numbers, an mma of 16 inputs adds 17 numbers, all
// cut to 23 bits or more below the leading one of the largest.
struct Expected {
  double value = 0, bound = 0;
};
Expected expected(const WeightCase& w, const InputCase& x, int64_t row, int64_t column,
                  bool exact_runs) {
  int64_t step = 128;
  for (const int64_t group : {w.group, x.group})
    if (group < w.k) step = std::gcd(step, group);
  Expected result;
  double runs = 0, all = 0;
  for (int64_t begin = 0; begin < w.k; begin += step) {
    double run = 0, magnitude = 0;
    for (int64_t j = begin; j < std::min(w.k, begin + step); ++j) {
      const double term = x.values[size_t(row * w.k + j)] * w.values[size_t(column * w.k + j)];
      run += term, magnitude += std::abs(term);
    }
    result.value += run;
    runs += std::abs(run), all += magnitude;
  }
  const int depth = int((w.k + step - 1) / step) + 12;
  result.bound = test::float_sum(runs, depth) + (exact_runs ? 0 : 8 * 17 * 0x1p-23 * all);
  return result;
}

bool has_integer_products(const Case& c) {
  const auto scheme = weight_scheme_from_name(c.scheme);
  return c.input.type == DType::kI8 && scheme && scheme->code == WeightCode::kInt &&
         scheme->dequant == Dequant::kExact;
}

struct Shape {
  int64_t n, k;
};
// Ragged: no multiples of the tiles' 128 rows and, where groups allow, 128 inputs; the second has
// more k tiles than slices.
std::vector<Shape> shapes(const std::string& name) {
  const auto scheme = weight_scheme_from_name(name);
  const int64_t group = scheme && scheme->group_size ? scheme->group_size : 8;
  const int64_t unit = std::lcm(group, int64_t(8));
  std::vector<Shape> shapes = {{200, unit * std::max<int64_t>(1, 200 / unit)},
                               {37, unit * (1200 / unit)}};
  if (!scheme || scheme->group_size == 0) shapes.push_back({65, 416});  // whole steps
  return shapes;
}

class LinearOfEveryFormCuda : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  }
};

// One input at a time is 1, with a scale of 1: the output is the weight, for few rows and for many.
TEST_P(LinearOfEveryFormCuda, TimesOneInputIsTheWeightToTheBit) {
  const auto& [name, kind] = GetParam();
  for (const CudaKernels kernels : {CudaKernels::kFast, CudaKernels::kNaive}) {
    const auto backend = make_cuda_backend(kernels);
    for (const auto& [n, k] : shapes(name)) {
      const WeightCase w = random_weight(n, k, name, DType::kBF16);
      Runner runner(*backend, w);
      for (const int64_t first : {int64_t(0), k - 8}) {
        const int64_t m = first ? 8 : k;
        const InputCase x = input_of(
            kind, m, k, [&](int64_t row, int64_t j) { return j == first + row ? 1.0f : 0.0f; },
            true);
        const std::vector<float> y = runner.run<float>(x);
        for (int64_t row = 0; row < m; ++row)
          for (int64_t c = 0; c < n; ++c)
            ASSERT_EQ(y[size_t(row * n + c)], float(w.values[size_t(c * k + first + row)]))
                << backend->name() << ": input " << first + row << " of " << k << ", output " << c;
      }
    }
  }
}

TEST_P(LinearOfEveryFormCuda, HasTheValueOfEveryCode) {
  const auto& [name, kind] = GetParam();
  const auto scheme = weight_scheme_from_name(name);
  if (!scheme) GTEST_SKIP() << "no codes";
  const int64_t n = int64_t(1) << scheme->bits, k = 8 * std::lcm(group_of(*scheme, 16), int64_t(8));
  const auto backend = make_cuda_backend();
  // Of products: from such that are no normal numbers to such that are saturated.
  for (const float scale : {1.0f, 0x1p-8f, 0.15625f}) {
    const WeightCase w = quantized_weight(
        n, k, *scheme, DType::kF32,
        [&](int64_t row, int64_t) { return is_nan_code(*scheme, int(row)) ? 0 : int(row); },
        [&](int64_t, int64_t) { return scale; });
    const InputCase x = input_of(
        kind, 4, k, [&](int64_t row, int64_t j) { return j == row * 5 ? 1.0f : 0.0f; }, true);
    const std::vector<float> y = Runner(*backend, w).run<float>(x);
    for (int64_t row = 0; row < 4; ++row)
      for (int64_t c = 0; c < n; ++c)
        ASSERT_EQ(y[size_t(row * n + c)], float(w.values[size_t(c * k + row * 5)]))
            << "code " << c << ", scale " << scale;
  }
}

TEST_P(LinearOfEveryFormCuda, MatchesTheDefinitionWhateverItsShape) {
  const Case& c = GetParam();
  const auto fast = make_cuda_backend(), naive = make_cuda_backend(CudaKernels::kNaive);
  std::vector<std::pair<Shape, DType>> weights;
  for (const Shape& shape : shapes(c.scheme))
    for (const DType type : {DType::kBF16, shape.n == 37 ? DType::kF16 : DType::kF32})
      weights.push_back({shape, type});
  for (const auto& [shape, scale_type] : weights) {
    const auto [n, k] = shape;
    const WeightCase w = random_weight(n, k, c.scheme, scale_type);
    Runner runner(*fast, w), reference(*naive, w);
    for (const int64_t m : {1, 3, 8, 17, 64, 129}) {
      const InputCase x = random_input(c.input, m, k);
      const std::vector<float> y = runner.run<float>(x), by_definition = reference.run<float>(x);
      for (int64_t row = 0; row < m; ++row)
        for (int64_t column = 0; column < n; ++column) {
          const auto at = size_t(row * n + column);
          const Expected e = expected(w, x, row, column, has_integer_products(c));
          ASSERT_NEAR(y[at], e.value, e.bound) << m << " rows: " << row << ", " << column;
          // In double, of weights in float.
          double magnitude = 0;
          for (int64_t j = 0; j < k; ++j)
            magnitude += std::abs(x.values[size_t(row * k + j)] * w.values[size_t(column * k + j)]);
          ASSERT_NEAR(by_definition[at], e.value, test::float_sum(magnitude, 2))
              << "naive, " << m << " rows: " << row << ", " << column;
        }
    }
  }
}

TEST_P(LinearOfEveryFormCuda, HoldsForTheLargestCodes) {
  const Case& c = GetParam();
  const auto scheme = weight_scheme_from_name(c.scheme);
  if (!scheme) GTEST_SKIP() << "no codes";
  const auto backend = make_cuda_backend();
  const int64_t n = 24, k = shapes(c.scheme)[1].k;
  const float limit = c.input.type == DType::kI8 ? float(c.input.code_max) : 448.0f;
  const float lowest = c.input.type == DType::kI8 ? -limit - 1 : -limit;
  for (const int code : {lowest_code(*scheme), highest_code(*scheme)})
    for (const float x_code : {lowest, limit}) {
      const WeightCase w = quantized_weight(
          n, k, *scheme, DType::kF32, [&](int64_t, int64_t) { return code; },
          [](int64_t, int64_t) { return 0.25f; });
      Runner runner(*backend, w);
      for (const int64_t m : {2, 33}) {
        const InputCase x = input_of(c.input, m, k, [&](int64_t, int64_t) { return x_code; });
        const std::vector<float> y = runner.run<float>(x);
        for (size_t i = 0; i < y.size(); ++i) {
          const Expected e =
              expected(w, x, int64_t(i) / n, int64_t(i) % n, has_integer_products(c));
          ASSERT_NEAR(y[i], e.value, e.bound) << code << " times " << x_code << " at " << i;
        }
      }
    }
}

TEST_P(LinearOfEveryFormCuda, GivesARowTheSameBitsAloneAmongOthersAndChosen) {
  const Case& c = GetParam();
  const auto backend = make_cuda_backend();
  const auto [n, k] = shapes(c.scheme)[1];
  const WeightCase w = random_weight(n, k, c.scheme, DType::kBF16);
  Runner runner(*backend, w);
  const InputCase all = random_input(c.input, 70, k);
  const std::vector<float> together = runner.run<float>(all);
  const auto expect_rows = [&](const std::vector<int32_t>& rows) {
    const std::vector<float> y = runner.run<float>(all, rows);
    for (size_t i = 0; i < rows.size(); ++i)
      for (int64_t column = 0; column < n; ++column)
        ASSERT_EQ(y[i * size_t(n) + size_t(column)], together[size_t(rows[i] * n + column)])
            << rows.size() << " rows, row " << rows[i] << ", column " << column;
  };
  expect_rows({69});
  expect_rows({5, 2, 69, 0, 5});
  std::vector<int32_t> many;
  for (int32_t i = 0; i < 100; ++i) many.push_back(i * 37 % 70);
  expect_rows(many);
}

TEST_P(LinearOfEveryFormCuda, RoundsOnceToItsOutputAfterBiasAndResidual) {
  const Case& c = GetParam();
  const auto backend = make_cuda_backend();
  const auto [n, k] = shapes(c.scheme)[0];
  const WeightCase w = random_weight(n, k, c.scheme, DType::kBF16);
  Runner runner(*backend, w);
  const std::vector<float> bias = test::normal_floats(size_t(n), 5);
  // Where e4m3 inputs meet a kernel of wgmma its own test has its bound.
  const bool wgmma = c.input.type == DType::kF8E4M3 && !c.input.grouped;
  for (const int64_t m : {5, 40}) {
    const InputCase x = random_input(c.input, m, k);
    std::vector<float> residual;  // exact in every type
    for (const float r : test::normal_floats(size_t(m * n), 6))
      residual.push_back(std::round(r * 16) / 16);
    const auto expect = [&](const std::vector<float>& y, int bits) {
      for (size_t i = 0; i < y.size(); ++i) {
        Expected e = expected(w, x, int64_t(i) / n, int64_t(i) % n, has_integer_products(c));
        const double others = double(bias[i % size_t(n)]) + double(residual[i]);
        e.value += others;
        e.bound += test::float_sum(std::abs(e.value) + std::abs(others) + 8, 4);
        if (bits == 11 && std::abs(e.value) > 65000) continue;
        if (bits < 24) e.bound += test::rounding(e.value, bits) + (bits == 11 ? 0x1p-24 : 0);
        ASSERT_NEAR(y[i], e.value, e.bound) << bits << " bits, " << m << " rows, at " << i;
      }
    };
    expect(runner.run<float>(x, {}, bias, residual), 24);
    if (wgmma) continue;
    expect(runner.run<bf16>(x, {}, bias, residual), 8);
    expect(runner.run<fp16>(x, {}, bias, residual), 11);
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const char* scheme :
       {"bf16", "int2-g64", "int3-g128", "int4-g32", "int4-g128", "int4-channel", "int4-g128-asym",
        "int5-g128", "int6-g128", "int6-channel", "int7-g64", "int8-g128", "int8-g32",
        "int8-channel", "lut4-g64", "lut4-g128", "lut4-channel", "lut4-g128-e4m3", "lut4-g32-e4m3",
        "int4-g128-e4m3", "int4-g64-e4m3", "fp6e2m3-g128", "fp6e2m3-g32", "fp6e2m3-channel",
        "fp8e4m3-channel", "fp8e4m3-g128", "fp8e4m3-g64",
        // Groups that end inside a step or a tile.
        "int8-g96", "int6-g24", "int4-g12", "int4-g20-asym", "lut4-g40", "lut4-g16-e4m3",
        "fp8e4m3-g8", "fp6e2m3-g4"})
    for (const InputKind& input : kInputs) all.push_back({scheme, input});
  return all;
}

// Every kernel.
bool sanitized(const Case& c) {
  for (const char* scheme : {"bf16", "int4-g32", "int4-channel", "lut4-g64", "lut4-g32-e4m3",
                             "int4-g64-e4m3", "fp8e4m3-g64", "int8-g96", "int6-g24"})
    if (c.scheme == scheme) return c.input.name == "bf16" || c.input.name == "int8_group";
  return false;
}

std::string name_of(const testing::TestParamInfo<Case>& p) {
  std::string name = "cuda_" + p.param.scheme + "_" + p.param.input.name;
  std::ranges::replace(name, '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Forms, LinearOfEveryFormCuda,
                         testing::ValuesIn(test::where_not(cases(), sanitized)), name_of);
INSTANTIATE_TEST_SUITE_P(FormsSanitized, LinearOfEveryFormCuda,
                         testing::ValuesIn(test::where(cases(), sanitized)), name_of);

TEST(LinearOfEveryFormCudaLarge, IsWhatTheNaiveKernelComputes) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto fast = make_cuda_backend(), naive = make_cuda_backend(CudaKernels::kNaive);
  for (const char* scheme : {"int6-g128", "int8-channel", "int4-g128", "lut4-g128", "bf16"}) {
    const WeightCase w = random_weight(1000, 4096, scheme, DType::kBF16);
    Runner runner(*fast, w), reference(*naive, w);
    for (const InputKind& kind : {kInputs[0], kInputs[3], kInputs[4]})
      for (const int64_t m : {1, 16, 300}) {
        const InputCase x = random_input(kind, m, 4096);
        const std::vector<float> y = runner.run<float>(x), exact = reference.run<float>(x);
        double error = 0, power = 0;
        for (size_t i = 0; i < y.size(); ++i) {
          error += std::pow(double(y[i]) - double(exact[i]), 2);
          power += std::pow(double(exact[i]), 2);
        }
        // A library's product of BF16 may cut its sum at each of 256 additions of 16 products.
        const double bound = std::string_view(scheme) == "bf16" && m > 8 ? 256 * 0x1p-24 : 0x1p-18;
        EXPECT_LT(std::sqrt(error / power), bound) << scheme << " " << kind.name << " " << m;
      }
  }
}

TEST(LinearOfEveryFormCudaChecks, RefuseWhatNoKernelTakes) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = make_cuda_backend();
  const WeightScheme scheme = *weight_scheme_from_name("int6-channel");
  const auto zero = [](int64_t, int64_t) { return 0; };
  const auto one = [](int64_t, int64_t) { return 1.0f; };
  EXPECT_REFUSED(
      backend->prepare(quantized_weight(4, 12, scheme, DType::kF32, zero, one).quantized),
      "multiples of 8 inputs, not int6-channel of [4, 12]");
  const Weight weight =
      backend->prepare(quantized_weight(4, 16, scheme, DType::kF32, zero, one).quantized);
  const Buffer memory(*backend, 1024);
  const Activations x{DType::kF32, memory.as<void>(), nullptr, 1, 16},
      out{DType::kF32, memory.as<void>(), nullptr, 1, 4};
  EXPECT_TRUE(
      contains(error_of([&] { backend->run(Linear{.x = x, .weight = &weight, .out = out}); }),
               "linear of F32 inputs"));
}

}  // namespace
}  // namespace emberq::linear_general_cuda_test
