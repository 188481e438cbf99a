#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "ops/cuda/device/w4_schedule.cuh"

// How a product with four-bit weights is cut for the kernel. Nothing here needs a GPU.
namespace emberq::cuda {

struct W4Config {
  int tokens;     // of a tile: N of wgmma
  int consumers;  // warpgroups that multiply, 64 rows of W each; two with many registers or four
  int cluster;    // blocks that work on the same tokens, which they load together
  int stages;     // of the ring

  constexpr int rows() const { return 64 * consumers; }  // of a block
};

// By measurement (docs/kernels/w4a8.md), fewest tokens first; the first that holds all tokens of a
// product multiplies it, or the last.
inline constexpr std::array kW4Configs = {
    W4Config{.tokens = 16, .consumers = 4, .cluster = 1, .stages = 11},
    W4Config{.tokens = 32, .consumers = 4, .cluster = 2, .stages = 10},
    W4Config{.tokens = 64, .consumers = 4, .cluster = 2, .stages = 8},
    W4Config{.tokens = 128, .consumers = 2, .cluster = 2, .stages = 8},
    W4Config{.tokens = 256, .consumers = 2, .cluster = 2, .stages = 5},
};

// Index of the configuration for m tokens.
constexpr size_t pick(int64_t m) {
  size_t i = 0;
  while (i + 1 < kW4Configs.size() && kW4Configs[i].tokens < m) ++i;
  return i;
}

// The steps of `tiles_of_round` tiles in equal runs.
constexpr void cut(device::W4Schedule& schedule) {
  const int64_t steps = int64_t(schedule.tiles_of_round) * schedule.k_tiles;
  schedule.run = int(steps / schedule.clusters), schedule.longer = int(steps % schedule.clusters);
}

// Whole tiles as long as all clusters have one; what is left, of more than one tile for each where
// there is as much, is cut.
constexpr device::W4Schedule schedule(const W4Config& config, int64_t m, int64_t n,
                                      int64_t k_tiles, int clusters) {
  const int64_t rows = config.rows() * config.cluster, row_tiles = (n + rows - 1) / rows,
                token_tiles = (m + config.tokens - 1) / config.tokens,
                tiles = row_tiles * token_tiles;
  clusters = int(std::min<int64_t>(clusters, tiles * k_tiles));
  const int64_t waves = tiles / clusters;
  const int64_t whole = tiles % clusters == 0 ? tiles : std::max<int64_t>(0, waves - 1) * clusters;
  device::W4Schedule schedule{.row_tiles = int(row_tiles),
                              .token_tiles = int(token_tiles),
                              .k_tiles = int(k_tiles),
                              .whole = int(whole),
                              .rounds = whole < tiles ? 1 : 0,
                              .tiles_of_round = int(tiles - whole),
                              .clusters = clusters,
                              .band = 8};
  cut(schedule);
  return schedule;
}

// The same cut whatever m is, so that a row of the result is the same whatever rows are beside it:
// each tile of tokens is a round.
constexpr device::W4Schedule invariant_schedule(const W4Config& config, int64_t m,
                                                int64_t n, int64_t k_tiles, int clusters) {
  const int64_t rows = config.rows() * config.cluster, row_tiles = (n + rows - 1) / rows,
                token_tiles = (m + config.tokens - 1) / config.tokens;
  device::W4Schedule schedule{
      .row_tiles = int(row_tiles),
      .token_tiles = int(token_tiles),
      .k_tiles = int(k_tiles),
      .whole = 0,
      .rounds = int(token_tiles),
      .tiles_of_round = int(row_tiles),
      .clusters = int(std::min<int64_t>(clusters, row_tiles * k_tiles)),
      .band = 1};
  cut(schedule);
  return schedule;
}

}  // namespace emberq::cuda
