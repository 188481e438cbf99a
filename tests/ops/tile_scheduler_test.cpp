// The choice of a configuration and the tile scheduler, walked through on the CPU as the kernel
// does.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ops/cuda/linear/gemm_config.h"

namespace emberq::cuda::tile_scheduler_test {
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

// f(scheduler, config) for each case, batch-invariant and not.
template <class F>
void for_each_plan(const F& f) {
  for (const Case& c : cases())
    for (const BatchInvariant invariant : {BatchInvariant::kNo, BatchInvariant::kYes}) {
      const GemmConfig& config =
          kGemmConfigs[pick_config(c.m, c.n, c.k_tiles, 132, OperandFormat::kLut4, invariant)];
      f(make_tile_scheduler(config, c.m, c.n, c.k_tiles, c.clusters, invariant), config);
    }
}

// The work tiles of a cluster in its order.
std::vector<WorkTile> work_tiles(const TileScheduler& plan, int cluster) {
  std::vector<WorkTile> all;
  for (WorkTile work; plan.work_tile(cluster, int(all.size()), work);) all.push_back(work);
  return all;
}

GemmConfig config_of(int64_t m, int64_t n = 28672, int64_t k_tiles = 32,
                     BatchInvariant invariant = BatchInvariant::kNo,
                     OperandFormat format = OperandFormat::kLut4) {
  return kGemmConfigs[pick_config(m, n, k_tiles, 132, format, invariant)];
}

TEST(PickConfig, TakesTheSmallestTileThatHoldsAllTokens) {
  EXPECT_EQ(config_of(1).tokens, 16);
  EXPECT_EQ(config_of(16).tokens, 16);
  EXPECT_EQ(config_of(17).tokens, 32);
  EXPECT_EQ(config_of(64).tokens, 64);
  EXPECT_EQ(config_of(65).tokens, 128);
}

TEST(PickConfig, TakesTheLargestTileIfThereIsWorkEnough) {
  EXPECT_EQ(config_of(129).tokens, 256);
  EXPECT_EQ(config_of(256, 6144).tokens, 128);
  EXPECT_EQ(config_of(1024, 6144).tokens, 256);
  EXPECT_EQ(config_of(int64_t(1) << 40).tokens, 256);
}

// Sliced-K adds the k-steps of a tile in another order. A cluster's tiles are split elsewhere.
TEST(PickConfig, KeepsOneOrderOfSumsForBatchInvariance) {
  for (const OperandFormat format : {OperandFormat::kLut4, OperandFormat::kInt4,
                                     OperandFormat::kLut4E4m3, OperandFormat::kInt4E4m3})
    for (int64_t m = 1; m < 1000; ++m) {
      const GemmConfig config = config_of(m, 28672, 32, BatchInvariant::kYes, format);
      EXPECT_EQ(config.cluster, 1) << m;
      EXPECT_EQ(config.k_warpgroups, 1) << m;
    }
}

TEST(PickConfig, UsesSlicedKForFewTokensIfThereIsWorkEnough) {
  for (const int64_t m : {1, 32})
    for (const OperandFormat format :
         {OperandFormat::kLut4, OperandFormat::kInt4, OperandFormat::kInt4E4m3}) {
      EXPECT_EQ(config_of(m, 28672, 32, BatchInvariant::kNo, format).k_warpgroups, 2);
      EXPECT_EQ(config_of(m, 6144, 32, BatchInvariant::kNo, format).k_warpgroups, 1);
      EXPECT_EQ(config_of(m, 28672, 32, BatchInvariant::kYes, format).k_warpgroups, 1);
    }
  EXPECT_EQ(config_of(1, 28672, 32, BatchInvariant::kNo, OperandFormat::kLut4E4m3).k_warpgroups, 1);
}

TEST(TileScheduler, GivesEveryStepOfEveryTileToOneCluster) {
  for_each_plan([](const TileScheduler& plan, const GemmConfig&) {
    const auto steps = size_t(plan.row_tiles) * size_t(plan.token_tiles) * size_t(plan.k_tiles);
    std::vector<char> taken(steps);
    for (int cluster = 0; cluster < plan.clusters; ++cluster)
      for (const WorkTile& p : work_tiles(plan, cluster)) {
        ASSERT_LT(p.row_tile, plan.row_tiles);
        ASSERT_LT(p.token_tile, plan.token_tiles);
        ASSERT_LE(p.k_end, plan.k_tiles);
        ASSERT_LT(p.k_begin, p.k_end);
        for (int k = p.k_begin; k < p.k_end; ++k) {
          const size_t tile = size_t(p.token_tile) * size_t(plan.row_tiles) + size_t(p.row_tile);
          char& step = taken[tile * size_t(plan.k_tiles) + size_t(k)];
          ASSERT_EQ(step, 0);
          step = 1;
        }
      }
    ASSERT_EQ(std::count(taken.begin(), taken.end(), 1), std::ptrdiff_t(steps));
  });
}

// The fixup finds the partial sums of a tile by the lengths of the next ranges. It has room for one
// partial sum of a cluster in a round.
TEST(TileScheduler, ContinuesATileAtTheBeginningOfTheNextRanges) {
  for_each_plan([](const TileScheduler& plan, const GemmConfig&) {
    std::vector<std::vector<WorkTile>> of(static_cast<size_t>(plan.clusters));
    for (int cluster = 0; cluster < plan.clusters; ++cluster)
      of[size_t(cluster)] = work_tiles(plan, cluster);
    for (int cluster = 0; cluster < plan.clusters; ++cluster) {
      std::vector<int> left(size_t(std::max(plan.rounds, 1)));
      for (const WorkTile& p : of[size_t(cluster)]) {
        if (p.k_begin > 0) {
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
          ASSERT_EQ(rest->k_begin, k);
          ASSERT_EQ(rest->round, p.round);
          k += plan.range_begin(next + 1) - plan.range_begin(next);
          ASSERT_EQ(std::min(k, plan.k_tiles), rest->k_end);
        }
      }
    }
  });
}

// Whole tiles may cost four k-steps more than an even split, which needs a fixup.
TEST(TileScheduler, GivesNoClusterMuchMoreThanItsShare) {
  for_each_plan([](const TileScheduler& plan, const GemmConfig&) {
    int64_t most = 0, all = 0;
    for (int cluster = 0; cluster < plan.clusters; ++cluster) {
      int64_t steps = 0;
      for (const WorkTile& p : work_tiles(plan, cluster)) steps += p.k_end - p.k_begin;
      most = std::max(most, steps), all += steps;
    }
    const int64_t more = plan.rounds == 0 ? 4 : plan.rounds;
    ASSERT_LE(most * plan.clusters, all + more * plan.clusters);
  });
}

TEST(TileScheduler, UsesWholeTilesIfTheyKeepAlmostAllClustersBusy) {
  const auto whole = [](int64_t m, int64_t n, int64_t k_tiles, int clusters) {
    const TileScheduler plan =
        make_tile_scheduler(config_of(m, n, k_tiles), m, n, k_tiles, clusters);
    return plan.data_parallel_tiles == plan.row_tiles * plan.token_tiles;
  };
  EXPECT_TRUE(whole(1024, 4096, 32, 66));    // 64 tiles
  EXPECT_TRUE(whole(512, 4096, 32, 132));    // 128
  EXPECT_FALSE(whole(1024, 28672, 32, 66));  // 448: 7 waves, the last of 52
  EXPECT_FALSE(whole(1, 28672, 32, 132));    // 224
  EXPECT_EQ(config_of(1024, 4096).tokens, 256);
  EXPECT_EQ(config_of(512, 4096).tokens, 128);
}

TEST(TileScheduler, FindsTheTileOfEveryStepWithoutADivision) {
  for (const uint32_t k : {2u, 3u, 7u, 32u, 112u, 127u, 448u, 4096u}) {
    TileScheduler plan{.k_tiles = int(k), .k_tiles_reciprocal = TileScheduler::reciprocal(k)};
    const auto most = uint32_t((uint64_t(1) << 32) / k) - 1;
    for (uint32_t step = 0; step < 100000; ++step) {
      ASSERT_EQ(plan.tile_of_step(step), step / k);
      ASSERT_EQ(plan.tile_of_step(most - step), (most - step) / k);
    }
  }
  // Where the reciprocal is not exact, it is a division.
  const int64_t many = int64_t(1) << 16;
  const TileScheduler plan = make_tile_scheduler(kGemmConfigs.back(), 256, 128 * many, many, 66);
  EXPECT_EQ(plan.k_tiles_reciprocal, 0u);
}

TEST(TileScheduler, SplitsATokenTileTheSameInEveryBatch) {
  const auto plan_of = [](int64_t m) {
    return make_tile_scheduler(config_of(m, 6144, 32, BatchInvariant::kYes), m, 6144, 32, 132,
                               BatchInvariant::kYes);
  };
  const TileScheduler one = plan_of(1), many = plan_of(5000);
  for (int cluster = 0; cluster <= 132; ++cluster)
    EXPECT_EQ(one.range_begin(cluster), many.range_begin(cluster));
}

}  // namespace
}  // namespace emberq::cuda::tile_scheduler_test
