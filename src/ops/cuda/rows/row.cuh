#pragma once

#include <type_traits>

#include "ops/cuda/rows/row_quotient.cuh"
#include "ops/cuda/rows/vector.cuh"

// Rows that a CTA holds in registers, in vectors of eight columns.
namespace emberq::cuda {

enum class Output { kBf16, kFp8 };
template <Output kOutput>
using Stored = std::conditional_t<kOutput == Output::kFp8, Fp8x8, Bf16x8>;
template <Output kOutput>
using StoredHalf = std::conditional_t<kOutput == Output::kFp8, Fp8x4, Bf16x4>;

// An order of a row's vectors: neighbouring threads have neighbouring vectors. Calls
// visit(i, v, inside) for each vector i of the thread. It is vector v of the row, if `inside`.
template <int kThreads, int kVectors>
struct Strided {
  int first;    // vector of the CTA
  int vectors;  // in the row

  __device__ bool whole() const {
    return first + kThreads * kVectors <= vectors;
  }  // all are inside
  template <class Visit>
  __device__ void operator()(const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int v = first + int(threadIdx.x) + i * kThreads;
      visit(i, v, v < vectors);
    }
  }
};

// Visits for loads and stores. If all vectors are inside, there are no conditions. The branch also
// keeps ptxas from moving some loads behind the wait for others.
template <class Order, class Visit>
__device__ void visit_memory(const Order& order, const Visit& visit) {
  if (order.whole()) {
    order([&](int i, int v, bool) { visit(i, v, true); });
  } else {
    order(visit);
  }
}

// The larger of `before` and the largest magnitude in x.
template <class Vector>
__device__ float max_magnitude(const Vector& x, float before) {
#pragma unroll
  for (const float e : x.e) before = fmaxf(before, fabsf(e));
  return before;
}
__device__ inline __nv_bfloat162 max_magnitude(const Bf16x8& x, __nv_bfloat162 before) {
#pragma unroll
  for (const uint32_t pair : x.pair)
    before = __hmax2(before, __habs2(reinterpret_cast<const __nv_bfloat162&>(pair)));
  return before;
}

// Writes y[i] to out[v] for all vectors of `order`: rounded to BF16, or quantized to e4m3 by the
// row's scale. The first branch is the common case: all vectors are inside, and the scale needs no
// shift.
template <class Order, class Vector, class To>
__device__ void store_row(const Order& order, const Vector* y, float scale, To* out) {
  if constexpr (std::is_same_v<To, Fp8x8> || std::is_same_v<To, Fp8x4>) {
    const RowQuotient quotient(scale);
    if (order.whole() && quotient.shift() == 1) {
      order([&](int i, int v, bool) {
        out[v].raw = to_fp8(to_float(y[i]), [&](float e) { return quotient.of_shifted(e); }).raw;
      });
    } else {
      order([&](int i, int v, bool inside) {
        if (inside) out[v].raw = to_fp8(to_float(y[i]), quotient).raw;
      });
    }
  } else {
    visit_memory(order, [&](int i, int v, bool inside) {
      if (inside) out[v].raw = to_bf16(y[i]).raw;
    });
  }
}

}  // namespace emberq::cuda
