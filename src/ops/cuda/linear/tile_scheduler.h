#pragma once

#include <cstdint>

#include "ops/cuda/runtime/host_device.h"

// The persistent stream-K scheduler: which part of a product each cluster computes, and in what
// order. Device code and host code are the same, so tests walk through it without a GPU.
//
// The product has [row tiles][token tiles], each of k_tiles k-steps. The first
// `data_parallel_tiles` tiles go to the clusters in turn, each as a whole. The rest is stream-K. It
// comes in rounds of `tiles_per_round` tiles, whose k-steps form one line that is cut into equal
// ranges, one for each cluster. A range that begins in the middle of a tile leaves a partial sum,
// which the cluster with the beginning of the tile adds to its own sum. Partial sums are added in
// the order of the ranges, so the result is the same in every run.
namespace emberq::cuda {

struct WorkTile {
  int row_tile, token_tile;
  int k_begin, k_end;  // k-steps of the tile
  int round;           // of stream-K; 0 for data-parallel tiles
};

struct TileScheduler {
  int row_tiles, token_tiles, k_tiles;
  int data_parallel_tiles;
  int rounds, tiles_per_round;  // of stream-K
  int clusters;
  int range_steps, longer_ranges;  // k-steps of a range; the first ranges have one more
  // Token tiles visited before the next row tile, so that concurrent CTAs share weights and tokens
  // in L2.
  int raster_width;
  uint32_t k_tiles_reciprocal;  // reciprocal(k_tiles); 0 if a round has too many k-steps for it

  // step / k by multiply-high, for steps with step * k < 2^32. A division (~40 instructions) would
  // delay each tile.
  static EMBERQ_HOST_DEVICE constexpr uint32_t reciprocal(uint32_t k) {
    return uint32_t((uint64_t(1) << 32) / k + 1);
  }
  EMBERQ_HOST_DEVICE unsigned tile_of_step(unsigned step) const {
    return k_tiles_reciprocal ? unsigned(uint64_t(step) * k_tiles_reciprocal >> 32)
                              : step / unsigned(k_tiles);
  }

  // The first k-step of a cluster's range in a round. `cluster` may be `clusters`.
  EMBERQ_HOST_DEVICE int range_begin(int cluster) const {
    return cluster * range_steps + (cluster < longer_ranges ? cluster : longer_ranges);
  }

  // Work tile `index` of a cluster: first those of its stream-K ranges, then its data-parallel
  // tiles. False if the cluster has no more.
  EMBERQ_HOST_DEVICE bool work_tile(int cluster, int index, WorkTile& work) const {
    const unsigned begin = unsigned(range_begin(cluster)), end = unsigned(range_begin(cluster + 1));
    int data_parallel_index = index;
    if (begin < end) {
      const unsigned k = unsigned(k_tiles), first = tile_of_step(begin),
                     last = tile_of_step(end - 1);
      const unsigned per_round = last - first + 1;
      data_parallel_index -= int(per_round) * rounds;
      if (data_parallel_index < 0) {
        const unsigned round = rounds == 1 ? 0 : unsigned(index) / per_round;
        const unsigned tile = first + unsigned(index) - round * per_round;
        work = tile_at(unsigned(data_parallel_tiles) + round * unsigned(tiles_per_round) + tile);
        work.round = int(round);
        work.k_begin = tile == first ? int(begin - first * k) : 0;
        work.k_end = tile == last ? int(end - last * k) : k_tiles;
        return true;
      }
    }
    const int tile = cluster + data_parallel_index * clusters;
    if (tile >= data_parallel_tiles) return false;
    work = tile_at(unsigned(tile));
    work.k_begin = 0, work.k_end = k_tiles;
    return true;
  }

  // Row tile and token tile of a tile's number.
  EMBERQ_HOST_DEVICE WorkTile tile_at(unsigned tile) const {
    if (token_tiles == 1) return {int(tile), 0, 0, 0, 0};
    const unsigned per_raster = unsigned(raster_width * row_tiles),
                   first = tile / per_raster * unsigned(raster_width);
    const unsigned left = unsigned(token_tiles) - first, in_raster = tile % per_raster;
    const unsigned width = left < unsigned(raster_width) ? left : unsigned(raster_width);
    return {int(in_raster / width), int(first + in_raster % width), 0, 0, 0};
  }
};

}  // namespace emberq::cuda
