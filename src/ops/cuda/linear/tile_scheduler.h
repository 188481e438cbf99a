#pragma once

#include <cstdint>

#include "ops/cuda/runtime/host_device.h"

// Which part of a product each cluster of blocks works on, and in what order; the same on the host,
// where tests walk through it, as on the device.
//
// The product is tiles, [row tiles][token tiles], of k_tiles steps each. Clusters take the first
// `whole` tiles in turn. The tiles that are left come in rounds of `tiles_of_round`; the steps of a
// round are one line, cut into equal runs, one for each cluster. A tile that a run begins in the
// middle of is left as a partial sum, which the cluster with the tile's beginning joins to its own,
// in the order of the runs: the result is the same every time.
namespace emberq::device {

struct W4Piece {
  int row_tile, token_tile;
  int k, k_end;  // steps of the tile
  int round;     // of a run; 0 for whole tiles
};

struct W4Schedule {
  int row_tiles, token_tiles, k_tiles;
  int whole;
  int rounds, tiles_of_round;
  int clusters;
  int run, longer;  // steps of a run; so many of the first ones have one more
  int band;  // token tiles that are gone through together, for what runs at a time to share both
  uint32_t per_step;  // of_steps(k_tiles), or 0 where a round has too many steps for it

  // A quotient by a product in place of a division's forty instructions, which would lie between
  // two tiles: step / k for steps whose product with k is below 2^32.
  static EMBERQ_HOST_DEVICE constexpr uint32_t of_steps(uint32_t k) {
    return uint32_t((uint64_t(1) << 32) / k + 1);
  }
  EMBERQ_HOST_DEVICE unsigned tile_of(unsigned step) const {
    return per_step ? unsigned(uint64_t(step) * per_step >> 32) : step / unsigned(k_tiles);
  }

  // Where the run of a cluster begins in the steps of a round; cluster may be `clusters`.
  EMBERQ_HOST_DEVICE int run_begin(int cluster) const {
    return cluster * run + (cluster < longer ? cluster : longer);
  }

  // Piece j of a cluster's, first of its runs, then its whole tiles; whether there are as many.
  EMBERQ_HOST_DEVICE bool piece(int cluster, int j, W4Piece& piece) const {
    const unsigned begin = unsigned(run_begin(cluster)), end = unsigned(run_begin(cluster + 1));
    int whole_j = j;
    if (begin < end) {
      const unsigned k = unsigned(k_tiles), first = tile_of(begin), last = tile_of(end - 1);
      const unsigned of_round = last - first + 1;
      whole_j -= int(of_round) * rounds;
      if (whole_j < 0) {
        const unsigned round = rounds == 1 ? 0 : unsigned(j) / of_round;
        const unsigned tile = first + unsigned(j) - round * of_round;
        piece = tile_at(unsigned(whole) + round * unsigned(tiles_of_round) + tile);
        piece.round = int(round);
        piece.k = tile == first ? int(begin - first * k) : 0;
        piece.k_end = tile == last ? int(end - last * k) : k_tiles;
        return true;
      }
    }
    const int tile = cluster + whole_j * clusters;
    if (tile >= whole) return false;
    piece = tile_at(unsigned(tile));
    piece.k = 0, piece.k_end = k_tiles;
    return true;
  }

  // Where the tile of a number is.
  EMBERQ_HOST_DEVICE W4Piece tile_at(unsigned tile) const {
    if (token_tiles == 1) return {int(tile), 0, 0, 0, 0};
    const unsigned of_band = unsigned(band * row_tiles), first = tile / of_band * unsigned(band);
    const unsigned left = unsigned(token_tiles) - first, in_band = tile % of_band;
    const unsigned width = left < unsigned(band) ? left : unsigned(band);
    return {int(in_band / width), int(first + in_band % width), 0, 0, 0};
  }
};

}  // namespace emberq::device
