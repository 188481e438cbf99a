// Operations on rows: the definition in double against the CPU backend.
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "format/scale.h"
#include "support/buffers.h"
#include "support/random.h"

namespace emberq {
namespace {

class Rows : public testing::Test {
 protected:
  const std::unique_ptr<Backend> backend_ = make_cpu_backend();
};

TEST_F(Rows, SiluMulMatchesTheDefinition) {
  const int64_t rows = 3, dim = 100;
  std::vector<float> gate = test::normal_floats(size_t(rows * dim), 1, 4);
  const std::vector<float> up = test::normal_floats(size_t(rows * dim), 2);
  gate[0] = 0, gate[1] = -0.0f, gate[2] = 200, gate[3] = -200, gate[4] = 88, gate[5] = -88;
  const Buffer g = test::to_backend(*backend_, gate), u = test::to_backend(*backend_, up);
  backend_->run(SiluMul{.gate = test::plain(g, rows, dim),
                        .up = test::plain(u, rows, dim),
                        .out = test::plain(g, rows, dim)});
  const auto out = test::to_host<float>(*backend_, g.as<void>(), gate.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const double exact = double(gate[i]) / (1 + std::exp(-double(gate[i]))) * double(up[i]);
    EXPECT_NEAR(out[i], exact, 6 * 0x1p-23 * std::abs(exact) + 1e-30) << gate[i];
  }
}

TEST_F(Rows, AreQuantizedByTheirOwnLargestMagnitude) {
  std::vector<float> x = {1, -448, 3, 0.1f, 0, 0, 0, 0, 1e-30f, -2e-30f, 1e-33f, 0};
  const Buffer in = test::to_backend(*backend_, x), codes(*backend_, 12), scale(*backend_, 12);
  backend_->run(
      QuantizeRows{.x = test::plain(in, 3, 4), .out = test::quantized(codes, scale, 3, 4)});
  const auto q = test::to_host<uint8_t>(*backend_, codes.as<void>(), 12);
  const auto s = test::to_host<float>(*backend_, scale.as<void>(), 3);
  EXPECT_EQ(s, (std::vector<float>{1.0f, 1.0f, 2e-30f / 448}));
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(q[i], fp8_encode(x[i] / s[i / 4])) << i;
  EXPECT_EQ(fp8_decode(q[9]), -448);
}

TEST_F(Rows, OfAFusedOperationAreQuantizedAsIfApart) {
  const int64_t rows = 5, dim = 64;
  const Buffer gate = test::to_backend(*backend_, test::normal_floats(size_t(rows * dim), 1));
  const Buffer up = test::to_backend(*backend_, test::normal_floats(size_t(rows * dim), 2));
  const size_t n = size_t(rows * dim);
  const Buffer plain(*backend_, n * 4), codes(*backend_, n), scale(*backend_, n),
      codes2(*backend_, n), scale2(*backend_, n);
  const SiluMul op{.gate = test::plain(gate, rows, dim),
                   .up = test::plain(up, rows, dim),
                   .out = test::plain(plain, rows, dim)};
  SiluMul fused = op;
  fused.out = test::quantized(codes, scale, rows, dim);
  backend_->run(op);
  backend_->run(fused);
  backend_->run(QuantizeRows{.x = op.out, .out = test::quantized(codes2, scale2, rows, dim)});
  EXPECT_EQ(test::to_host<uint8_t>(*backend_, codes.as<void>(), n),
            test::to_host<uint8_t>(*backend_, codes2.as<void>(), n));
  EXPECT_EQ(test::to_host<float>(*backend_, scale.as<void>(), size_t(rows)),
            test::to_host<float>(*backend_, scale2.as<void>(), size_t(rows)));
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
}  // namespace emberq
