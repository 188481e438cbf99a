// From the order of a checkpoint to the device order of tile_order.h, for four-bit codes. A CTA
// takes one tile through shared memory. It reads rows 16 bytes at a time. Each thread then makes
// the eight words that it will read when it multiplies, each from four neighbouring codes of two
// rows, and the data of one pair of rows for one group.
#include <type_traits>

#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/cuda/linear/linear.h"
#include "ops/cuda/linear/repack.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

template <class Tile>
struct RepackKernel {
  struct Args {
    const uint4* packed;    // [n, k / 32]
    const uint16_t* scale;  // [n, groups]
    uint8_t* tiles;
    int n, k, groups, group_size, groups_per_tile;
    float values[8], global_scale;  // kProducts: the values of the first eight codes
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocksPerSm = 16;
  static constexpr int kVectorInputs = 32, kVectors = kTileInputs / kVectorInputs;  // of a row

  static __device__ uint4 codes(const Args& a, int row, int k) {
    if (row >= a.n || k >= a.k) return {};
    return a.packed[int64_t(row) * (a.k / kVectorInputs) + k / kVectorInputs];
  }
  static __device__ uint32_t scale(const Args& a, int row, int k) {
    if (row >= a.n || k >= a.k) return 0;
    return a.scale[int64_t(row) * a.groups + k / a.group_size];
  }
  static __device__ uint2 products(const Args& a, int row, int k) {
    const float scale_of_codes = __uint_as_float(scale(a, row, k) << 16);
    uint32_t words[2] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      words[i / 4] |= uint32_t(dequantize_to_e4m3(a.values[i], scale_of_codes, a.global_scale))
                      << i % 4 * 8;
    return {words[0], words[1]};
  }

  static __device__ void run(const Args& a) {
    const int thread = int(threadIdx.x), lane = thread % 32;
    const int first_k = int(blockIdx.x) * kTileInputs, k_tiles = int(gridDim.x);
    // Tiles are in the order [row block][k tile][2].
    const int64_t tile = (int64_t(blockIdx.y / 2) * k_tiles + blockIdx.x) * 2 + blockIdx.y % 2;
    uint8_t* out = a.tiles + tile * tile_bytes<Tile>(a.groups_per_tile);
    const int first_row = int(blockIdx.y) * kTileRows;

    // One vector of padding for each row, so that the reads of a warp are on different banks.
    __shared__ uint4 rows[kTileRows][kVectors + 1];
#pragma unroll
    for (int i = thread; i < kTileRows * kVectors; i += kThreads) {
      const int row = i / kVectors, vector = i % kVectors;
      rows[row][vector] = codes(a, first_row + row, first_k + vector * kVectorInputs);
    }
    // Thread 32 g + p makes pair p of group g.
    const int group = thread / 32, pair_row = first_row + lane / 8 * 16 + lane % 8;
    const int k = first_k + group * (kTileInputs / a.groups_per_tile);
    uint4 data = {};  // scales need only x
    if (group < a.groups_per_tile) {
      if constexpr (Tile::kGroupData == GroupData::kProducts) {
        const uint2 even = products(a, pair_row, k), odd = products(a, pair_row + 8, k);
        data = {even.x, even.y, odd.x, odd.y};
      } else {
        data.x = scale(a, pair_row, k) | scale(a, pair_row + 8, k) << 16;
      }
    }
    __syncthreads();

    const int in_tile = thread / 32 * 16 + lane / 4;
    const auto* even = reinterpret_cast<const uint16_t*>(rows[in_tile]) + lane % 4;
    const auto* odd = reinterpret_cast<const uint16_t*>(rows[in_tile + 8]) + lane % 4;
    uint32_t words[8];
#pragma unroll
    for (int w = 0; w < 8; ++w) words[w] = Tile::word(even[4 * w], odd[4 * w]);
    auto* to = reinterpret_cast<uint4*>(out);
    to[thread] = {words[0], words[1], words[2], words[3]};
    to[128 + thread] = {words[4], words[5], words[6], words[7]};
    if (group >= a.groups_per_tile) return;
    if constexpr (Tile::kGroupData == GroupData::kProducts)
      reinterpret_cast<uint4*>(out + kTileCodeBytes)[thread] = data;
    else
      reinterpret_cast<uint32_t*>(out + kTileCodeBytes)[thread] = data.x;
  }
};

}  // namespace

void repack_tiles(const CanonicalWeight& from, const TiledWeight& to, int64_t n, int64_t k,
                  cudaStream_t stream) {
  const int group_size = from.scheme.group_size;
  with_tile(to.format, [&]<class Tile>() {
    if constexpr (!std::is_same_v<Tile, ByteTile>) {
      typename RepackKernel<Tile>::Args args{.packed = from.packed.as<uint4>(),
                                             .scale = from.scale.as<uint16_t>(),
                                             .tiles = to.tiles.as<uint8_t>(),
                                             .n = int(n),
                                             .k = int(k),
                                             .groups = int(k / group_size),
                                             .group_size = group_size,
                                             .groups_per_tile = to.groups,
                                             .global_scale = from.global_scale};
      for (int u = 0; u < 8; ++u) args.values[u] = weight_code_value(from.scheme, u);
      launch<RepackKernel<Tile>>(dim3(unsigned(to.k_tiles), unsigned(2 * to.row_blocks)), stream,
                                 args);
    }
  });
}

}  // namespace emberq::cuda
