#pragma once

#include "ops/cuda/linear/expand.h"
#include "ops/cuda/linear/operand.cuh"

namespace emberq::cuda {

// OperandFormat::kLut4E4m3 and kInt4E4m3: a table of e4m3 products for each row and group, which
// have the group's scale in them. So the sums stay in the accumulator of wgmma (14 bits) from the
// first input to the last, as FireQ publishes it.
template <GemmConfig C, int kGroups, OperandFormat kTheFormat>
class E4m3Operand : public TileOperand<C, E4m3Tile, kGroups> {
  using Base = TileOperand<C, E4m3Tile, kGroups>;

 public:
  static constexpr OperandFormat kFormat = kTheFormat;
  static constexpr int kPromotions = 0;
  static constexpr bool kExpandsAhead = true;
  // Measured gain for 128-token tiles only.
  static constexpr bool kPrefetchesCodes = C.tokens == 128;
  // The products of the only group are loaded with the codes. Those of more would take too many
  // registers.
  static constexpr bool kLoadsProducts = kGroups == 1;
  struct Codes {
    uint32_t words[8];
    uint4 products;  // if kLoadsProducts
  };

  __device__ E4m3Operand(const OperandParams&, uint32_t) {}

  __device__ void load_codes(uint32_t tile, Codes& to) const {
    this->load_words(tile, to.words);
    if constexpr (kLoadsProducts) to.products = ptx::ld_shared_v4(this->group_data(tile, 0));
  }

  __device__ void expand(uint32_t tile, const Codes& codes, typename Base::Registers& to) const {
    constexpr int kWordsPerGroup = 8 / kGroups;
    ByteTable even, odd;
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      if (w % kWordsPerGroup == 0) {
        const uint4 v = kLoadsProducts
                            ? codes.products
                            : ptx::ld_shared_v4(this->group_data(tile, w / kWordsPerGroup));
        if constexpr (kFormat == OperandFormat::kLut4E4m3)
          even = {{v.x, v.y}}, odd = {{v.z, v.w}};
        else
          even = table_of_negatives(v.x, v.y), odd = table_of_negatives(v.z, v.w);
      }
      RegisterPair pair;
      if constexpr (kFormat == OperandFormat::kLut4E4m3)
        pair = expand_sign_magnitude(codes.words[w], even, odd);
      else
        pair = expand_table(codes.words[w], even, odd);
      to[2 * w] = pair.even, to[2 * w + 1] = pair.odd;
    }
    ptx::warpgroup_fence_operand<16>(to);
  }

  template <int kCount>
  static __device__ void finish(const OperandParams& params, float (&sums)[kCount]) {
#pragma unroll
    for (int c = 0; c < kCount; ++c) sums[c] *= params.factor;
  }
};

template <GemmConfig C, int kGroups>
using Lut4E4m3Operand = E4m3Operand<C, kGroups, OperandFormat::kLut4E4m3>;
template <GemmConfig C, int kGroups>
using Int4E4m3Operand = E4m3Operand<C, kGroups, OperandFormat::kInt4E4m3>;

}  // namespace emberq::cuda
