#include "ops/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/fp16.h"
#include "format/pack.h"
#include "format/scale.h"
#include "ops/cpu/cpu_weight.h"
#include "support/buffers.h"
#include "support/random.h"

namespace emberq::linear_test {
namespace {

// Weights of [n, k] in codes, with their values by the definition in tensor/quantized_weight.h.
struct Int4Case {
  QuantizedWeight weight;
  std::vector<double> values;
};

Int4Case make_int4(int64_t n, int64_t k, const WeightScheme& scheme, float p) {
  Int4Case result{.weight = {.scheme = scheme, .n = n, .k = k, .global_scale = p}};
  const int64_t groups = k / scheme.group_size;
  std::mt19937_64 random(size_t(n * k));
  std::vector<uint32_t> packed(size_t(n * k / 8));
  std::vector<bf16> scales;
  for (int64_t g = 0; g < n * groups; ++g) {
    // e4m3 scales from the smallest subnormal up, in no order.
    const E4m3Scale s{uint8_t(1 + random() % 0x50)};
    scales.push_back(bf16::from_float(s.value() / p));
    for (int64_t i = 0; i < scheme.group_size; ++i) {
      const int q = int(random() % 16) - 8;
      const int64_t at = g * scheme.group_size + i;
      pack_code(packed.data() + at / k * k / 8, size_t(at % k), 4, q);
      const double product = double(q) * double(s.value());
      result.values.push_back(scheme.dequant == Dequant::kE4m3
                                  ? double(fp8_round(product)) / double(p)
                                  : product / double(p));
    }
  }
  result.weight.packed =
      Tensor::copy_of(DType::kI32, {n, k / 8}, std::span<const uint32_t>(packed));
  result.weight.scale = Tensor::copy_of(DType::kBF16, {n, groups}, std::span<const bf16>(scales));
  return result;
}

enum class Input { kFloat, kFp8, kInt8, kInt8Groups };

// x of [m, k] as an input has it, and the values that it stands for.
struct Operand {
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  std::vector<double> values;
};

Operand make_operand(const std::vector<float>& x, int64_t m, int64_t k, Input input) {
  Operand operand;
  const int64_t groups = input == Input::kInt8Groups ? 4 : 1;
  for (int64_t i = 0; i < m * groups; ++i) operand.scales.push_back(0.01f * float(i + 1));
  for (size_t i = 0; i < x.size(); ++i) {
    const double scale = double(operand.scales[i / size_t(k / groups)]);
    const int code = int(std::clamp(std::round(x[i] * 40), -128.0f, 127.0f));
    const bool fp8 = input == Input::kFp8;
    operand.codes.push_back(fp8 ? fp8_encode(x[i] * 30) : uint8_t(int8_t(code)));
    operand.values.push_back(input == Input::kFloat ? double(x[i])
                             : fp8                  ? double(fp8_decode(operand.codes[i])) * scale
                                                    : code * scale);
  }
  return operand;
}

// The linear's output against the definition in double: |error| <= 8 float roundings of the sum of
// the magnitudes (sums of up to 384 terms in lanes of 8), which no order of the additions exceeds,
// and one for a product of code and scale.
void expect_linear(Backend& backend, const Weight& weight, const std::vector<double>& w, int64_t m,
                   Input input, bool with_bias) {
  const int64_t n = weight.n, k = weight.k;
  const std::vector<float> x = test::normal_floats(size_t(m * k), 1),
                           bias = test::normal_floats(size_t(n), 2),
                           residual = test::normal_floats(size_t(m * n), 3);
  const auto [codes, scales, x_values] = make_operand(x, m, k, input);
  const Buffer x_device = test::to_backend(backend, x),
               codes_device = test::to_backend(backend, codes),
               scale_device = test::to_backend(backend, scales),
               bias_device = test::to_backend(backend, bias),
               out = test::to_backend(backend, residual);
  Linear op{.x = input == Input::kFloat ? test::plain(x_device, m, k)
                 : input == Input::kFp8 ? test::quantized(codes_device, scale_device, m, k)
                                        : test::int8(codes_device, scale_device, m, k,
                                                     input == Input::kInt8Groups ? k / 4 : 0),
            .weight = &weight,
            .out = test::plain(out, m, n)};
  if (with_bias) op.bias = bias_device.as<float>(), op.residual = op.out;
  backend.run(op);
  const auto y = test::to_host<float>(backend, out.as<void>(), size_t(m * n));
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) {
      double sum = 0, magnitude = 0;
      for (int64_t i = 0; i < k; ++i) {
        const double term = x_values[size_t(r * k + i)] * w[size_t(c * k + i)];
        sum += term, magnitude += std::abs(term);
      }
      if (with_bias) {
        sum += double(bias[size_t(c)]) + double(residual[size_t(r * n + c)]);
        magnitude +=
            std::abs(double(bias[size_t(c)])) + std::abs(double(residual[size_t(r * n + c)]));
      }
      ASSERT_NEAR(y[size_t(r * n + c)], sum, 9 * 0x1p-23 * magnitude) << r << ", " << c;
    }
}

class LinearTest : public testing::TestWithParam<int64_t> {
 protected:
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_P(LinearTest, OfFloatWeightsMatchesTheDefinitionInDouble) {
  const int64_t n = 37, k = 200;
  const std::vector<float> w = test::normal_floats(size_t(n * k), 4);
  const Weight weight = backend_->prepare(Tensor::of({n, k}, w));
  expect_linear(*backend_, weight, {w.begin(), w.end()}, GetParam(), Input::kFloat, true);
}

TEST_P(LinearTest, OfHalfPrecisionWeightsMatchesTheDefinitionInDouble) {
  const int64_t n = 19, k = 72;
  const std::vector<float> w = test::normal_floats(size_t(n * k), 5);
  std::vector<bf16> b;
  std::vector<fp16> h;
  std::vector<double> b_values, h_values;
  for (const float x : w) {
    b.push_back(bf16::from_float(x)), b_values.push_back(double(b.back().to_float()));
    h.push_back(fp16::from_float(x)), h_values.push_back(double(h.back().to_float()));
  }
  const auto tensor_b = Tensor::copy_of(DType::kBF16, {n, k}, std::span<const bf16>(b));
  const auto tensor_h = Tensor::copy_of(DType::kF16, {n, k}, std::span<const fp16>(h));
  expect_linear(*backend_, backend_->prepare(tensor_b), b_values, GetParam(), Input::kFloat, false);
  expect_linear(*backend_, backend_->prepare(tensor_h), h_values, GetParam(), Input::kFp8, true);
  for (const Input input : {Input::kInt8, Input::kInt8Groups})
    for (const bool with_bias : {false, true})
      expect_linear(*backend_, backend_->prepare(tensor_b), b_values, GetParam(), input, with_bias);
}

TEST_P(LinearTest, OfInt4WeightsMatchesTheDefinitionInDouble) {
  for (const int group : {32, 64, 128})
    for (const Dequant product : {Dequant::kExact, Dequant::kE4m3})
      for (const float p : {1.0f, 64.0f}) {
        const Int4Case c = make_int4(21, 384, {4, group, product}, p);
        expect_linear(*backend_, backend_->prepare(c.weight), c.values, GetParam(), Input::kFp8,
                      true);
        expect_linear(*backend_, backend_->prepare(c.weight), c.values, GetParam(),
                      Input::kInt8Groups, true);
      }
}

// The rows 5, 2, 6, 3 ... of seven give what an input gives that holds only these.
TEST_P(LinearTest, OfChosenRowsIsThatOfTheseRowsAlone) {
  const int64_t m = GetParam(), all = 7, n = 21, k = 384;
  const Int4Case c = make_int4(n, k, {4, 128, Dequant::kE4m3}, 64.0f);
  const Weight weight = backend_->prepare(c.weight);
  std::vector<int32_t> rows;
  for (int64_t i = 0; i < m; ++i) rows.push_back(int32_t((5 + 4 * i) % all));
  const std::vector<float> x = test::normal_floats(size_t(all * k), 1);
  const auto gathered = [&](const auto& from) {
    auto to = from;
    to.clear();
    const auto width = std::ptrdiff_t(from.size()) / all;
    for (const int32_t row : rows)
      to.insert(to.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
    return to;
  };
  const Buffer chosen = test::to_backend(*backend_, rows);
  for (const Input input : {Input::kFloat, Input::kFp8, Input::kInt8, Input::kInt8Groups}) {
    const Operand operand = make_operand(x, all, k, input);
    const auto product = [&](int64_t count, const auto& values, const auto& codes,
                             const auto& scales, const int32_t* picked) {
      const Buffer f = test::to_backend(*backend_, values), q = test::to_backend(*backend_, codes),
                   s = test::to_backend(*backend_, scales),
                   out = test::to_backend(*backend_, std::vector<float>(size_t(m * n), NAN));
      backend_->run(
          Linear{.x = input == Input::kFloat ? test::plain(f, count, k)
                      : input == Input::kFp8
                          ? test::quantized(q, s, count, k)
                          : test::int8(q, s, count, k, input == Input::kInt8Groups ? k / 4 : 0),
                 .weight = &weight,
                 .rows = picked,
                 .out = test::plain(out, m, n)});
      return test::to_host<float>(*backend_, out.as<void>(), size_t(m * n));
    };
    EXPECT_EQ(product(all, x, operand.codes, operand.scales, chosen.as<int32_t>()),
              product(m, gathered(x), gathered(operand.codes), gathered(operand.scales), nullptr));
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, LinearTest, testing::Values(1, 3, 4, 5, 70),
                         [](const auto& p) { return "cpu_" + std::to_string(p.param); });

TEST(Int4Dot, InVectorInstructionsIsThePlainOne) {
  std::mt19937_64 random(1);
  for (const int64_t codes : {8, 24, 32, 40, 128, 136}) {
    std::vector<uint8_t> packed(size_t(codes / 2));
    for (uint8_t& byte : packed) byte = uint8_t(random());
    const std::vector<float> x = test::normal_floats(size_t(codes), 9);
    cpu::Int4Weight::Table table;
    for (uint8_t& entry : table)  // any e4m3 number but NaN, subnormals included
      do entry = uint8_t(random());
      while ((entry & 0x7f) == 0x7f);
    double exact = 0, magnitude = 0;
    for (int64_t i = 0; i < codes; ++i) {
      const int nibble = packed[size_t(i / 2)] >> (i % 2 * 4) & 15;
      const double term = double(x[size_t(i)]) * double(fp8_decode(table[size_t(nibble)]));
      exact += term, magnitude += std::abs(term);
    }
    EXPECT_NEAR(cpu::dot_int4_group(packed.data(), codes, table, x.data()), exact,
                4e-7 * magnitude);
    EXPECT_NEAR(cpu::dot_int4_group_plain(packed.data(), codes, table, x.data()), exact,
                8e-6 * magnitude);
  }
}

TEST(Linear, GivesTheSameBitsEachTime) {
  const auto backend = make_cpu_backend();
  const Int4Case c = make_int4(300, 256, {4, 128, Dequant::kE4m3}, 1);
  const Weight weight = backend->prepare(c.weight);
  for (const int64_t m : {1, 40}) {
    const Buffer x = test::to_backend(*backend, test::normal_floats(size_t(m * 256), 6));
    std::vector<float> first;
    for (int repeat = 0; repeat < 5; ++repeat) {
      const Buffer out(*backend, size_t(m * 300) * 4);
      backend->run(
          Linear{.x = test::plain(x, m, 256), .weight = &weight, .out = test::plain(out, m, 300)});
      const auto y = test::to_host<float>(*backend, out.as<void>(), size_t(m * 300));
      if (repeat == 0) first = y;
      EXPECT_EQ(y, first);
    }
  }
}

TEST(Linear, NamesTheShapesThatDisagree) {
  const auto backend = make_cpu_backend();
  const Weight weight = backend->prepare(Tensor::of({3, 8}, std::vector<float>(24)));
  try {
    check(Linear{.x = {DType::kF32, nullptr, nullptr, 2, 16},
                 .weight = &weight,
                 .out = {DType::kF32, nullptr, nullptr, 2, 3}});
    FAIL() << "accepted an input of another length";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("x is [2, 16], the weight [3, 8], out [2, 3]"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace emberq::linear_test
