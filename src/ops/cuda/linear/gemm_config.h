#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "ops/cuda/linear/operand_format.h"
#include "ops/cuda/linear/tile_scheduler.h"

// The shapes of LinearKernel's tile and pipeline, the choice among them, and the tile scheduler of
// a call. Nothing here needs a GPU.
namespace emberq::cuda {

inline constexpr int kTileRows = 64;     // rows of W of one math warpgroup: M of wgmma
inline constexpr int kTileInputs = 128;  // inputs of a k-step, which is one stage of the pipeline

struct GemmConfig {
  int tokens;        // of a tile: N of wgmma
  int cluster;       // CTAs with the same tokens, which TMA multicasts to all of them
  int stages;        // of the pipeline, at most
  int k_warpgroups;  // math warpgroups that take the k-steps of the same rows in turn: sliced-K
  int min_blocks_per_sm;  // 2: leaves room for a CTA of the next kernel
  bool slices = false;    // SliceKernel's: a warp multiplies 16 rows by mma.sync (slices.cuh)

  static constexpr int kRows = 128;                       // of W, of a CTA
  static constexpr int kMWarpgroups = kRows / kTileRows;  // math warpgroups with rows of their own

  constexpr int math_warpgroups() const { return kMWarpgroups * k_warpgroups; }
  constexpr int64_t row_tiles(int64_t n) const {
    const int64_t rows = kRows * cluster;
    return (n + rows - 1) / rows;
  }
  constexpr int64_t token_tiles(int64_t m) const { return (m + tokens - 1) / tokens; }
};

// Chosen by measurement (docs/kernels/w4a8.md), fewest tokens first. For the fewest tokens there
// are two reasons. A CTA with little work starts soonest if it has room beside the previous
// kernel's CTA. A CTA with more work expands its weights faster with four math warpgroups. Only the
// last configuration is fast enough for the L2 to limit it if every CTA loads its own tokens.
inline constexpr std::array kGemmConfigs = {
    GemmConfig{.tokens = 16, .cluster = 1, .stages = 10, .k_warpgroups = 1, .min_blocks_per_sm = 2},
    GemmConfig{.tokens = 16, .cluster = 1, .stages = 16, .k_warpgroups = 2, .min_blocks_per_sm = 1},
    GemmConfig{.tokens = 32, .cluster = 1, .stages = 7, .k_warpgroups = 1, .min_blocks_per_sm = 2},
    GemmConfig{.tokens = 32, .cluster = 1, .stages = 14, .k_warpgroups = 2, .min_blocks_per_sm = 1},
    GemmConfig{.tokens = 64, .cluster = 1, .stages = 11, .k_warpgroups = 2, .min_blocks_per_sm = 1},
    GemmConfig{.tokens = 128, .cluster = 1, .stages = 8, .k_warpgroups = 1, .min_blocks_per_sm = 1},
    GemmConfig{.tokens = 256, .cluster = 2, .stages = 5, .k_warpgroups = 1, .min_blocks_per_sm = 1},
};

// SliceKernel's, for up to 8 and up to 16 tokens.
template <int kTokens>
inline constexpr GemmConfig kSliceConfig{.tokens = kTokens,
                                         .cluster = 1,
                                         .stages = kTokens == 8 ? 4 : 3,
                                         .k_warpgroups = 1,
                                         .min_blocks_per_sm = 2,
                                         .slices = true};

// Whether a row of the result has the same bits in every batch.
enum class BatchInvariant { kNo, kYes };

// Whether pick_config() may choose a configuration. Batch invariance needs one order of a sum's
// terms, so no sliced-K, and clusters of one size.
constexpr bool is_candidate(const GemmConfig& config, OperandFormat format,
                            BatchInvariant invariant) {
  if (invariant == BatchInvariant::kYes) return config.k_warpgroups == 1 && config.cluster == 1;
  return config.tokens > 32 || config.k_warpgroups == 1 || gains_from_sliced_k(format);
}

// True if whole tiles finish no later than an even stream-K split, whose fixup costs about four
// k-steps.
constexpr bool whole_tiles_suffice(int64_t tiles, int64_t k_tiles, int64_t clusters) {
  constexpr int64_t kFixupSteps = 4;
  const int64_t waves = (tiles + clusters - 1) / clusters;
  return (waves * clusters - tiles) * k_tiles <= kFixupSteps * clusters;
}

// The index of the configuration for m tokens, n outputs and k_tiles times 128 inputs. Up to 128
// tokens it is the smallest tile that holds all tokens, with four math warpgroups if there is work
// enough for them. Above, it is the largest tile if there is work enough or no fixup, since its
// fixed cost is higher and its k-step cheaper (8 us and 0.95 us, against 6 and 0.56 for half the
// tokens; H200, 2026-11-21).
constexpr size_t pick_config(int64_t m, int64_t n, int64_t k_tiles, int multiprocessors,
                             OperandFormat format, BatchInvariant invariant = BatchInvariant::kNo) {
  constexpr size_t kLargest = kGemmConfigs.size() - 1, kHalf = kLargest - 1;
  constexpr int64_t kSlicedKSteps = 24;  // of a multiprocessor, from which sliced-K is faster
  const auto tiles = [&](const GemmConfig& config) {
    return config.row_tiles(n) * config.token_tiles(m);
  };
  for (size_t i = 0; i <= kHalf; ++i) {
    const GemmConfig& config = kGemmConfigs[i];
    if (m > config.tokens || !is_candidate(config, format, invariant)) continue;
    const GemmConfig& next = kGemmConfigs[i + 1];
    const bool sliced_k = next.tokens == config.tokens && is_candidate(next, format, invariant) &&
                          tiles(next) * k_tiles >= kSlicedKSteps * multiprocessors;
    return sliced_k ? i + 1 : i;
  }
  const GemmConfig& largest = kGemmConfigs[kLargest];
  const bool enough =
      tiles(kGemmConfigs[kHalf]) * k_tiles >= 64 * int64_t(multiprocessors) ||
      whole_tiles_suffice(tiles(largest), k_tiles, multiprocessors / largest.cluster);
  return enough && is_candidate(largest, format, invariant) ? kLargest : kHalf;
}

// Which kernel multiplies a TiledWeight with e4m3 inputs, and how.
struct TiledPick {
  int slice_tokens = 0;  // SliceKernel's, 8 or 16; 0: LinearKernel runs
  size_t config = 0;     // LinearKernel's, of kGemmConfigs

