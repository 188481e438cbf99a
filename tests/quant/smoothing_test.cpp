// Λ, N and S against what they are for: known factors, and a block whose function stays the same.
#include <gtest/gtest.h>

#include <cmath>

#include "quant/transform/channel_scale.h"
#include "quant/transform/rope_scale.h"
#include "support/f64_linear.h"

namespace emberq::smoothing_test {
namespace {

using test::random_linear;

// Hidden 6, FFN 10, 4 query and 2 KV heads of 4.
F64Layer random_block() {
  F64Layer block;
  block.input_layernorm = {1, 2, 3, 4, 5, 6};
  block.post_attention_layernorm = {1, 1, 2, 2, 3, 3};
  block[Projection::kQ] = random_linear(16, 6, 1);
  block[Projection::kK] = random_linear(8, 6, 2);
  block[Projection::kV] = random_linear(8, 6, 3);
  block[Projection::kO] = random_linear(6, 16, 4);
  block[Projection::kGate] = random_linear(10, 6, 5);
  block[Projection::kUp] = random_linear(10, 6, 6);
  block[Projection::kDown] = random_linear(6, 10, 7);
  return block;
}

ModelConfig block_config() {
  ModelConfig config;
  config.num_heads = 4, config.num_kv_heads = 2, config.head_dim = 4;
  config.hidden_size = 6, config.intermediate_size = 10;
  return config;
}

std::vector<double> product(const F64Linear& linear, const std::vector<double>& x) {
  std::vector<double> y = linear.bias;
  for (int64_t i = 0; i < linear.n; ++i)
    for (int64_t j = 0; j < linear.k; ++j) y[size_t(i)] += linear.row(i)[j] * x[size_t(j)];
  return y;
}

std::vector<double> times(std::vector<double> a, const std::vector<double>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] *= b[i];
  return a;
}

void expect_near(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-11 * (1 + std::abs(b[i]))) << i;
}

std::vector<double> mean_magnitudes(std::initializer_list<const F64Linear*> linears) {
  std::vector<double> means((*linears.begin())->weight.size() / size_t((*linears.begin())->n));
  int64_t rows = 0;
  for (const F64Linear* linear : linears) {
    rows += linear->n;
    for (int64_t i = 0; i < linear->n; ++i)
      for (size_t j = 0; j < means.size(); ++j) means[j] += std::abs(linear->row(i)[int64_t(j)]);
  }
  for (double& mean : means) mean /= double(rows);
  return means;
}

void scale_site(F64Layer& block, LinearInput site, const ChannelScale& scale) {
  const ModelConfig config = block_config();
  fold_channel_scales(block, config, site, channel_scales(block, config, site, scale, {}, {}));
}

const std::vector<double> kX = {0.3, -1, 2, 0.5, -0.25, 1};

TEST(ChannelScale, OfUpAndGateBringsEveryChannelToTheMeanAndKeepsWhatTheyCompute) {
  const F64Layer before = random_block();
  F64Layer after = before;
  scale_site(after, LinearInput::kMlp, {});
  const auto old_means = mean_magnitudes({&before[Projection::kUp], &before[Projection::kGate]});
  double constant = 0;
  for (const double mean : old_means) constant += mean / double(old_means.size());
  expect_near(mean_magnitudes({&after[Projection::kUp], &after[Projection::kGate]}),
              std::vector<double>(6, constant));
  for (const Projection module : {Projection::kUp, Projection::kGate})
    expect_near(product(after[module], times(kX, after.post_attention_layernorm)),
                product(before[module], times(kX, before.post_attention_layernorm)));
  EXPECT_EQ(after.input_layernorm, before.input_layernorm);
}

TEST(ChannelScale, OfDownTakesANamedConstantAndKeepsWhatTheBlockComputes) {
  const F64Layer before = random_block();
  F64Layer after = before;
  scale_site(after, LinearInput::kMlpDown, {.constant = 0.015});
  expect_near(mean_magnitudes({&after[Projection::kDown]}), std::vector<double>(10, 0.015));
  const auto gate = product(before[Projection::kGate], kX);
  expect_near(
      product(after[Projection::kDown], times(gate, product(after[Projection::kUp], kX))),
      product(before[Projection::kDown], times(gate, product(before[Projection::kUp], kX))));
}

