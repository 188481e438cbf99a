#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "format/dtype.h"
#include "ops/cuda/ptx/pipeline.cuh"

namespace emberq::device {

// What becomes of a linear's sums: token scale, bias and residual in FP32, then one rounding, to
// BF16 or, where `half` is set, to FP16 (beyond 65504 infinity), which residual is of too.
struct LinearEpilogue {
  const float* x_scale;      // [m] or null
  const float* bias;         // [n] or null
  const uint16_t* residual;  // [m, n] or null; may be out
  uint16_t* out;             // [m, n]
  int m, n;
  bool half;

  template <class Linear>
  static LinearEpilogue of(const Linear& op) {
    return {op.x.scale,
            op.bias,
            static_cast<const uint16_t*>(op.residual.data),
            static_cast<uint16_t*>(op.out.data),
            int(op.out.rows),
            int(op.out.dim),
            op.out.dtype == DType::kF16};
  }

  // The scales of kTokens tokens from `token` on, [kTokens] floats in shared memory, on their way
  // there while a warpgroup multiplies: its threads ask for them together, when all have read those
  // that were there before, and all wait before the first reads them.
  template <int kTokens>
  __device__ void ask_for_scales(int token, uint32_t to) const {
    if (!x_scale) return;
#pragma unroll
    for (int i = thread_again() % 128; i < kTokens; i += 128)
      copy_4_or_zero(to + i * 4, x_scale + token + i, token + i < m);
  }
  static __device__ void wait_for_scales() { wait_for_small_copies(); }
  // Of two tokens, at an even place there.
  __device__ float2 scales_at(uint32_t address) const {
    return x_scale ? load_shared_pair(address) : make_float2(1, 1);
  }

  // scale: of that token.
  __device__ void store(int token, int column, float sum, float scale) const {
    const int64_t at = int64_t(token) * n + column;
    float y = sum * scale;
    if (bias) y += bias[column];
    if (residual) y += to_floats(residual[at]).x;
    out[at] = uint16_t(to_pair(y, 0));
  }

  // Rows of out start at multiples of 16 bytes.
  __host__ __device__ bool aligned() const {
    return n % 8 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0 &&
           reinterpret_cast<uintptr_t>(residual) % 16 == 0;
  }

  // A warpgroup's sums of wgmma, d[64 columns][tokens], from `token` and `column` on, whose
  // registers for eight tokens follow each other. kPass tokens at a time are written to one of
  // kBuffers parts of `staging`, [kBuffers][kPass][64] numbers in shared memory, and copied on
  // while the next are. For aligned() rows; `map` is of out, in boxes of kPass rows; scales: where
  // the tokens' are. Before the block ends, thread 0 of the warpgroup waits for its copies.
  template <int kTokens, int kPass, int kBuffers>
  __device__ void store(const CUtensorMap& map, int token, int column, const float* sum,
                        uint32_t staging, uint32_t scales, int barrier) const {
    if (residual)
      store_with<kTokens, kPass, kBuffers, true>(map, token, column, sum, staging, scales, barrier);
    else
      store_with<kTokens, kPass, kBuffers, false>(map, token, column, sum, staging, scales,
                                                  barrier);
  }

 private:
  template <int kTokens, int kPass, int kBuffers, bool kResidual>
  __device__ void store_with(const CUtensorMap& map, int token, int column, const float* sum,
                             uint32_t staging, uint32_t scales, int barrier) const {
    static_assert(kPass % 16 == 0 && kTokens % (kBuffers * kPass) == 0);
    const int thread = thread_again() % 128, warp = thread / 32, lane = thread % 32;
    const int my_column = column + warp * 16 + lane / 4;
    const float bias_of[2] = {bias && my_column < n ? bias[my_column] : 0,
                              bias && my_column + 8 < n ? bias[my_column + 8] : 0};
    // Lanes 8 i ... 8 i + 7 name the rows of 8 x 8 matrix i: tokens 0 and 8, columns 0 and 8.
    const uint32_t matrix = staging + place(lane / 16 * 8 + lane % 8, warp * 2 + lane / 8 % 2);
    constexpr uint32_t kSixteen = 16 * 128;  // tokens, in bytes
#pragma unroll
    for (int pass = 0; pass < kTokens; pass += kPass) {
      const uint32_t buffer = pass / kPass % kBuffers * (kPass * 128);
      if (thread == 0) wait_for_copies_out<kBuffers - 1>();
      warpgroup_barrier(barrier);
      if constexpr (kResidual) {
        // Eight threads have the columns of a token, of every sixteenth.
        const int own_column = column + thread % 8 * 8;
#pragma unroll
        for (int t = 0; t < kPass; t += 16) {
          const int own_token = token + pass + t + thread / 8;
          if (own_token < m && own_column < n)
            store_shared_16(
                staging + buffer + place(thread / 8, thread % 8) + t / 16 * kSixteen,
                *reinterpret_cast<const uint4*>(residual + int64_t(own_token) * n + own_column));
        }
        warpgroup_barrier(barrier);
      }
#pragma unroll
      for (int t = 0; t < kPass; t += 16) {
        uint32_t pairs[4];  // of matrix i: two tokens of a column
        if constexpr (kResidual)
          asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                       : "=r"(pairs[0]), "=r"(pairs[1]), "=r"(pairs[2]), "=r"(pairs[3])
                       : "r"(matrix + buffer + t / 16 * kSixteen)
                       : "memory");
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int eight = (pass + t) / 8 + i / 2;
          const float* d = sum + eight * 4 + i % 2 * 2;
          const float2 s = scales_at(scales + (eight * 8 + lane % 4 * 2) * 4);
          float2 y = {d[0] * s.x + bias_of[i % 2], d[1] * s.y + bias_of[i % 2]};
          if constexpr (kResidual) {
            const float2 other = to_floats(pairs[i]);
            y.x += other.x, y.y += other.y;
          }
          pairs[i] = to_pair(y.x, y.y);
        }
        asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                         matrix + buffer + t / 16 * kSixteen),
                     "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]), "r"(pairs[3])
                     : "memory");
      }
      publish_to_copies();
      warpgroup_barrier(barrier);
      if (thread == 0) copy_box_out(map, column, token + pass, staging + buffer);
    }
  }

  __device__ uint32_t to_pair(float x, float y) const {
    if (half) {
      const __half2 pair = __floats2half2_rn(x, y);
      return reinterpret_cast<const uint32_t&>(pair);
    }
    const __nv_bfloat162 pair = __floats2bfloat162_rn(x, y);
    return reinterpret_cast<const uint32_t&>(pair);
  }
  __device__ float2 to_floats(uint32_t pair) const {
    if (half) return __half22float2(reinterpret_cast<const __half2&>(pair));
    return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
  }
  // Where sixteen of a token's 128 bytes are, in TMA's swizzle.
  static __device__ uint32_t place(int row, int chunk) {
    return uint32_t(row * 128 + (chunk ^ row % 8) * 16);
  }
};

}  // namespace emberq::device
