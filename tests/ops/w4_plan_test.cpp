// How a product with four-bit weights is cut, walked through on the CPU as the kernel does.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ops/cuda/linear/gemm_config.h"

namespace emberq::cuda {
namespace {

struct Case {
  int64_t m, n, k_tiles;
  int clusters;
};
std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int64_t m : {1, 16, 17, 64, 100, 300, 2049})
    for (const int64_t n : {1, 128, 200, 4096, 28672})
      for (const int64_t k_tiles : {1, 3, 32, 112})
        for (const int clusters : {1, 66, 132}) all.push_back({m, n, k_tiles, clusters});
  return all;
}

// f(plan, config) for each case, in any batch and not.
template <class F>
void for_each_plan(const F& f) {
  for (const Case& c : cases())
    for (const BatchInvariant invariant : {BatchInvariant::kNo, BatchInvariant::kYes}) {
      const W4Config& config =
          kW4Configs[pick(c.m, c.n, c.k_tiles, 132, W4Codes::kSigned, invariant)];
      f(schedule(config, c.m, c.n, c.k_tiles, c.clusters, invariant), config);
    }
}

// The pieces of a cluster in its order.
std::vector<device::W4Piece> pieces(const device::W4Schedule& plan, int cluster) {
  std::vector<device::W4Piece> all;
  for (device::W4Piece piece; plan.piece(cluster, int(all.size()), piece);) all.push_back(piece);
  return all;
}

W4Config config_of(int64_t m, int64_t n = 28672, int64_t k_tiles = 32,
                   BatchInvariant invariant = BatchInvariant::kNo,
                   W4Codes codes = W4Codes::kSigned) {
  return kW4Configs[pick(m, n, k_tiles, 132, codes, invariant)];
}

TEST(W4Plan, TakesTheSmallestTileThatHoldsAllTokens) {
  EXPECT_EQ(config_of(1).tokens, 16);
  EXPECT_EQ(config_of(16).tokens, 16);
  EXPECT_EQ(config_of(17).tokens, 32);
  EXPECT_EQ(config_of(64).tokens, 64);
  EXPECT_EQ(config_of(65).tokens, 128);
}

TEST(W4Plan, TakesTheLargestTileWhereThereIsWorkEnough) {
  EXPECT_EQ(config_of(129).tokens, 256);
  EXPECT_EQ(config_of(256, 6144).tokens, 128);
  EXPECT_EQ(config_of(1024, 6144).tokens, 256);
  EXPECT_EQ(config_of(int64_t(1) << 40).tokens, 256);
}

// A `split` adds the steps of a tile in another order, as a cluster's tiles are cut elsewhere.
TEST(W4Plan, KeepsOneOrderOfSumsWhereResultsMustBeTheSameInAnyBatch) {
  for (const W4Codes codes :
       {W4Codes::kSigned, W4Codes::kIntegers, W4Codes::kSignedProducts, W4Codes::kIntProducts})
    for (int64_t m = 1; m < 1000; ++m) {
      const W4Config config = config_of(m, 28672, 32, BatchInvariant::kYes, codes);
      EXPECT_EQ(config.cluster, 1) << m;
      EXPECT_EQ(config.split, 1) << m;
    }
}

TEST(W4Plan, HasFourWarpgroupsTakeFewTokensWhereThereIsWorkEnough) {
  for (const int64_t m : {1, 32})
    for (const W4Codes codes : {W4Codes::kSigned, W4Codes::kIntegers, W4Codes::kIntProducts}) {
      EXPECT_EQ(config_of(m, 28672, 32, BatchInvariant::kNo, codes).split, 2);
      EXPECT_EQ(config_of(m, 6144, 32, BatchInvariant::kNo, codes).split, 1);
      EXPECT_EQ(config_of(m, 28672, 32, BatchInvariant::kYes, codes).split, 1);
    }
  EXPECT_EQ(config_of(1, 28672, 32, BatchInvariant::kNo, W4Codes::kSignedProducts).split, 1);
}

TEST(W4Plan, GivesEveryStepOfEveryTileToOneCluster) {
  for_each_plan([](const device::W4Schedule& plan, const W4Config&) {
    const auto steps = size_t(plan.row_tiles) * size_t(plan.token_tiles) * size_t(plan.k_tiles);
    std::vector<char> taken(steps);
    for (int cluster = 0; cluster < plan.clusters; ++cluster)
      for (const device::W4Piece& p : pieces(plan, cluster)) {
        ASSERT_LT(p.row_tile, plan.row_tiles);
        ASSERT_LT(p.token_tile, plan.token_tiles);
        ASSERT_LE(p.k_end, plan.k_tiles);
        ASSERT_LT(p.k, p.k_end);
        for (int k = p.k; k < p.k_end; ++k) {
          const size_t tile = size_t(p.token_tile) * size_t(plan.row_tiles) + size_t(p.row_tile);
          char& step = taken[tile * size_t(plan.k_tiles) + size_t(k)];
          ASSERT_EQ(step, 0);
          step = 1;
        }
      }
    ASSERT_EQ(std::count(taken.begin(), taken.end(), 1), std::ptrdiff_t(steps));
  });
}

