// Several weights as one: the same as one weight that has their rows.
#include <gtest/gtest.h>

#include <random>

#include "format/fp16.h"
#include "support/backends.h"
#include "support/own_type.h"
#include "support/quantized_weight.h"
#include "support/random.h"
#include "tensor/join_rows.h"

namespace emberq::prepare_joined_test {
namespace {

// Wide enough for each part to be uploaded in several pieces.
constexpr int64_t kInputs = 1024;

Tensor plain(DType type, int64_t rows, uint64_t seed) {
  const std::vector<float> values = test::normal_floats(size_t(rows * kInputs), seed);
  if (type == DType::kF32) return Tensor::of({rows, kInputs}, values);
  std::vector<uint16_t> bits;
  for (const float x : values)
    bits.push_back(type == DType::kF16 ? fp16::from_float(x).bits : bf16::from_float(x).bits);
  return Tensor::copy_of(type, {rows, kInputs}, std::span<const uint16_t>(bits));
}

QuantizedWeight codes(const std::string& scheme, int64_t rows, uint64_t seed) {
  std::mt19937_64 random(seed);
  const WeightScheme of = *weight_scheme_from_name(scheme);
  return test::assemble(rows, kInputs, of,
                        {.code = [&](int64_t, int64_t) { return int(random() % (1u << of.bits)); },
                         .scale = [&](int64_t, int64_t) { return float(1 + random() % 16) / 64; },
                         .zero_point = [&](int64_t, int64_t) { return int8_t(random() % 8); },
                         .scale_type = DType::kBF16});
}

// W x of one weight, for some x.
std::vector<float> product(Backend& backend, const Weight& weight) {
  const Buffer x = test::upload_own(backend, test::normal_floats(2 * kInputs, 5)),
               out = test::upload_own(backend, std::vector<float>(size_t(2 * weight.n), NAN));
  backend.run(Linear{.x = test::own(backend, x, 2, kInputs),
                     .weight = &weight,
                     .out = test::own(backend, out, 2, weight.n)});
  return test::download_own(backend, out, size_t(2 * weight.n));
}

class PrepareJoined : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    backend_ = test::make_backend(GetParam());
    if (!backend_) GTEST_SKIP() << "no CUDA device";
  }
  template <class Parts>
  void expect_one_weight(const Parts& parts, int64_t block) {
    const Weight joined = backend_->prepare_joined(parts, block),
                 whole = backend_->prepare(join_rows(parts, block));
    EXPECT_EQ(joined.n, whole.n);
    EXPECT_EQ(joined.k, whole.k);
    EXPECT_EQ(joined.bytes, whole.bytes);
    EXPECT_EQ(product(*backend_, joined), product(*backend_, whole));
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(PrepareJoined, OfPlainWeightsIsAWeightOfTheirRows) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    const std::vector<Tensor> same = {plain(type, 768, 1), plain(type, 768, 2)},
                              others = {plain(type, 512, 3), plain(type, 40, 4),
                                        plain(type, 96, 5)};
    expect_one_weight(std::span(same), 8);
    expect_one_weight(std::span(others), 0);
  }
}

TEST_P(PrepareJoined, OfCodesIsAWeightOfTheirRows) {
  for (const char* scheme : {"lut4-g128", "fp6e2m3-g128", "int4-g128-asym", "int8-channel"}) {
    const std::vector<QuantizedWeight> same = {codes(scheme, 768, 1), codes(scheme, 768, 2)},
                                       others = {codes(scheme, 512, 3), codes(scheme, 40, 4),
                                                 codes(scheme, 96, 5)};
    expect_one_weight(std::span(same), 8);
    expect_one_weight(std::span(others), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, PrepareJoined, testing::Values("cpu", "cuda", "cuda-naive"),
                         [](const auto& test) {
                           return test.param == "cuda-naive" ? "cuda_naive" : test.param;
                         });

}  // namespace
}  // namespace emberq::prepare_joined_test
