// Operations on rows: the definition in double against the CPU backend.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/error.h"
#include "format/scale.h"
#include "support/buffers.h"
#include "support/random.h"
#include "support/refusal.h"
#include "support/tolerance.h"

namespace emberq::elementwise_test {
namespace {

class Rows : public testing::Test {
 protected:
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(Rows, AreQuantizedByTheirOwnLargestMagnitude) {
  std::vector<float> x = {1, -448, 3, 0.1f, 0, 0, 0, 0, 1e-30f, -2e-30f, 1e-33f, 0};
  const Buffer in = test::to_backend(*backend_, x), codes(*backend_, 12), scale(*backend_, 12);
  backend_->run(
      PerTokenQuantize{.x = test::plain(in, 3, 4), .out = test::quantized(codes, scale, 3, 4)});
  const auto q = test::to_host<uint8_t>(*backend_, codes.as<void>(), 12);
  const auto s = test::to_host<float>(*backend_, scale.as<void>(), 3);
  EXPECT_EQ(s, (std::vector<float>{1.0f, 1.0f, 2e-30f / 448}));
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(q[i], fp8_encode(x[i] / s[i / 4])) << i;
  EXPECT_EQ(fp8_decode(q[9]), -448);
}

// Groups that break things, then random ones.
std::vector<float> rows_for_int8(int64_t rows, int64_t dim, int64_t group) {
  std::vector<float> x = test::normal_floats(size_t(rows * dim), 4);
  const auto fill = [&](int64_t g, const auto& value) {
    for (int64_t c = 0; c < group && g * group + c < rows * dim; ++c)
      x[size_t(g * group + c)] = value(c);
  };
  fill(1, [](int64_t) { return 0.0f; });
  fill(2, [](int64_t c) { return c == 0 ? -1000.0f : 0.01f; });
  fill(3, [](int64_t) { return -3.0f; });
  fill(4, [](int64_t c) { return c % 2 ? 3e38f : -3e38f; });
  fill(5, [](int64_t c) { return c % 2 ? 1e-44f : -1e-45f; });  // its scale would be zero
  fill(6, [](int64_t c) { return float(c) * 1e-36f; });
  return x;
}

TEST_F(Rows, AreQuantizedToIntegersByTheLargestMagnitudeOfARowOrGroup) {
  struct Form {
    int64_t rows, dim, group;
    int code_max;
  };
  for (const auto& [rows, dim, group, code_max] :
       {Form{1, 1, 0, 127}, Form{9, 37, 0, 127}, Form{9, 37, 0, 31}, Form{3, 384, 128, 127},
        Form{5, 384, 128, 31}, Form{3, 35, 7, 127}, Form{8, 3, 1, 31}}) {
    const int64_t size = group ? group : dim;
    const size_t n = size_t(rows * dim);
    const std::vector<float> x = rows_for_int8(rows, dim, size);
    // Poisoned: every code and scale must be written.
    const Buffer in = test::to_backend(*backend_, x),
                 codes = test::to_backend(*backend_, std::vector<uint8_t>(n, 0x80)),
                 scale = test::to_backend(*backend_, std::vector<float>(n, NAN));
    backend_->run(PerTokenQuantize{.x = test::plain(in, rows, dim),
                                   .out = test::int8(codes, scale, rows, dim, group, code_max)});
    const auto q = test::to_host<int8_t>(*backend_, codes.as<void>(), n);
    const auto s = test::to_host<float>(*backend_, scale.as<void>(), n / size_t(size));
    for (size_t g = 0; g < s.size(); ++g) {
      double absmax = 0;
      for (size_t i = g * size_t(size); i < (g + 1) * size_t(size); ++i)
        absmax = std::max(absmax, std::abs(double(x[i])));
      const double step = absmax > 1e-43 ? absmax / code_max : 1;
      ASSERT_NEAR(s[g], step, test::rounding(step, 24)) << "group " << g;
      for (size_t i = g * size_t(size); i < (g + 1) * size_t(size); ++i) {
        ASSERT_LE(std::abs(q[i]), code_max) << x[i];
        ASSERT_NEAR(q[i], double(x[i]) / step, 0.5 + code_max * 0x1p-22) << x[i];
      }
    }
  }
}

TEST_F(Rows, OfAFusedOperationAreQuantizedAsIfApart) {
  const int64_t rows = 5, dim = 64;
  const size_t n = size_t(rows * dim);
  const Buffer gate = test::to_backend(*backend_, test::normal_floats(n, 1)),
               up = test::to_backend(*backend_, test::normal_floats(n, 2)), plain(*backend_, n * 4);
  const auto expect_same = [&](auto op, const Activations& form) {
    const Buffer codes(*backend_, n), scale(*backend_, n * 4), codes2(*backend_, n),
        scale2(*backend_, n * 4);
    const auto in = [&](const Buffer& code_memory, const Buffer& scale_memory) {
      Activations out = form;
      out.data = code_memory.as<void>(), out.scale = scale_memory.as<float>();
      return out;
    };
    op.out = test::plain(plain, rows, dim);
    backend_->run(op);
    backend_->run(PerTokenQuantize{.x = op.out, .out = in(codes2, scale2)});
    op.out = in(codes, scale);
    backend_->run(op);
    const size_t scales = size_t(rows * form.scales_per_row());
    EXPECT_EQ(test::to_host<uint8_t>(*backend_, codes.as<void>(), n),
              test::to_host<uint8_t>(*backend_, codes2.as<void>(), n));
    EXPECT_EQ(test::to_host<float>(*backend_, scale.as<void>(), scales),
              test::to_host<float>(*backend_, scale2.as<void>(), scales));
  };
  for (const Activations& form :
       {test::quantized(plain, plain, rows, dim), test::int8(plain, plain, rows, dim),
        test::int8(plain, plain, rows, dim, 16), test::int8(plain, plain, rows, dim, 32, 31)}) {
    expect_same(SiluAndMul{.gate = test::plain(gate, rows, dim), .up = test::plain(up, rows, dim)},
                form);
    expect_same(
        SiluAndMul{
            .gate = test::plain(gate, rows, dim), .up = test::plain(up, rows, dim), .hadamard = 32},
        form);
    expect_same(RmsNorm{.x = test::plain(gate, rows, dim), .weight = up.as<float>()}, form);
  }
}

TEST_F(Rows, SiluAndMulTransformsItsBlocksByHadamardsMatrix) {
  const int64_t rows = 3, dim = 96;
  const std::vector<float> gate = test::normal_floats(size_t(rows * dim), 1, 4),
                           up = test::normal_floats(size_t(rows * dim), 2);
  const Buffer g = test::to_backend(*backend_, gate), u = test::to_backend(*backend_, up),
               out_memory(*backend_, gate.size() * 4);
  for (const int64_t block : {1, 2, 8, 32}) {
    backend_->run(SiluAndMul{.gate = test::plain(g, rows, dim),
                             .up = test::plain(u, rows, dim),
                             .out = test::plain(out_memory, rows, dim),
                             .hadamard = block});
    const auto out = test::to_host<float>(*backend_, out_memory.as<void>(), gate.size());
    for (size_t i = 0; i < out.size(); ++i) {
      const size_t size = size_t(block), first = i / size * size;
      double exact = 0, magnitude = 0;
      for (size_t j = first; j < first + size; ++j) {
        const double y = double(gate[j]) / (1 + std::exp(-double(gate[j]))) * double(up[j]);
        const double entry =
            (std::popcount((i - first) & (j - first)) % 2 ? -1 : 1) / std::sqrt(double(size));
        exact += entry * y, magnitude += std::abs(entry * y);
      }
      // Twelve roundings for y (6 * 2^-23, above), log2(block) sums, and the root with its product.
      const int depth = 12 + int(std::bit_width(size)) + 2;
      ASSERT_NEAR(out[i], exact, test::float_sum(magnitude, depth)) << i << " of " << block;
    }
  }
}

TEST_F(Rows, InGroupsThatDoNotDivideThemAreRefused) {
  const Activations x{DType::kF32, nullptr, nullptr, 2, 100};
  const auto message = [](const auto& op) { return error_of([&] { check(op); }); };
  Activations groups{DType::kI8, nullptr, nullptr, 2, 100, 128};
  EXPECT_TRUE(contains(message(PerTokenQuantize{.x = x, .out = groups}),
                       "per_token_quantize: I8 rows of 100 in groups of 128"));
  EXPECT_TRUE(contains(message(SiluAndMul{.gate = x, .up = x, .out = groups}), "groups of 128"));
  groups.group = 50, groups.code_max = 15;
  EXPECT_TRUE(contains(message(PerTokenQuantize{.x = x, .out = groups}),
                       "per_token_quantize: I8 codes of up to 15, neither 31 nor 127"));
  for (const int64_t block : {8, 3, -4})
    EXPECT_TRUE(contains(message(SiluAndMul{.gate = x, .up = x, .out = x, .hadamard = block}),
                         "a Hadamard transform of " + std::to_string(block) + " in rows of 100"));
  EXPECT_EQ(message(SiluAndMul{.gate = x, .up = x, .out = x, .hadamard = 4}), "");
}

TEST_F(Rows, OfATableAreCopiedById) {
  const Weight table = backend_->prepare(Tensor::of({3, 2}, std::vector<float>{1, 2, 3, 4, 5, 6}));
  const Buffer ids = test::to_backend(*backend_, std::vector<int32_t>{2, 0, 2}), out(*backend_, 24);
  backend_->run(Embed{.table = &table, .ids = ids.as<int32_t>(), .out = test::plain(out, 3, 2)});
  EXPECT_EQ(test::to_host<float>(*backend_, out.as<void>(), 6),
            (std::vector<float>{5, 6, 1, 2, 5, 6}));
}

TEST_F(Rows, CrossEntropyMatchesTheDefinition) {
  const int64_t rows = 4, vocab = 3000;
  std::vector<float> logits = test::normal_floats(size_t(rows * vocab), 3, 5);
  for (int64_t c = 0; c < vocab; ++c) logits[size_t(vocab + c)] = 1e4f;       // all equal and large
  for (int64_t c = 0; c < vocab; ++c) logits[size_t(2 * vocab + c)] = -1e4f;  // one takes all
  logits[size_t(2 * vocab + 7)] = 1e4f;
  const std::vector<int32_t> targets = {5, 2999, 7, 0};
  const Buffer in = test::to_backend(*backend_, logits), ids = test::to_backend(*backend_, targets),
               nll(*backend_, 16);
  backend_->run(CrossEntropy{.logits = test::plain(in, rows, vocab),
                             .targets = ids.as<int32_t>(),
                             .nll = nll.as<float>()});
  const auto out = test::to_host<float>(*backend_, nll.as<void>(), 4);
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = logits.data() + r * vocab;
    const double largest = double(*std::max_element(row, row + vocab));
    double sum = 0;
    for (int64_t c = 0; c < vocab; ++c) sum += std::exp(double(row[c]) - largest);
    const double exact = std::log(sum) + largest - double(row[targets[size_t(r)]]);
    EXPECT_NEAR(out[size_t(r)], exact, 1e-6 * std::abs(exact) + 1e-6) << r;
  }
}

TEST(Backend, RefusesByNameWhatItHasNoKernelFor) {
  class Bare final : public Backend {
   public:
    std::string_view name() const override { return "bare"; }
    DType activation_type() const override { return DType::kF32; }
    void* allocate(size_t) override { return nullptr; }
    void release(void*) override {}
    void upload(void*, const void*, size_t) override {}
    void download(void*, const void*, size_t) override {}
    void copy(void*, const void*, size_t) override {}
    void synchronize() override {}
    Weight prepare(const Tensor&) override { return {}; }
    Weight prepare(const QuantizedWeight&) override { return {}; }
  } bare;
  try {
    static_cast<Backend&>(bare).run(Linear{});
    FAIL() << "ran";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "the bare backend has no linear operation");
  }
}

}  // namespace
}  // namespace emberq::elementwise_test
