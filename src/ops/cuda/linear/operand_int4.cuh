#pragma once

#include "ops/cuda/linear/expand.h"
#include "ops/cuda/linear/operand.cuh"

namespace emberq::cuda {

// OperandFormat::kInt4: integers, which need no table; BF16 scales.
template <GemmConfig C, int kGroups>
class Int4Operand : public TileOperand<C, Int4Tile, kGroups> {
  using Base = TileOperand<C, Int4Tile, kGroups>;

 public:
  static constexpr OperandFormat kFormat = OperandFormat::kInt4;
  static constexpr int kPromotions = kGroups;
  static constexpr bool kExpandsAhead = C.tokens < 256 && (kGroups == 1 || C.tokens != 64);
  static constexpr bool kPrefetchesCodes = false;
  struct Codes {
    uint32_t words[8];
  };

  __device__ Int4Operand(const OperandParams&, uint32_t) {}

  __device__ void load_codes(uint32_t tile, Codes& to) const { this->load_words(tile, to.words); }

  __device__ void expand(uint32_t, const Codes& codes, typename Base::Registers& to) const {
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      const RegisterPair pair = expand_integers(codes.words[w]);
      to[2 * w] = pair.even, to[2 * w + 1] = pair.odd;
    }
    ptx::warpgroup_fence_operand<16>(to);
  }

  __device__ RowScales group_scales(uint32_t tile, int group) const {
    return this->bf16_scales(tile, group);
  }

  template <int kCount>
  static __device__ void finish(const OperandParams& params, float (&sums)[kCount]) {
#pragma unroll
    for (int c = 0; c < kCount; ++c) sums[c] *= params.factor;
  }
};

}  // namespace emberq::cuda
