// From the order of a checkpoint to tiles of bytes (tile_order.h), for codes of any width. A CTA
// makes one tile. Each thread makes the 64 bytes that it will read when it multiplies.
#include "ops/cuda/linear/canonical.cuh"
#include "ops/cuda/linear/general.h"
#include "ops/cuda/linear/repack_bytes.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

struct RepackBytesKernel {
  struct Args {
    CanonicalCodes codes;
    uint8_t* tiles;
    int tile_bytes;
    int groups_per_tile;  // with data in the tile: pairs of BF16 scales; else 0
    ByteCode code;
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocksPerSm = 8;

  static __device__ uint8_t byte(const Args& a, int row, int k) {
    if (row >= a.codes.n || k >= a.codes.k) return 0;
    if (a.code == ByteCode::kInteger) return uint8_t(int(a.codes.code(row, k)));
    return a.codes.e4m3(row, k);
  }
  static __device__ uint32_t scale_bits(const Args& a, int row, int k) {
    if (row >= a.codes.n || k >= a.codes.k) return 0;
    return __float_as_uint(a.codes.scale(row, k)) >> 16;
  }

  static __device__ void run(const Args& a) {
    const int thread = int(threadIdx.x), lane = thread % 32;
    const int64_t tile = (int64_t(blockIdx.y / 2) * gridDim.x + blockIdx.x) * 2 + blockIdx.y % 2;
    uint8_t* out = a.tiles + tile * a.tile_bytes;
    const int first_row = int(blockIdx.y) * kTileRows, first_k = int(blockIdx.x) * kTileInputs;
    for (int j = 0; j < kTileInputs / 32; ++j) {
      uint32_t words[4] = {};
      for (int i = 0; i < 16; ++i) {
        const int r = i / 4, row = first_row + thread / 32 * 16 + lane / 4 + r % 2 * 8,
                  k = first_k + j * 32 + r / 2 * 16 + lane % 4 * 4 + i % 4;
        words[r] |= uint32_t(byte(a, row, k)) << i % 4 * 8;
      }
      reinterpret_cast<uint4*>(out)[j * 128 + thread] = {words[0], words[1], words[2], words[3]};
    }
    // Thread 32 g + p makes pair p of group g.
    const int group = thread / 32;
    if (group >= a.groups_per_tile) return;
    const int row = first_row + lane / 8 * 16 + lane % 8,
              k = first_k + group * (kTileInputs / a.groups_per_tile);
    reinterpret_cast<uint32_t*>(out + kByteTileCodeBytes)[thread] =
        scale_bits(a, row, k) | scale_bits(a, row + 8, k) << 16;
  }
};

// Scales in FP32, sixteen rows after another; zeros past the last row. Products of e4m3 have one
// scale, what they were multiplied by.
struct ByteScalesKernel {
  struct Args {
    CanonicalCodes codes;
    float* scale;  // [row tiles][groups][16]
    int groups, group_size;
    int64_t count;
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 4;

  static __device__ void run(const Args& a) {
    const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= a.count) return;
    const int64_t row = i / 16 / a.groups * 16 + i % 16;
    const int group = int(i / 16 % a.groups);
    float scale = 0;
    if (row < a.codes.n)
      scale = a.codes.dequant == Dequant::kE4m3 ? 1 / a.codes.global_scale
                                                : a.codes.scale(int(row), group * a.group_size);
    a.scale[i] = scale;
  }
};

void start_repack(const RepackBytesKernel::Args& args, int64_t row_blocks, int64_t k_tiles,
                  cudaStream_t stream) {
  launch<RepackBytesKernel>(dim3(unsigned(k_tiles), unsigned(2 * row_blocks)), stream, args);
}

}  // namespace

void repack_byte_tiles(const CanonicalWeight& from, const TiledWeight& to, int64_t n, int64_t k,
                       cudaStream_t stream) {
  start_repack({.codes = CanonicalCodes::of(from, n, k),
                .tiles = to.tiles.as<uint8_t>(),
                .tile_bytes = tile_bytes<ByteTile>(to.groups),
                .groups_per_tile = to.groups,
                .code = ByteCode::kE4m3},
               to.row_blocks, to.k_tiles, stream);
}

ByteWeight to_bytes(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                    cudaStream_t stream) {
  const WeightScheme& scheme = canonical.scheme;
  const bool products = scheme.dequant == Dequant::kE4m3;
  ByteWeight result{
      .code = scheme.code == WeightCode::kInt && !products ? ByteCode::kInteger : ByteCode::kE4m3,
      .group_size = products ? k : scheme.group_size,
      .row_blocks = (n + GemmConfig::kRows - 1) / GemmConfig::kRows,
      .k_tiles = (k + kTileInputs - 1) / kTileInputs};
  const int64_t tiles = result.row_blocks * result.k_tiles * GemmConfig::kMWarpgroups,
                groups = k / result.group_size,
                scales = result.row_blocks * GemmConfig::kRows * groups;
  result.tiles = Buffer(backend, size_t(tiles) * kByteTileCodeBytes);
  result.scale = Buffer(backend, size_t(scales) * sizeof(float));
  const CanonicalCodes codes = CanonicalCodes::of(canonical, n, k);
  start_repack({.codes = codes,
                .tiles = result.tiles.as<uint8_t>(),
                .tile_bytes = kByteTileCodeBytes,
                .groups_per_tile = 0,
                .code = result.code},
               result.row_blocks, result.k_tiles, stream);
  constexpr int kThreads = ByteScalesKernel::kThreads;
  launch<ByteScalesKernel>(dim3(unsigned((scales + kThreads - 1) / kThreads)), stream,
                           {.codes = codes,
                            .scale = result.scale.as<float>(),
                            .groups = int(groups),
                            .group_size = int(result.group_size),
                            .count = scales});
  return result;
}

}  // namespace emberq::cuda
