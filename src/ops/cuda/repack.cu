// Canonical to device order. A block writes one tile: a thread the eight words that it will read
// when it multiplies, each from four neighbouring codes of two rows, and one pair of scales of each
// set.
#include <array>

#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/launch.cuh"

namespace emberq::cuda {
namespace {

using device::kW4Inputs;
using device::kW4Rows;

struct RepackKernel {
  struct Args {
    const uint32_t* packed;  // [n, k / 8]
    const uint16_t* scale;   // [n, groups]
    uint8_t* tiles;
    int n, k, groups, group_size, sets;
  };
  static constexpr int kThreads = 128;
  static constexpr int kBlocks = 1;

  // Four codes from k, a multiple of four, on.
  static __device__ uint32_t codes(const Args& a, int row, int k) {
    if (row >= a.n || k >= a.k) return 0;
    return a.packed[int64_t(row) * (a.k / 8) + k / 8] >> k % 8 * 4 & 0xffff;
  }
  static __device__ uint32_t scale(const Args& a, int row, int k) {
    if (row >= a.n || k >= a.k) return 0;
    return a.scale[int64_t(row) * a.groups + k / a.group_size];
  }

  static __device__ void run(const Args& a) {
    const int thread = int(threadIdx.x), lane = thread % 32;
    const int first_k = int(blockIdx.x) * kW4Inputs, k_tiles = int(gridDim.x);
    // The tile's place: [block of two][k tile][of the two].
    const int64_t tile = (int64_t(blockIdx.y / 2) * k_tiles + blockIdx.x) * 2 + blockIdx.y % 2;
    uint8_t* out = a.tiles + tile * W4Weight::tile_bytes(a.sets);
    const int in_tile = thread / 32 * 16 + lane / 4, row = int(blockIdx.y) * kW4Rows + in_tile;
    uint32_t words[8] = {};
#pragma unroll
    for (int w = 0; w < 8; ++w)
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const int k = 16 * w + 4 * (lane % 4);
        const uint32_t four = codes(a, row + 8 * odd, first_k + k);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          words[w] |=
              device::w4_bits(device::w4_place(in_tile + 8 * odd, k + i), four >> 4 * i & 15);
      }
    auto* to = reinterpret_cast<uint4*>(out);
    to[thread] = {words[0], words[1], words[2], words[3]};
    to[128 + thread] = {words[4], words[5], words[6], words[7]};
    // Thread 32 s + p: pair p of set s.
    const int set = thread / 32, pair_row = int(blockIdx.y) * kW4Rows + lane / 8 * 16 + lane % 8;
    const int k = first_k + set * (kW4Inputs / a.sets);
    if (set < a.sets)
      reinterpret_cast<uint32_t*>(out + W4Weight::kCodeBytes)[thread] =
          scale(a, pair_row, k) | scale(a, pair_row + 8, k) << 16;
  }
};

}  // namespace

W4Weight repack(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                cudaStream_t stream) {
  const WeightScheme& scheme = canonical.scheme;
  W4Weight result{.row_blocks = (n + W4Config::kRows - 1) / W4Config::kRows,
                  .k_tiles = (k + kW4Inputs - 1) / kW4Inputs,
                  .sets = scheme.group_size < kW4Inputs ? kW4Inputs / scheme.group_size : 1,
                  .signs = scheme.code == WeightCode::kLut};
  std::array<uint8_t, 16> numbers;
  for (int u = 0; u < 16; ++u) numbers[size_t(u)] = fp8_encode(weight_code_value(scheme, u));
  result.table = device::w4_table(numbers);
  const int64_t tiles = result.row_blocks * result.k_tiles * 2;
  result.tiles = Buffer(backend, size_t(tiles) * size_t(W4Weight::tile_bytes(result.sets)));
  launch<RepackKernel>(dim3(unsigned(result.k_tiles), unsigned(2 * result.row_blocks)), stream,
                       {.packed = canonical.packed.as<uint32_t>(),
                        .scale = canonical.scale.as<uint16_t>(),
                        .tiles = result.tiles.as<uint8_t>(),
                        .n = int(n),
                        .k = int(k),
                        .groups = int(k / scheme.group_size),
                        .group_size = scheme.group_size,
                        .sets = result.sets});
  return result;
}

}  // namespace emberq::cuda
