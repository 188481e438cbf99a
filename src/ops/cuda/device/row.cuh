#pragma once

#include <type_traits>

#include "ops/cuda/device/vector.cuh"

// Rows that a block of threads holds in registers, in vectors of eight columns.
namespace emberq::device {

enum class Output { kBf16, kFp8 };
template <Output kOutput>
using Stored = std::conditional_t<kOutput == Output::kFp8, Fp8x8, Bf16x8>;

// The vectors of a row that a thread has where neighbouring threads have neighbouring vectors.
// Called with visit(i, v, inside): its i-th of kVectors is the row's v-th, if the row has so many.
template <int kThreads, int kVectors>
struct Strided {
  int first;    // of the block
  int vectors;  // in the row

  template <class Visit>
  __device__ void operator()(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = first + int(threadIdx.x) + i * kThreads;
      visit(i, v, v < vectors);
    }
  }
};

// The largest magnitude of eight and of those before.
__device__ inline float absmax(const Float8& x, float before) {
#pragma unroll
  for (int j = 0; j < 8; ++j) before = fmaxf(before, fabsf(x.e[j]));
  return before;
}

// Writes y[i] to the row's v-th vector, for those that `for_each_vector` visits: rounded, or in
// codes by the row's scale.
template <Output kOutput, class ForEachVector>
__device__ void store_row(const ForEachVector& for_each_vector, const Float8* y, float scale,
                          Stored<kOutput>* out) {
  const RowQuotient quotient(scale);
  for_each_vector([&](int i, int v, bool inside) {
    if constexpr (kOutput == Output::kFp8) {
      if (inside) out[v].raw = to_fp8(y[i], quotient).raw;
    } else {
      if (inside) out[v].raw = to_bf16(y[i]).raw;
    }
  });
}

}  // namespace emberq::device