// The kernel joins what follows a piece by the lengths of the runs after it, and has room for one
// partial sum of a cluster in a round.
TEST(W4Plan, ContinuesATileAtTheBeginningOfTheNextRuns) {
  for_each_plan([](const device::W4Schedule& plan, const W4Config&) {
    std::vector<std::vector<device::W4Piece>> of(static_cast<size_t>(plan.clusters));
    for (int cluster = 0; cluster < plan.clusters; ++cluster)
      of[size_t(cluster)] = pieces(plan, cluster);
    for (int cluster = 0; cluster < plan.clusters; ++cluster) {
      std::vector<int> left(size_t(std::max(plan.rounds, 1)));
      for (const device::W4Piece& p : of[size_t(cluster)]) {
        if (p.k > 0) {
          ASSERT_EQ(left[size_t(p.round)]++, 0);
          continue;
        }
        if (p.k_end == plan.k_tiles) continue;
        int k = p.k_end;
        for (int next = cluster + 1; k < plan.k_tiles; ++next) {
          const auto& others = of[size_t(next)];
          const auto rest = std::find_if(others.begin(), others.end(), [&](const auto& other) {
            return other.row_tile == p.row_tile && other.token_tile == p.token_tile;
          });
          ASSERT_NE(rest, others.end());
          ASSERT_EQ(rest->k, k);
          ASSERT_EQ(rest->round, p.round);
          k += plan.run_begin(next + 1) - plan.run_begin(next);
          ASSERT_EQ(std::min(k, plan.k_tiles), rest->k_end);
        }
      }
    }
  });
}

// Whole tiles may cost four steps more than an even cut, which has to be joined.
TEST(W4Plan, GivesNoClusterMuchMoreThanItsShare) {
  for_each_plan([](const device::W4Schedule& plan, const W4Config&) {
    int64_t most = 0, all = 0;
    for (int cluster = 0; cluster < plan.clusters; ++cluster) {
      int64_t steps = 0;
      for (const device::W4Piece& p : pieces(plan, cluster)) steps += p.k_end - p.k;
      most = std::max(most, steps), all += steps;
    }
    const int64_t more = plan.rounds == 0 ? 4 : plan.rounds;
    ASSERT_LE(most * plan.clusters, all + more * plan.clusters);
  });
}

TEST(W4Plan, CutsNothingWhereWholeTilesKeepAlmostAllClustersBusy) {
  const auto whole = [](int64_t m, int64_t n, int64_t k_tiles, int clusters) {
    const device::W4Schedule plan = schedule(config_of(m, n, k_tiles), m, n, k_tiles, clusters);
    return plan.whole == plan.row_tiles * plan.token_tiles;
  };
  EXPECT_TRUE(whole(1024, 4096, 32, 66));    // 64 tiles
  EXPECT_TRUE(whole(512, 4096, 32, 132));    // 128
  EXPECT_FALSE(whole(1024, 28672, 32, 66));  // 448: 7 waves, the last of 52
  EXPECT_FALSE(whole(1, 28672, 32, 132));    // 224
  EXPECT_EQ(config_of(1024, 4096).tokens, 256);
  EXPECT_EQ(config_of(512, 4096).tokens, 128);
}

TEST(W4Plan, FindsTheTileOfEveryStepWithoutADivision) {
  for (const uint32_t k : {2u, 3u, 7u, 32u, 112u, 127u, 448u, 4096u}) {
    device::W4Schedule plan{.k_tiles = int(k), .per_step = device::W4Schedule::of_steps(k)};
    const auto most = uint32_t((uint64_t(1) << 32) / k) - 1;
    for (uint32_t step = 0; step < 100000; ++step) {
      ASSERT_EQ(plan.tile_of(step), step / k);
      ASSERT_EQ(plan.tile_of(most - step), (most - step) / k);
    }
  }
  // Where a product would not do, it is a division.
  const int64_t many = int64_t(1) << 16;
  const device::W4Schedule plan = schedule(kW4Configs.back(), 256, 128 * many, many, 66);
  EXPECT_EQ(plan.per_step, 0u);
}

TEST(W4Plan, CutsATileOfTokensTheSameWhateverTheBatchIs) {
  const auto plan_of = [](int64_t m) {
    return schedule(config_of(m, 6144, 32, BatchInvariant::kYes), m, 6144, 32, 132,
                    BatchInvariant::kYes);
  };
  const device::W4Schedule one = plan_of(1), many = plan_of(5000);
  for (int cluster = 0; cluster <= 132; ++cluster)
    EXPECT_EQ(one.run_begin(cluster), many.run_begin(cluster));
}

}  // namespace
}  // namespace emberq::cuda
