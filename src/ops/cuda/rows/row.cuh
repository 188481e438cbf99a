#pragma once

#include <type_traits>

#include "ops/activations.h"
#include "ops/cuda/rows/row_quotient.cuh"
#include "ops/cuda/rows/vector.cuh"

// Rows that a CTA holds in registers, in vectors of eight columns.
namespace emberq::cuda {

// What a kernel writes: codes with a scale for each row, or values; kF32 for another kernel to
// quantize.
enum class Output { kBf16, kFp8, kI8, kF32 };
constexpr bool has_scale(Output output) { return output == Output::kFp8 || output == Output::kI8; }

// Vectors of eight elements and of four.
template <Output kOutput>
struct StoredVectors;
template <>
struct StoredVectors<Output::kBf16> {
  using Eight = Bf16x8;
  using Four = Bf16x4;
};
template <>
struct StoredVectors<Output::kFp8> {
  using Eight = Fp8x8;
  using Four = Fp8x4;
};
template <>
struct StoredVectors<Output::kI8> {
  using Eight = I8x8;
  using Four = I8x4;
};
template <>
struct StoredVectors<Output::kF32> {
  using Eight = Float8;
  using Four = Float4;
};
template <Output kOutput>
using Stored = typename StoredVectors<kOutput>::Eight;
template <Output kOutput>
using StoredHalf = typename StoredVectors<kOutput>::Four;

// The scale of a row, by format/scale.h.
template <Output kOutput>
__device__ float row_scale(float absmax, int code_max) {
  return kOutput == Output::kI8 ? int_row_scale(absmax, code_max) : fp8_row_scale(absmax);
}

// visit.operator()<output>() with what a kernel writes for an operation's output.
template <class Visit>
void with_output(const Activations& out, const Visit& visit) {
  switch (out.dtype) {
    case DType::kF8E4M3:
      return visit.template operator()<Output::kFp8>();
    case DType::kI8:
      return visit.template operator()<Output::kI8>();
    case DType::kF32:
      return visit.template operator()<Output::kF32>();
    default:
      return visit.template operator()<Output::kBf16>();
  }
}

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

// Writes y[i] to out[v] for all vectors of `order`: as they are, rounded to BF16, or quantized by
// the row's scale, to e4m3 or to integers of up to `code_max`. The first branch is the common case:
// all vectors are inside, and the scale needs no shift.
template <class Order, class Vector, class To>
__device__ void store_row(const Order& order, const Vector* y, float scale, int code_max, To* out) {
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
  } else if constexpr (std::is_same_v<To, I8x8> || std::is_same_v<To, I8x4>) {
    visit_memory(order, [&](int i, int v, bool inside) {
      if (inside) out[v].raw = to_s8(to_float(y[i]), {scale, code_max}).raw;
    });
  } else if constexpr (std::is_same_v<To, Float8>) {
    visit_memory(order, [&](int i, int v, bool inside) {
      if (inside) out[v].raw[0] = y[i].raw[0], out[v].raw[1] = y[i].raw[1];
    });
  } else if constexpr (std::is_same_v<To, Float4>) {
    visit_memory(order, [&](int i, int v, bool inside) {
      if (inside) out[v].raw = y[i].raw;
    });
  } else {
    visit_memory(order, [&](int i, int v, bool inside) {
      if (inside) out[v].raw = to_bf16(y[i]).raw;
    });
  }
}

}  // namespace emberq::cuda