  constexpr const GemmConfig& shape() const {
    if (slice_tokens == 0) return kGemmConfigs[config];
    return slice_tokens == 8 ? kSliceConfig<8> : kSliceConfig<16>;
  }
};

// Where slices are faster is measured (docs/kernels/w4a8.md).
constexpr TiledPick pick_tiled(int64_t m, int64_t n, int64_t k_tiles, int multiprocessors,
                               OperandFormat format, BatchInvariant invariant) {
  const bool slices = invariant == BatchInvariant::kNo && m <= 16 &&
                      n <= 64 * int64_t(multiprocessors) && k_tiles <= 48;
  if (slices) return {.slice_tokens = m <= 8 ? 8 : 16};
  return {.config = pick_config(m, n, k_tiles, multiprocessors, format, invariant)};
}

// Uses whole tiles if they keep the clusters about as busy as a split. Otherwise assigns whole
// tiles while every cluster gets one, and splits the rest by k, which is between one and two tiles
// for each cluster. kYes: each token tile is a round of its own, with the same split for every m.
constexpr TileScheduler make_tile_scheduler(const GemmConfig& config, int64_t m, int64_t n,
                                            int64_t k_tiles, int clusters,
                                            BatchInvariant invariant = BatchInvariant::kNo) {
  const int64_t row_tiles = config.row_tiles(n), token_tiles = config.token_tiles(m),
                tiles = row_tiles * token_tiles;
  TileScheduler s{
      .row_tiles = int(row_tiles), .token_tiles = int(token_tiles), .k_tiles = int(k_tiles)};
  if (invariant == BatchInvariant::kYes) {
    s.clusters = int(std::min<int64_t>(clusters, row_tiles * k_tiles));
    s.rounds = int(token_tiles), s.tiles_per_round = int(row_tiles);
    s.raster_width = 1;
  } else {
    // A tile of more parts takes longer to join than to multiply.
    constexpr int64_t kParts = 8;
    s.clusters = int(std::min<int64_t>(clusters, tiles * std::min(k_tiles, kParts)));
    if (whole_tiles_suffice(tiles, k_tiles, s.clusters)) {
      s.data_parallel_tiles = int(tiles), s.clusters = int(std::min<int64_t>(s.clusters, tiles));
    } else {
      s.data_parallel_tiles = int(std::max<int64_t>(0, tiles / s.clusters - 1) * s.clusters);
    }
    s.rounds = s.data_parallel_tiles < tiles ? 1 : 0;
    s.tiles_per_round = int(tiles) - s.data_parallel_tiles;
    s.raster_width = 8;
  }
  const int64_t steps = int64_t(s.tiles_per_round) * k_tiles;
  s.range_steps = int(steps / s.clusters), s.longer_ranges = int(steps % s.clusters);
  if (k_tiles > 1 && steps * k_tiles < int64_t(1) << 32)
    s.k_tiles_reciprocal = TileScheduler::reciprocal(uint32_t(k_tiles));
  return s;
}

}  // namespace emberq::cuda
