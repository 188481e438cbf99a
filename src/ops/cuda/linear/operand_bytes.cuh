#pragma once

#include "ops/cuda/linear/operand.cuh"

namespace emberq::cuda {

// OperandFormat::kE4m3: bytes that are operand A as they lie; BF16 scales.
template <GemmConfig C, int kGroups>
class ByteOperand : public TileOperand<C, ByteTile, kGroups> {
  using Base = TileOperand<C, ByteTile, kGroups>;

 public:
  static constexpr OperandFormat kFormat = OperandFormat::kE4m3;
  static constexpr int kPromotions = kGroups;
  static constexpr bool kExpandsAhead = C.tokens < 256 && (kGroups == 1 || C.tokens != 64);
  static constexpr bool kPrefetchesCodes = false;
  struct Codes {};  // expand() loads them

  __device__ ByteOperand(const OperandParams&, uint32_t) {}

  __device__ void load_codes(uint32_t, Codes&) const {}

  __device__ void expand(uint32_t tile, const Codes&, typename Base::Registers& to) const {
    const uint32_t own = tile + this->thread() * 16;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const uint4 v = ptx::ld_shared_v4(own + uint32_t(j) * (Base::kThreads * 16));
      to[4 * j] = v.x, to[4 * j + 1] = v.y, to[4 * j + 2] = v.z, to[4 * j + 3] = v.w;
    }
    ptx::warpgroup_fence_operand<16>(to);
  }

  __device__ RowScales group_scales(uint32_t tile, int group) const {
    return this->bf16_scales(tile, group);
  }

  template <int kCount>
  static __device__ void finish(const OperandParams&, float (&)[kCount]) {}
};

}  // namespace emberq::cuda
