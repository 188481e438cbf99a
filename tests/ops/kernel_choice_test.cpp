// Which kernel runs what: the choices that need no GPU, and what backends say of theirs.
#include "ops/kernel_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "ops/cuda/attention/attention_kernel.h"
#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/pick_general.h"
#include "ops/cuda/rows/row_config.h"
#include "support/backends.h"
#include "support/buffers.h"
#include "support/quantized_weight.h"

namespace emberq::kernel_choice_test {
namespace {

using cuda::AttentionKernel;
using cuda::BatchInvariant;
using cuda::GeneralKernel;
using cuda::OperandFormat;

// Heads, and a sequence with these tokens.
struct AttentionCase {
  int64_t head_dim = 128, kv_heads = 8, group = 4, page_tokens = 64, new_tokens = 1;
  bool invariant = false;

  template <class Result>
  Result of(Result (*function)(const Attention&, bool)) const {
    const std::vector<BatchSequence> sequences = {{new_tokens, 4096}};
    return function(
        {.batch = {.tokens = new_tokens, .on_host = sequences},
         .cache = {.kv_heads = kv_heads, .head_dim = head_dim, .page_tokens = page_tokens},
         .out = {.rows = new_tokens, .dim = kv_heads * group * head_dim}},
        invariant);
  }
  AttentionKernel kernel() const { return of(cuda::attention_kernel); }
  std::string obstacle() const { return of(cuda::attention_obstacle); }
};

TEST(AttentionKernelChoice, IsSplitKvForFewTokensAndPrefillForManyUnlessInvariant) {
  EXPECT_EQ(AttentionCase{}.kernel(), AttentionKernel::kSplitKv);
  EXPECT_EQ(AttentionCase{.new_tokens = 4}.kernel(), AttentionKernel::kSplitKv);
  EXPECT_EQ(AttentionCase{.new_tokens = 5}.kernel(), AttentionKernel::kPrefill);
  EXPECT_EQ((AttentionCase{.new_tokens = 5, .invariant = true}.kernel()),
            AttentionKernel::kSplitKv);
  EXPECT_EQ((AttentionCase{.head_dim = 256, .new_tokens = 99}.kernel()), AttentionKernel::kSplitKv);
}

TEST(AttentionKernelChoice, NamesWhatNoFastKernelTakes) {
  EXPECT_EQ(AttentionCase{}.obstacle(), "");
  const AttentionCase odd_heads{.head_dim = 80};
  EXPECT_EQ(odd_heads.kernel(), AttentionKernel::kNaive);
  EXPECT_EQ(odd_heads.obstacle(), "heads of 80 channels");
  EXPECT_EQ(AttentionCase{.page_tokens = 8}.obstacle(), "pages of 8 tokens");
  EXPECT_EQ((AttentionCase{.group = 32, .invariant = true}.obstacle()),
            "32 query heads for a head of keys");
  EXPECT_EQ(AttentionCase{.group = 32}.obstacle(), "") << "PrefillKernel takes them";
}

TEST(TiledPick, IsSlicesForFewTokensOfSmallWeightsUnlessInvariant) {
  const auto pick = [](int64_t m, int64_t n, int64_t k_tiles,
                       BatchInvariant invariant = BatchInvariant::kNo) {
    return cuda::pick_tiled(m, n, k_tiles, 132, OperandFormat::kLut4, invariant);
  };
  EXPECT_EQ(pick(1, 4096, 32).slice_tokens, 8);
  EXPECT_EQ(pick(9, 4096, 32).slice_tokens, 16);
  EXPECT_EQ(pick(9, 4096, 32).shape().tokens, 16);
  EXPECT_EQ(pick(17, 4096, 32).slice_tokens, 0);
  EXPECT_EQ(pick(1, 28672, 32).slice_tokens, 0);
  EXPECT_EQ(pick(1, 4096, 112).slice_tokens, 0);
  EXPECT_EQ(pick(1, 4096, 32, BatchInvariant::kYes).slice_tokens, 0);
  EXPECT_EQ(pick(64, 28672, 32).shape().tokens, 64);
}

TEST(GeneralPick, IsRaggedWhereAGroupEndsInsideAStep) {
  const auto pick = [](int64_t m, int64_t weight_group, int64_t input_group = 0) {
    return cuda::pick_general({.x = {.dim = 240, .group = input_group}, .out = {.rows = m}},
                              weight_group);
  };
  EXPECT_EQ(pick(16, 240), GeneralKernel::kFewTokens);
  EXPECT_EQ(pick(17, 240), GeneralKernel::kManyTokens);
  EXPECT_EQ(pick(17, 48), GeneralKernel::kRagged);
  EXPECT_EQ(pick(17, 240, 48), GeneralKernel::kRagged);
}

TEST(RowPick, IsTheFirstConfigurationThatHoldsTheRows) {
  using cuda::RowConfig;
  constexpr std::array kConfigs = {
      RowConfig{.threads = 32, .vectors = 1, .min_blocks_per_sm = 1},
      RowConfig{.threads = 64, .vectors = 1, .min_blocks_per_sm = 1, .cluster = 8, .max_rows = 4},
      RowConfig{.threads = 64, .vectors = 1, .min_blocks_per_sm = 1}};
  EXPECT_EQ(cuda::pick_rows(kConfigs, 9, 256), 0u);
  EXPECT_EQ(cuda::pick_rows(kConfigs, 4, 264), 1u);
  EXPECT_EQ(cuda::pick_rows(kConfigs, 5, 264), 2u);
}

struct Case {
  std::string backend;
};
class Kernels : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    backend_ = test::make_backend(GetParam().backend);
    if (!backend_) GTEST_SKIP() << "no CUDA device";
  }
  bool on_gpu() const { return GetParam().backend != "cpu"; }

