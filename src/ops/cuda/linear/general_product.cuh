#pragma once

#include "ops/cuda/linear/general_source.cuh"
#include "ops/cuda/linear/k_slices.h"
#include "ops/cuda/linear/output.cuh"
#include "ops/cuda/ptx/mma.cuh"

// A linear by mma.sync: operand A is 16 rows of W, from a source, and B eight tokens. Two kernels,
// general_few.cuh for few tokens and general_many.cuh for many, that add in the same order, so a
// row's bits are the same by both:
//
//   products   of up to 128 inputs of one weight group and one input group (kTileInputs; a k tile),
//              in the instruction's accumulator: exact of integers
//   slices     the k tiles in eight parts (k_slices.h): the products times their scales in FP32,
//   one
//              after another, from zero
//   sum        the slices, one after another, from zero
namespace emberq::cuda {

template <class Source>
struct GeneralArgs {
  typename Source::Args source;
  const uint8_t* x;      // [x_rows, k] BF16 or, of Product::kS8, I8
  const float* x_scale;  // [x_rows, x_groups] or null
  const int32_t* rows;   // [m] or null
  int64_t x_rows;
  int k;
  int x_groups, x_group_size;
  int weight_group_size;  // k if the products have no scale of a group
  int group_steps;        // after every so many steps one of the groups ends
  LinearOutput out;

  // The row of x of a token; past the last token, that of the last.
  __device__ int64_t row(int token) const {
    const int m = min(token, out.m - 1);
    const int64_t row = rows ? rows[m] : m;
    if (row < 0 || row >= x_rows) __trap();
    return row;
  }
  // Bit s: a product ends with step s of the k tile.
  __device__ unsigned ends(int k_tile) const {
    unsigned ends = 8;
    if (group_steps % kTileSteps == 0) return ends;
#pragma unroll
    for (int step = 0; step < kTileSteps - 1; ++step)
      if ((k_tile * kTileSteps + step + 1) % group_steps == 0) ends |= 1u << step;
    return ends;
  }
  // The scale of a token's sum.
  __device__ float token_scale(int64_t row) const {
    return x_scale && x_groups == 1 ? x_scale[row] : 1.0f;
  }
};

// The accumulators of a 16 x 8 product, and their values.
template <Product kProduct>
struct Accumulators {
  float d[4];

  __device__ void clear() {
#pragma unroll
    for (float& v : d) v = 0;
  }
  __device__ void multiply(const uint32_t* a, const uint32_t* b) {
    ptx::mma_bf16(d, a, b), ptx::mma_bf16(d, a + 4, b + 2);
  }
  __device__ float value(int i) const { return d[i]; }
};
// Integers are added to the last bits of 1.5 * 2^23, so that the sum is a float as it lies: 128
// products are at most 2^21.
template <>
struct Accumulators<Product::kS8> {
  int d[4];

  __device__ void clear() {
#pragma unroll
    for (int& v : d) v = 0x4b400000;
  }
  __device__ void multiply(const uint32_t* a, const uint32_t* b) { ptx::mma_s8(d, a, b); }
  __device__ float value(int i) const { return __fsub_rn(__int_as_float(d[i]), 0x1.8p23f); }
};

// sum += product * the scales of weight and input.
template <Product kProduct>
__device__ void promote(const Accumulators<kProduct>& product, const WeightScales& weight,
                        const float (&x)[2], float (&sum)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    sum[i] =
        __fmaf_rn(__fmul_rn(i < 2 ? weight.low : weight.high, x[i % 2]), product.value(i), sum[i]);
}

// Up to sixteen bytes at `from`, in words.
template <int kBytes>
__device__ void load_words(const void* from, uint32_t* to) {
  if constexpr (kBytes == 16) {
    const uint4 v = *static_cast<const uint4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
  } else if constexpr (kBytes == 8) {
    const uint2 v = *static_cast<const uint2*>(from);
    to[0] = v.x, to[1] = v.y;
  } else {
    static_assert(kBytes == 4);
    to[0] = *static_cast<const uint32_t*>(from);
  }
}

// How a lane's inputs of a step lie in a row of x: operand B.
template <class Source>
struct InputOrder {
  static constexpr int kElement = Source::kProduct == Product::kS8 ? 1 : 2;
  static constexpr int kRuns = 8 / Source::kRun, kRunBytes = Source::kRun * kElement;
  static constexpr int kWords = 8 * kElement / 4, kRunWords = kRunBytes / 4;

  // The first input of a run.
  static __device__ int input(int run) { return run * 16 + lane_index() % 4 * Source::kRun; }
};

}  // namespace emberq::cuda
