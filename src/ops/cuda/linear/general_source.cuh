#pragma once

#include <cstdint>
#include <type_traits>

#include "ops/cuda/linear/expand.h"
#include "ops/cuda/linear/general.h"
#include "ops/cuda/linear/pick_general.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/linear/to_bf16.cuh"

// A source is all that the general kernels know of a form of weights: how a warp makes operand A of
// mma.sync for 16 rows of W, a row tile. A step is 32 inputs, and a k tile is four steps.
//
//   class Source
//     static constexpr Product kProduct;  the instruction
//     static constexpr int kRun;          neighbouring inputs of a lane, 4 or 8: the lane with
//                                         t = lane % 4 has inputs 4 t + i and 16 + 4 t + i of a
//                                         step, or 8 t + i
//     struct Args;                        `k_tiles` and what else it needs
//     struct Raw;                         registers with the codes of a k tile
//     Source(args, row_tile)
//     load(k_tile, raw)
//     fragment(raw, k_tile, step, a)      step of the k tile; a: the registers of its mma, in order
//     scales(k)                           of the group of input k, for rows g and g + 8
namespace emberq::cuda {

inline constexpr int kTileSteps = kTileInputs / kStepInputs;

enum class Product { kBf16, kS8 };
// Registers of operand A for a step: of two mma, or of one.
template <Product kProduct>
inline constexpr int kFragmentWords = kProduct == Product::kS8 ? 4 : 8;

struct WeightScales {
  float low, high;
};

__device__ inline int lane_index() { return int(threadIdx.x) % 32; }

// Weights in the tiles of tile_order.h.
class TileReader {
 public:
  __device__ TileReader(const uint8_t* tiles, int k_tiles, int tile_bytes, int row_tile)
      : first_(tiles + (int64_t(row_tile / 8) * k_tiles * 2 + row_tile / 4 % 2) * tile_bytes),
        stride_(2 * tile_bytes),
        thread_(row_tile % 4 * 32 + lane_index()) {}

  // Vector i of this lane's codes.
  __device__ uint4 codes(int k_tile, int i) const {
    return __ldg(reinterpret_cast<const uint4*>(tile(k_tile) + i * 2048 + thread_ * 16));
  }
  // The data of a group of the tile for this lane's two rows; kCodeBytes come before.
  template <int kCodeBytes, class Data>
  __device__ Data group_data(int k_tile, int group) const {
    const uint8_t* data = tile(k_tile) + kCodeBytes + group * int(32 * sizeof(Data));
    return __ldg(reinterpret_cast<const Data*>(data) + thread_ / 4);
  }
  template <int kCodeBytes>
  __device__ WeightScales bf16_scales(int k_tile, int group) const {
    const auto pair = group_data<kCodeBytes, uint32_t>(k_tile, group);
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000)};
  }

 private:
  __device__ const uint8_t* tile(int k_tile) const { return first_ + int64_t(k_tile) * stride_; }

  const uint8_t* first_;
  int stride_, thread_;
};

// Registers r = 2 q + h of bytes, row g + 8 h and inputs 16 q + 4 t + i, as operand A.
template <ByteCode kCode, Product kProduct>
__device__ void fragment_of_bytes(const uint32_t (&bytes)[4],
                                  uint32_t (&a)[kFragmentWords<kProduct>]) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    if constexpr (kProduct == Product::kS8) {
      a[r] = bytes[r];
    } else {
      const Bf16Pairs pairs =
          kCode == ByteCode::kE4m3 ? e4m3_to_bf16(bytes[r]) : s8_to_bf16(bytes[r]);
      a[r / 2 * 4 + r % 2] = pairs.pair[0], a[r / 2 * 4 + 2 + r % 2] = pairs.pair[1];
    }
  }
}

// ByteWeight, and TiledWeight of OperandFormat::kE4m3.
template <ByteCode kCode, Product kTheProduct>
class ByteSource {
 public:
  static constexpr Product kProduct = kTheProduct;
  static constexpr int kRun = 4;
  struct Args {
    const uint8_t* tiles;
    int k_tiles, tile_bytes;
    const float* scale;              // [row tiles][groups][16]; null: pairs of BF16 in the tiles
    int groups, group_size;          // of `scale`
    int group_inputs = kTileInputs;  // of a group of a tile
  };
  struct Raw {
    uint4 codes[kTileSteps];
  };

  __device__ ByteSource(const Args& a, int row_tile)
      : a_(a),
        reader_(a.tiles, a.k_tiles, a.tile_bytes, row_tile),
        scale_(a.scale + int64_t(row_tile) * a.groups * 16 + lane_index() / 4) {}

  __device__ void load(int k_tile, Raw& to) const {
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step) to.codes[step] = reader_.codes(k_tile, step);
  }
  __device__ void fragment(const Raw& raw, int, int step,
                           uint32_t (&a)[kFragmentWords<kProduct>]) const {
    const uint4& v = raw.codes[step];
    fragment_of_bytes<kCode, kProduct>({v.x, v.y, v.z, v.w}, a);
  }
  __device__ WeightScales scales(int k) const {
    if (!a_.scale)
      return reader_.bf16_scales<kByteTileCodeBytes>(k / kTileInputs,
                                                     k % kTileInputs / a_.group_inputs);
    const float* scale = scale_ + int64_t(k / a_.group_size) * 16;
    return {__ldg(scale), __ldg(scale + 8)};
  }

 private:
  const Args& a_;
  TileReader reader_;
  const float* scale_;
};

