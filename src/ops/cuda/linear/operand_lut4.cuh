#pragma once

#include "ops/cuda/linear/expand.h"
#include "ops/cuda/linear/operand.cuh"

namespace emberq::cuda {

// OperandFormat::kLut4: one table of eight e4m3 magnitudes, BF16 scales.
template <GemmConfig C, int kGroups>
class Lut4Operand : public TileOperand<C, Lut4Tile, kGroups> {
  using Base = TileOperand<C, Lut4Tile, kGroups>;

 public:
  static constexpr OperandFormat kFormat = OperandFormat::kLut4;
  static constexpr int kPromotions = kGroups;
  static constexpr bool kExpandsAhead = kGroups == 1 || (C.tokens != 64 && C.tokens != 256);
  static constexpr bool kPrefetchesCodes = false;
  struct Codes {
    uint32_t words[8];
  };

  // One half of the magnitudes stays in constant memory, where PRMT can read one operand. The other
  // half is loaded from shared memory by an address that looks different in every thread. Otherwise
  // the compiler keeps it in a uniform register and moves it before every use.
  __device__ Lut4Operand(const OperandParams& params, uint32_t shared_table)
      : table_(params.table) {
    table_.words[0] = ptx::ld_shared(shared_table + (ptx::reload_thread_index() >> 10));
  }

  __device__ void load_codes(uint32_t tile, Codes& to) const { this->load_words(tile, to.words); }

  __device__ void expand(uint32_t, const Codes& codes, typename Base::Registers& to) const {
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      const RegisterPair pair = expand_sign_magnitude(codes.words[w], table_, table_);
      to[2 * w] = pair.even, to[2 * w + 1] = pair.odd;
    }
    ptx::warpgroup_fence_operand<16>(to);
  }

  __device__ RowScales group_scales(uint32_t tile, int group) const {
    return this->bf16_scales(tile, group);
  }

  template <int kCount>
  static __device__ void finish(const OperandParams&, float (&)[kCount]) {}

 private:
  ByteTable table_;
};

}  // namespace emberq::cuda