TEST(ChannelScale, OfQkvGoesIntoTheInputNorm) {
  const F64Layer before = random_block();
  F64Layer after = before;
  scale_site(after, LinearInput::kAttention, {});
  for (const Projection module : {Projection::kQ, Projection::kK, Projection::kV})
    expect_near(product(after[module], times(kX, after.input_layernorm)),
                product(before[module], times(kX, before.input_layernorm)));
  EXPECT_NE(after.input_layernorm, before.input_layernorm);
}

// What o sees when every query head passes its KV head's values on.
std::vector<double> values_by_query_head(const F64Layer& block) {
  const auto v = product(block[Projection::kV], kX);
  std::vector<double> attended;
  for (size_t head = 0; head < 4; ++head)
    for (size_t c = 0; c < 4; ++c) attended.push_back(double(head + 1) * v[head / 2 * 4 + c]);
  return attended;
}

TEST(ChannelScale, OfOIsSharedByTheQueryHeadsOfAKvHead) {
  const F64Layer before = random_block();
  F64Layer after = before;
  scale_site(after, LinearInput::kAttentionOut, {});
  expect_near(product(after[Projection::kO], values_by_query_head(after)),
              product(before[Projection::kO], values_by_query_head(before)));
  EXPECT_NE(after[Projection::kO].weight, before[Projection::kO].weight);
}

TEST(ChannelScale, OfValuesScalesTheBiasToo) {
  const F64Layer before = random_block();
  F64Layer after = before;
  scale_values(after, 0.9);
  EXPECT_DOUBLE_EQ(after[Projection::kV].bias[3], 0.9 * before[Projection::kV].bias[3]);
  expect_near(product(after[Projection::kO], values_by_query_head(after)),
              product(before[Projection::kO], values_by_query_head(before)));
}

TEST(ChannelScale, LeavesAChannelOfZerosAlone) {
  F64Layer block = random_block();
  for (int64_t i = 0; i < 6; ++i) block[Projection::kDown].row(i)[4] = 0;
  const std::vector<double> up(block[Projection::kUp].row(4), block[Projection::kUp].row(4) + 6);
  scale_site(block, LinearInput::kMlpDown, {});
  expect_near(std::vector<double>(block[Projection::kUp].row(4), block[Projection::kUp].row(4) + 6),
              up);
}

// Two heads of 8: pairs (0, 4) ... (3, 7).
KeyStatistics statistics() {
  return {.kv_heads = 2,
          .head_dim = 8,
          .channel_absmax = {1, 9, 2, 0, 3, 8, 1, 0, /**/ 1, 1, 1, 1, 1, 1, 1, 20},
          .pair_radius = {3.1f, 10, 2.1f, 0, /**/ 1.2f, 1.2f, 1.2f, 20},
          .key_power = {1, 100, 4, 0, /**/ 1, 1, 1, 400},
          .query_power = {16, 1, 4, 9, /**/ 1, 1, 1, 1}};
}

TEST(PostRopeScale, TakesTheLargestChannelsAndTheirPartnersEachWithItsOwnFactor) {
  const auto heads = post_rope_scale(statistics(), {.beta = 8, .top_k = 1});
  EXPECT_EQ(heads[0].channels, (std::vector<int>{1, 5}));
  EXPECT_EQ(heads[0].scale, (std::vector<float>{float(8.0 / 9), 1.0f}));
  EXPECT_EQ(heads[1].channels, (std::vector<int>{3, 7}));
  EXPECT_EQ(heads[1].scale, (std::vector<float>{8.0f, 0.4f}));
}

TEST(PostRopeScale, ListsAPairOnceAndOfEqualChannelsTheLower) {
  const auto heads = post_rope_scale(statistics(), {.beta = 8, .top_k = 2});
  EXPECT_EQ(heads[0].channels, (std::vector<int>{1, 5}));        // both of one pair
  EXPECT_EQ(heads[1].channels, (std::vector<int>{0, 3, 4, 7}));  // 0 is the first of the ones
}

