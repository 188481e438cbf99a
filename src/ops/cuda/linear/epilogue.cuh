#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "format/dtype.h"
#include "ops/cuda/linear/barriers.cuh"
#include "ops/cuda/ptx/registers.cuh"
#include "ops/cuda/ptx/shared_memory.cuh"
#include "ops/cuda/ptx/tma.cuh"

namespace emberq::cuda {

// The epilogue of a linear: token scale, bias and residual in FP32, then one rounding, to BF16 or
// FP16 (above 65504: infinity). The residual has the type of the output.
struct LinearEpilogue {
  const float* x_scale;      // [m] or null
  const float* bias;         // [n] or null
  const uint16_t* residual;  // [m, n] or null; may alias out
  uint16_t* out;             // [m, n]
  int m, n;
  bool half;  // FP16

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

  // Loads the scales of kTokens tokens from `token` on into shared memory, [kTokens] floats, while
  // the warpgroup multiplies. All its threads call this together, after all have read the previous
  // scales. All call wait_for_token_scales() before any reads the new ones.
  template <int kTokens>
  __device__ void prefetch_token_scales(int token, uint32_t to) const {
    if (!x_scale) return;
#pragma unroll
    for (int i = ptx::reload_thread_index() % 128; i < kTokens; i += 128)
      ptx::cp_async_4_zfill(to + i * 4, x_scale + token + i, token + i < m);
  }
  static __device__ void wait_for_token_scales() { ptx::cp_async_wait_all(); }
  // The scales of two tokens. The address is a multiple of eight.
  __device__ float2 token_scales(uint32_t address) const {
    return x_scale ? ptx::ld_shared_v2_f32(address) : make_float2(1, 1);
  }

  __device__ bool has(int token, int column) const { return token < m && column < n; }
  // What is added to an element's product, to be loaded before its sum is complete.
  struct Addends {
    float bias, residual;
  };
  __device__ Addends addends(int token, int column) const {
    return {bias ? bias[column] : 0.0f,
            residual ? to_floats(residual[int64_t(token) * n + column]).x : 0.0f};
  }
  // Stores one element. `scale` is the token's. (By the two functions below, ptxas spills in the
  // kernel of 256 tokens.)
  __device__ void store(int token, int column, float sum, float scale) const {
    const int64_t at = int64_t(token) * n + column;
    float y = sum * scale;
    if (bias) y += bias[column];
    if (residual) y += to_floats(residual[at]).x;
    out[at] = uint16_t(to_pair(y, 0));
  }
  __device__ void store(int token, int column, float sum, float scale,
                        const Addends& addends) const {
    float y = sum * scale;
    if (bias) y += addends.bias;
    if (residual) y += addends.residual;
    out[int64_t(token) * n + column] = uint16_t(to_pair(y, 0));
  }

  // Whether the rows of out and residual start at multiples of 16 bytes, as TMA needs.
  __host__ __device__ bool aligned() const {
    return n % 8 == 0 && reinterpret_cast<uintptr_t>(out) % 16 == 0 &&
           reinterpret_cast<uintptr_t>(residual) % 16 == 0;
  }

  // Stores the accumulators of a warpgroup, d[64 columns][kTokens], at `token` and `column` by TMA.
  // Needs aligned(). `map` is the tensor map of out in boxes of kPass tokens. In each pass, kPass
  // tokens are written to one of kBuffers buffers in shared memory, `staging`
  // [kBuffers][kPass][64], and stored from there while the next pass is written. `scales` is the
  // address of the token scales. Before the CTA ends, thread 0 of the warpgroup calls
  // tma_store_wait().
  template <int kTokens, int kPass, int kBuffers>
  __device__ void store(const CUtensorMap& map, int token, int column, const float* sum,
                        uint32_t staging, uint32_t scales, int warpgroup) const {
    if (residual)
      store_with<kTokens, kPass, kBuffers, true>(map, token, column, sum, staging, scales,
                                                 warpgroup);
    else
      store_with<kTokens, kPass, kBuffers, false>(map, token, column, sum, staging, scales,
                                                  warpgroup);
  }

 private:
  template <int kTokens, int kPass, int kBuffers, bool kResidual>
  __device__ void store_with(const CUtensorMap& map, int token, int column, const float* sum,
                             uint32_t staging, uint32_t scales, int warpgroup) const {
    static_assert(kPass % 16 == 0 && kTokens % (kBuffers * kPass) == 0);
    const int thread = ptx::reload_thread_index() % 128, warp = thread / 32, lane = thread % 32;
    const int my_column = column + warp * 16 + lane / 4;
    const float bias_of[2] = {bias && my_column < n ? bias[my_column] : 0,
                              bias && my_column + 8 < n ? bias[my_column + 8] : 0};
    // Matrix i of ldmatrix and stmatrix: tokens 0 or 8, columns 0 or 8.
    const uint32_t matrix = staging + swizzled(lane / 16 * 8 + lane % 8, warp * 2 + lane / 8 % 2);
    constexpr uint32_t kSixteenTokens = 16 * 128;  // in bytes
#pragma unroll
    for (int pass = 0; pass < kTokens; pass += kPass) {
      const uint32_t buffer = pass / kPass % kBuffers * (kPass * 128);
      if (thread == 0) ptx::tma_store_wait<kBuffers - 1>();
      warpgroup_sync(warpgroup);
      if constexpr (kResidual) {
        // Eight threads load the columns of one token, sixteen tokens at a time.
        const int own_column = column + thread % 8 * 8;
#pragma unroll
        for (int t = 0; t < kPass; t += 16) {
          const int own_token = token + pass + t + thread / 8;
          if (own_token < m && own_column < n)
            ptx::st_shared_v4(
                staging + buffer + swizzled(thread / 8, thread % 8) + t / 16 * kSixteenTokens,
                *reinterpret_cast<const uint4*>(residual + int64_t(own_token) * n + own_column));
        }
        warpgroup_sync(warpgroup);
      }
#pragma unroll
      for (int t = 0; t < kPass; t += 16) {
        uint32_t pairs[4];  // of matrix i: two tokens of a column
        if constexpr (kResidual)
          ptx::ldmatrix_x4_trans(matrix + buffer + t / 16 * kSixteenTokens, pairs);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int eight = (pass + t) / 8 + i / 2;
          const float* d = sum + eight * 4 + i % 2 * 2;
          const float2 s = token_scales(scales + (eight * 8 + lane % 4 * 2) * 4);
          float2 y = {d[0] * s.x + bias_of[i % 2], d[1] * s.y + bias_of[i % 2]};
          if constexpr (kResidual) {
            const float2 other = to_floats(pairs[i]);
            y.x += other.x, y.y += other.y;
          }
          pairs[i] = to_pair(y.x, y.y);
        }
        ptx::stmatrix_x4_trans(matrix + buffer + t / 16 * kSixteenTokens, pairs);
      }
      ptx::fence_proxy_async();
      warpgroup_sync(warpgroup);
      if (thread == 0) ptx::tma_store_2d(map, column, token + pass, staging + buffer);
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
  // The offset of a 16-byte chunk of a row of 128 bytes, in the 128-byte swizzle of TMA.
  static __device__ uint32_t swizzled(int row, int chunk) {
    return uint32_t(row * 128 + (chunk ^ row % 8) * 16);
  }
};

}  // namespace emberq::cuda
