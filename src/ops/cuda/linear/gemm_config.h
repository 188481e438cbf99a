#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/linear/tile_scheduler.h"

// How a product with four-bit weights is cut for the kernel. Nothing here needs a GPU.
namespace emberq::cuda {

using device::W4Codes;

struct W4Config {
  int tokens;   // of a tile: N of wgmma
  int cluster;  // blocks that work on the same tokens, which they load together
  int stages;   // of the ring
  int split;    // warpgroups that take the steps of the same rows in turn
  int blocks;   // that have room on a multiprocessor: this kernel's, and the next one's

  static constexpr int kRows = 128;  // of W, of a block

  constexpr int64_t row_tiles(int64_t n) const {
    const int64_t rows = kRows * cluster;
    return (n + rows - 1) / rows;
  }
  constexpr int64_t token_tiles(int64_t m) const { return (m + tokens - 1) / tokens; }
};

// By measurement (docs/kernels/w4a8.md), fewest tokens first. For the fewest, a block with little
// work starts soonest where there is room for the next kernel's; with more, four warpgroups expand
// faster. Only the last is fast enough for the L2 to feel it when every block loads its own tokens.
inline constexpr std::array kW4Configs = {
    W4Config{.tokens = 16, .cluster = 1, .stages = 10, .split = 1, .blocks = 2},
    W4Config{.tokens = 16, .cluster = 1, .stages = 16, .split = 2, .blocks = 1},
    W4Config{.tokens = 32, .cluster = 1, .stages = 7, .split = 1, .blocks = 2},
    W4Config{.tokens = 32, .cluster = 1, .stages = 14, .split = 2, .blocks = 1},
    W4Config{.tokens = 64, .cluster = 1, .stages = 11, .split = 2, .blocks = 1},
    W4Config{.tokens = 128, .cluster = 1, .stages = 8, .split = 1, .blocks = 1},
    W4Config{.tokens = 256, .cluster = 2, .stages = 5, .split = 1, .blocks = 1},
};

// Whether a row of the result is the same whatever rows are beside it.
enum class BatchInvariant { kNo, kYes };

// Whether pick() may choose a configuration. Rows that are the same in any batch need sums in one
// order, so one `split`, and clusters of one size.
constexpr bool may_pick(const W4Config& config, W4Codes codes, BatchInvariant invariant) {
  if (invariant == BatchInvariant::kYes) return config.split == 1 && config.cluster == 1;
  return config.tokens > 32 || config.split == 1 || codes != W4Codes::kSignedProducts;
}

// Whether clusters that each take whole tiles are done no later than if they shared all steps
// evenly, and then joined: which takes about as long as four steps.
constexpr bool all_whole(int64_t tiles, int64_t k_tiles, int64_t clusters) {
  constexpr int64_t kJoinSteps = 4;
  const int64_t waves = (tiles + clusters - 1) / clusters;
  return (waves * clusters - tiles) * k_tiles <= kJoinSteps * clusters;
}

// Index of the configuration for m tokens, n outputs and k_tiles times 128 inputs: the smallest
// tile that holds all tokens, by four warpgroups where there is work enough; for more than 128, the
// largest where there is work enough or nothing to join, for its sums take long to (8 us and 0.95 a
// step, against 6 and 0.56 of half the tokens; H200, 2026-11-21).
constexpr size_t pick(int64_t m, int64_t n, int64_t k_tiles, int multiprocessors, W4Codes codes,
                      BatchInvariant invariant = BatchInvariant::kNo) {
  constexpr size_t kHalf = kW4Configs.size() - 2;
  constexpr int64_t kStepsInTurn = 24;
  const auto tiles = [&](const W4Config& config) {
    return config.row_tiles(n) * config.token_tiles(m);
  };
  for (size_t i = 0; i <= kHalf; ++i) {
    if (m > kW4Configs[i].tokens || !may_pick(kW4Configs[i], codes, invariant)) continue;
    const W4Config& next = kW4Configs[i + 1];
    const bool in_turn = next.tokens == kW4Configs[i].tokens && may_pick(next, codes, invariant) &&
                         tiles(next) * k_tiles >= kStepsInTurn * multiprocessors;
    return in_turn ? i + 1 : i;
  }
  const W4Config& largest = kW4Configs[kHalf + 1];
  const bool enough = tiles(kW4Configs[kHalf]) * k_tiles >= 64 * int64_t(multiprocessors) ||
                      all_whole(tiles(largest), k_tiles, multiprocessors / largest.cluster);
  return enough && may_pick(largest, codes, invariant) ? kHalf + 1 : kHalf;
}

// Whole tiles where that keeps clusters about as busy as a cut; else as long as all clusters have
// one, and what is left, of more than one tile for each where there is as much, is cut. kYes: each
// tile of tokens is a round, with the same cut whatever m is.
constexpr device::W4Schedule schedule(const W4Config& config, int64_t m, int64_t n, int64_t k_tiles,
                                      int clusters,
                                      BatchInvariant invariant = BatchInvariant::kNo) {
  const int64_t row_tiles = config.row_tiles(n), token_tiles = config.token_tiles(m),
                tiles = row_tiles * token_tiles;
  device::W4Schedule s{
      .row_tiles = int(row_tiles), .token_tiles = int(token_tiles), .k_tiles = int(k_tiles)};
  if (invariant == BatchInvariant::kYes) {
    s.clusters = int(std::min<int64_t>(clusters, row_tiles * k_tiles));
    s.rounds = int(token_tiles), s.tiles_of_round = int(row_tiles);
    s.band = 1;
  } else {
    s.clusters = int(std::min<int64_t>(clusters, tiles * k_tiles));
    if (all_whole(tiles, k_tiles, s.clusters)) {
      s.whole = int(tiles), s.clusters = int(std::min<int64_t>(s.clusters, tiles));
    } else {
      s.whole = int(std::max<int64_t>(0, tiles / s.clusters - 1) * s.clusters);
    }
    s.rounds = s.whole < tiles ? 1 : 0, s.tiles_of_round = int(tiles) - s.whole;
    s.band = 8;
  }
  const int64_t steps = int64_t(s.tiles_of_round) * k_tiles;
  s.run = int(steps / s.clusters), s.longer = int(steps % s.clusters);
  if (k_tiles > 1 && steps * k_tiles < int64_t(1) << 32)
    s.per_step = device::W4Schedule::of_steps(uint32_t(k_tiles));
  return s;
}

}  // namespace emberq::cuda