TEST(PostRopeScale, TakesEveryChannelWhereThereAreNoMoreAndOneForADeadOne) {
  const auto heads = post_rope_scale(statistics(), {.beta = 8, .top_k = 100});
  EXPECT_EQ(heads[0].channels.size(), 8u);
  EXPECT_EQ(heads[0].scale[3], 1.0f);
}

TEST(PreRopeScale, BringsEachPairToAlphaButThoseThatSHandles) {
  const auto post = post_rope_scale(statistics(), {.beta = 8, .top_k = 1});
  const auto scale = pre_rope_scale(statistics(), post, {.alpha = 8}, false);
  const auto plain = pre_rope_scale(statistics(), {}, {.alpha = 8}, false);
  const double a = 8 / double(3.1f), c = 8 / double(2.1f), d = 8 / double(1.2f);
  EXPECT_EQ(scale, (std::vector<double>{a, 1, c, 1, d, d, d, 1}));
  EXPECT_EQ(plain, (std::vector<double>{a, 0.8, c, 1, d, d, d, 0.4}));
}

TEST(PreRopeScale, SharedByAllHeadsTakesTheLargestRadiusAndAnyHeadsReset) {
  const auto post = post_rope_scale(statistics(), {.beta = 8, .top_k = 1});
  const auto scale = pre_rope_scale(statistics(), post, {.alpha = 8}, true);
  const std::vector<double> head = {8 / double(3.1f), 1, 8 / double(2.1f), 1};
  EXPECT_EQ(std::vector<double>(scale.begin(), scale.begin() + 4), head);
  EXPECT_EQ(std::vector<double>(scale.begin() + 4, scale.end()), head);
}

TEST(PreRopeScale, BalancedIsTheRootOfTheQueriesOverTheKeysWithAGeometricMeanOfOne) {
  const auto scale = pre_rope_scale(statistics(), {},
                                    {.rule = Recipe::PreRope::Rule::kBalance, .power = 0.5}, false);
  // The fourth roots of 16, 1/100, 1 and, for the pair that never left zero, 1.
  const double mean = std::pow(16.0 / 100, 1.0 / 16);
  const std::vector<double> expected = {2 / mean, std::pow(0.01, 0.25) / mean, 1 / mean, 1 / mean};
  for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(scale[j], expected[j], 1e-12) << j;
}

TEST(PreRopeScale, BalancedUndoesAFactorThatKeysAndQueriesTrade) {
  KeyStatistics traded = statistics();
  traded.key_power[2] *= 24 * 24;
  traded.query_power[2] /= 24 * 24;
  const Recipe::PreRope balance{.rule = Recipe::PreRope::Rule::kBalance, .power = 0.5};
  const auto before = pre_rope_scale(statistics(), {}, balance, false);
  const auto after = pre_rope_scale(traded, {}, balance, false);
  for (size_t j = 0; j < 3; ++j)
    EXPECT_NEAR(after[j] * (j == 2 ? 24 : 1) / after[0], before[j] / before[0], 1e-12) << j;
}

TEST(PreRopeScale, FoldedIntoQAndKLeavesEveryProductOfPairsAsItWas) {
  const F64Layer before = random_block();
  F64Layer after = before;
  const std::vector<double> scale = {2, 0.5, 3, 0.25};  // two pairs of two heads
  fold_pre_rope_scale(after, block_config(), scale);
  const auto q0 = product(before[Projection::kQ], kX), k0 = product(before[Projection::kK], kX);
  const auto q1 = product(after[Projection::kQ], kX), k1 = product(after[Projection::kK], kX);
  for (size_t head = 0; head < 4; ++head)
    for (size_t c = 0; c < 4; ++c)
      for (size_t partner : {c, (c + 2) % 4}) {
        const size_t qi = head * 4 + c, ki = head / 2 * 4 + partner;
        EXPECT_NEAR(q1[qi] * k1[ki], q0[qi] * k0[ki], 1e-12);
      }
  EXPECT_DOUBLE_EQ(k1[0], 2 * k0[0]);
  EXPECT_DOUBLE_EQ(k1[7], 0.25 * k0[7]);
}

}  // namespace
}  // namespace emberq::smoothing_test
