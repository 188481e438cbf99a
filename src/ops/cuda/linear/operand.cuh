#pragma once

#include <cstdint>

#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/ptx/registers.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/wgmma.cuh"

// An operand is all that LinearKernel knows of a weight format: how a thread of a math warpgroup
// makes operand A of wgmma from a tile in shared memory. It is a class template of the
// configuration and of the groups of a tile:
//
//   template <GemmConfig C, int kGroups> class Operand
//     static constexpr OperandFormat kFormat;
//     static constexpr int kTileBytes;         codes and group data of a tile
//     static constexpr int kPromotions;        how often the sums of a k-step leave the accumulator
//                                              of wgmma for FP32 registers; 0: only after the last
//     static constexpr bool kExpandsAhead;     registers for the next k-step's operand are free
//     static constexpr bool kPrefetchesCodes;  the codes of the k-step after that are loaded early
//     Mma<kTokens>                             wgmma of this element type
//     struct Codes; Registers                  what load_codes() and expand() write
//     Operand(params, shared_table)            the kernel's argument, and the address of a copy of
//                                              its table in shared memory
//     load_codes(tile, codes)                  tile: its address in shared memory
//     expand(tile, codes, registers)
//     group_scales(tile, group)                if it promotes
//     finish(params, sums)                     after the last k-step
namespace emberq::cuda {

// The scales of a thread's two rows, g and g + 8.
struct RowScales {
  float low, high;
};

// The part of an operand that depends on the tile order only.
template <GemmConfig C, class Tile, int kGroups>
class TileOperand {
 public:
  using TileOrder = Tile;
  static constexpr int kTileBytes = tile_bytes<Tile>(kGroups);
  template <int kTokens>
  using Mma = ptx::WgmmaE4m3<kTokens>;
  using Registers = uint32_t[16];  // four for each wgmma

 protected:
  // That share a tile in shared memory: a warp has one of its four slices of 16 rows alone.
  static constexpr uint32_t kThreads = C.slices ? 32 : 128;
  static constexpr uint32_t kSliced = 128 / kThreads;

  __device__ void load_words(uint32_t tile, uint32_t (&words)[8]) const {
    const uint32_t codes = tile + thread() * 16;
    const uint4 v[2] = {ptx::ld_shared_v4(codes), ptx::ld_shared_v4(codes + kThreads * 16)};
    for (int half = 0; half < 2; ++half) {
      uint32_t* to = words + 4 * half;
      to[0] = v[half].x, to[1] = v[half].y, to[2] = v[half].z, to[3] = v[half].w;
    }
  }
  // The address of a group's data for the two rows of this thread.
  __device__ uint32_t group_data(uint32_t tile, int group) const {
    return tile + (Tile::kCodeBytes + group * Tile::kGroupBytes) / kSliced +
           thread() / 4 * (Tile::kGroupBytes / 32);
  }
  __device__ RowScales bf16_scales(uint32_t tile, int group) const {
    const uint32_t pair = ptx::ld_shared(group_data(tile, group));
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000)};
  }

  __device__ uint32_t thread() const {
    return kReloadsThreadIndex ? uint32_t(ptx::reload_thread_index()) % kThreads : thread_;
  }

 private:
  // 256 tokens leave no register for the thread's index.
  static constexpr bool kReloadsThreadIndex = C.tokens == 256;

  uint32_t thread_ = uint32_t(ptx::reload_thread_index()) % kThreads;  // of those
};

}  // namespace emberq::cuda