// Four integers of IntegerCodes and four of the other register as bytes in two's complement: a
// negative one has the three bits of its one's complement.
__device__ inline RegisterPair expand_to_s8(uint32_t word) {
  const auto bytes = [](uint32_t codes) {
    return (codes & 0x07070707) ^ permute_bytes(codes, codes, 0xba98);
  };
  return {bytes(word), bytes(word >> 4 | word << 28)};
}

// TiledWeight of four bits.
template <OperandFormat kFormat, Product kTheProduct>
class NibbleSource {
 public:
  static constexpr Product kProduct = kTheProduct;
  static constexpr int kRun = 4;
  static constexpr bool kHasProducts =
      kFormat == OperandFormat::kLut4E4m3 || kFormat == OperandFormat::kInt4E4m3;
  static_assert(kProduct == Product::kBf16 || kFormat == OperandFormat::kInt4);
  struct Args {
    const uint8_t* tiles;
    int k_tiles, tile_bytes;
    int group_inputs;  // of a group of a tile
    OperandParams params;
  };
  struct Raw {
    uint4 codes[2];
    uint4 products;  // of the first group, if kHasProducts
  };

  __device__ NibbleSource(const Args& a, int row_tile)
      : a_(a), reader_(a.tiles, a.k_tiles, a.tile_bytes, row_tile) {}

  __device__ void load(int k_tile, Raw& to) const {
    to.codes[0] = reader_.codes(k_tile, 0), to.codes[1] = reader_.codes(k_tile, 1);
    if constexpr (kHasProducts) to.products = products(k_tile, 0);
  }
  __device__ void fragment(const Raw& raw, int k_tile, int step,
                           uint32_t (&a)[kFragmentWords<kProduct>]) const {
    const uint4& v = raw.codes[step / 2];
    const uint32_t words[2] = {step % 2 ? v.z : v.x, step % 2 ? v.w : v.y};
    ByteTable even = a_.params.table, odd = even;
    if constexpr (kHasProducts) {
      const int group = step * kStepInputs / a_.group_inputs;
      const uint4 p = group == 0 ? raw.products : products(k_tile, group);
      if constexpr (kFormat == OperandFormat::kLut4E4m3)
        even = {{p.x, p.y}}, odd = {{p.z, p.w}};
      else
        even = table_of_negatives(p.x, p.y), odd = table_of_negatives(p.z, p.w);
    }
    uint32_t bytes[4];
#pragma unroll
    for (int q = 0; q < 2; ++q) {
      const RegisterPair pair = expand(words[q], even, odd);
      bytes[2 * q] = pair.even, bytes[2 * q + 1] = pair.odd;
    }
    fragment_of_bytes<ByteCode::kE4m3, kProduct>(bytes, a);
  }
  __device__ WeightScales scales(int k) const {
    const float factor = kProduct == Product::kS8 ? 1.0f : a_.params.factor;
    if constexpr (kHasProducts) return {factor, factor};
    const WeightScales scales =
        reader_.bf16_scales<kTileCodeBytes>(k / kTileInputs, k % kTileInputs / a_.group_inputs);
    return {scales.low * factor, scales.high * factor};
  }

 private:
  static __device__ RegisterPair expand(uint32_t word, const ByteTable& even,
                                        const ByteTable& odd) {
    if constexpr (kProduct == Product::kS8) return expand_to_s8(word);
    if constexpr (kFormat == OperandFormat::kInt4) return expand_integers(word);
    if constexpr (kFormat == OperandFormat::kInt4E4m3) return expand_table(word, even, odd);
    return expand_sign_magnitude(word, even, odd);
  }
  __device__ uint4 products(int k_tile, int group) const {
    return reader_.group_data<kTileCodeBytes, uint4>(k_tile, group);
  }

  const Args& a_;
  TileReader reader_;
};

// BF16 weights, row after row.
class DenseSource {
 public:
  static constexpr Product kProduct = Product::kBf16;
  static constexpr int kRun = 8;
  struct Args {
    const uint16_t* values;  // [n, k]
    int k_tiles, n, k;
  };
  struct Raw {
    uint4 rows[kTileSteps][2];
  };

  // Past the last row, that one is multiplied again and not stored.
  __device__ DenseSource(const Args& a, int row_tile) : k_(a.k), first_(lane_index() % 4 * 8) {
    const int row = row_tile * 16 + lane_index() / 4;
    low_ = a.values + int64_t(min(row, a.n - 1)) * a.k;
    high_ = a.values + int64_t(min(row + 8, a.n - 1)) * a.k;
  }

  __device__ void load(int k_tile, Raw& to) const {
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step) {
      const int k = k_tile * kTileInputs + step * kStepInputs + first_;
      to.rows[step][0] = to.rows[step][1] = uint4{};
      if (k < k_) {
        to.rows[step][0] = __ldg(reinterpret_cast<const uint4*>(low_ + k));
        to.rows[step][1] = __ldg(reinterpret_cast<const uint4*>(high_ + k));
      }
    }
  }
  __device__ void fragment(const Raw& raw, int, int step, uint32_t (&a)[8]) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint4& v = raw.rows[step][h];
      a[h] = v.x, a[2 + h] = v.y, a[4 + h] = v.z, a[6 + h] = v.w;
    }
  }
  __device__ WeightScales scales(int) const { return {1, 1}; }

 private:
  const uint16_t *low_, *high_;
  int k_, first_;
};

}  // namespace emberq::cuda