  // Of a product of m tokens, whose inputs are BF16 or F32, or e4m3 codes. Nothing is read.
  KernelChoice choice(const Weight& weight, int64_t m, bool quantized) {
    const DType own = backend_->activation_type();
    float scale = 1;
    const Linear op{
        .x = {quantized ? DType::kF8E4M3 : own, &scale, quantized ? &scale : nullptr, m, weight.k},
        .weight = &weight,
        .out = {own, &scale, nullptr, m, weight.n}};
    return dynamic_cast<KernelChooser&>(*backend_).choice(&op);
  }
  Weight prepare(std::string_view scheme, int64_t n, int64_t k) {
    return backend_->prepare(
        test::assemble(n, k, *weight_scheme_from_name(scheme),
                       {.code = [](int64_t, int64_t) { return 1; },
                        .scale = [](int64_t, int64_t) { return 0.5f; },
                        .zero_point = [](int64_t, int64_t) { return int8_t(1); },
                        .scale_type = DType::kBF16}));
  }

  std::unique_ptr<Backend> backend_;
};

// Of each code that recipes have, in groups that kernels know and in others.
constexpr std::string_view kSchemes[] = {
    "int4-g128", "int4-g128-e4m3", "int4-g64-asym", "lut4-g128",       "lut4-g128-e4m3",
    "int4-g32",  "fp6e2m3-g128",   "int6-g128",     "fp8e4m3-channel", "int8-channel",
    "int8-g128", "int4-channel",   "int4-g96"};

TEST_P(Kernels, HaveANameForEveryWeightAndInput) {
  for (const std::string_view scheme : kSchemes)
    for (const int64_t m : {1, 16, 64, 2048})
      for (const bool quantized : {false, true}) {
        const KernelChoice chosen = choice(prepare(scheme, 128, 384), m, quantized);
        EXPECT_NE(chosen.kernel, "") << scheme << ", " << m;
        if (on_gpu()) {
          EXPECT_GT(chosen.roof_seconds, 0) << scheme << ", " << m;
        }
        if (chosen.expected_seconds > 0) {
          EXPECT_LT(chosen.roof_seconds, chosen.expected_seconds) << scheme << ", " << m;
        }
      }
}

TEST_P(Kernels, OfAGpuSayWhyTheyAreSlow) {
  if (!on_gpu()) GTEST_SKIP() << "of a GPU";
  for (const char* fast : {"int4-g128", "lut4-g128-e4m3", "fp6e2m3-g128", "fp8e4m3-channel"})
    EXPECT_EQ(choice(prepare(fast, 128, 384), 64, true).why_slow, "") << fast;
  EXPECT_EQ(choice(prepare("int4-g128", 128, 384), 64, false).why_slow, "BF16 inputs");
  EXPECT_NE(choice(prepare("int4-g96", 128, 384), 64, true).why_slow, "");
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  std::string text = info.param.backend;
  std::ranges::replace(text, '-', '_');
  return text;
}
INSTANTIATE_TEST_SUITE_P(
    Backends, Kernels,
    testing::ValuesIn(test::on_backends<Case>({"cpu", "cuda", "cuda-batch-invariant"}, {Case{}})),
    name_of);

}  // namespace
}  // namespace emberq::kernel_choice_test
