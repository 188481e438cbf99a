// From the projections of q, k and v to queries and a cache: one warp for each head of a token.
#include <cuda_fp8.h>

#include <array>
#include <bit>

#include "format/hadamard.h"
#include "format/scale.h"
#include "ops/cuda/attention/attention.h"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

constexpr int kChannels = kMaxHeadDim / 32;  // of a lane
constexpr unsigned kAllLanes = 0xffffffff;

// The transform of format/hadamard.h, as a kernel's argument.
struct HadamardOfHead {
  int size = 0, order = 1;  // size 0: none
  float scale = 1;
  // Bit i: Paley's sign at row + column - 2 = i is negative.
  std::array<uint32_t, 2 * kMaxHeadDim / 32> negative{};

  static HadamardOfHead of(int64_t head_dim) {
    HadamardOfHead transform;
    transform.size = int(hadamard_size(head_dim));
    transform.order = int(paley_order(transform.size));
    transform.scale = float(1 / std::sqrt(double(transform.size)));
    const int q = transform.order - 1;
    for (int root = 0; q > 0 && root < q; ++root)
      for (const int i : {root * root % q, root * root % q + q})
        transform.negative[size_t(i / 32)] |= 1u << i % 32;
    return transform;
  }
};

// A head in the registers of a warp: lane l has channels l, l + 32, ... Products whose sum follows
// are rounded first (__fmul_rn), so that the codes are those of the CPU.
struct Head {
  float x[kChannels];
  int dim, lane;

  template <class Visit>
  __device__ void for_each(const Visit& visit) {
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const int channel = lane + 32 * i;
      if (channel < dim) visit(x[i], channel);
    }
  }

  // Writes the head to shared memory, from where other lanes read it.
  __device__ void share(float* memory) {
    __syncwarp();
    for_each([&](float value, int c) { memory[c] = value; });
    __syncwarp();
  }

  __device__ void load(const __nv_bfloat16* from) {
    for_each([&](float& value, int c) { value = __bfloat162float(from[c]); });
  }
  __device__ void normalize(const float* weight, float eps) {
    double sum = 0;
    for_each([&](float value, int) { sum += double(value) * double(value); });
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(kAllLanes, sum, offset);
    const float inverse = float(1 / sqrt(sum / double(dim) + double(eps)));
    for_each([&](float& value, int c) { value = __fmul_rn(value * inverse, weight[c]); });
  }
  __device__ void turn(const float* cos, const float* sin, float* memory) {
    share(memory);
    const int half = dim / 2;
    for_each([&](float& value, int c) {
      value = c < half ? fmaf(value, cos[c], -__fmul_rn(memory[c + half], sin[c]))
                       : fmaf(value, cos[c - half], __fmul_rn(memory[c - half], sin[c - half]));
    });
  }
  __device__ void subtract(const float* mean) {
    for_each([&](float& value, int c) { value -= mean[c]; });
  }
  __device__ void multiply(const float* scale) {
    for_each([&](float& value, int c) { value = __fmul_rn(value, scale[c]); });
  }

  __device__ void transform(const HadamardOfHead& by, float* memory) {
    const int width = by.size / by.order;
    for (int half = 1; half < min(width, 32); half *= 2) {
      const float sign = lane & half ? -1.0f : 1.0f;
#pragma unroll
      for (int i = 0; i < kChannels; ++i)
        x[i] = fmaf(sign, x[i], __shfl_xor_sync(kAllLanes, x[i], half));
    }
    if (width > 32) add_registers<1>();
    if (width > 64) add_registers<2>();
    if (width > 128) add_registers<4>();
    if (by.order > 1) multiply_by_paley(by, width, memory);
    for_each([&](float& value, int) { value = __fmul_rn(value, by.scale); });
  }

  __device__ KvExtent extent() {
    float low = x[0], high = x[0];
    if (lane >= dim) low = INFINITY, high = -INFINITY;
    for_each([&](float value, int) { low = fminf(low, value), high = fmaxf(high, value); });
    for (int offset = 16; offset > 0; offset /= 2) {
      low = fminf(low, __shfl_xor_sync(kAllLanes, low, offset));
      high = fmaxf(high, __shfl_xor_sync(kAllLanes, high, offset));
    }
    return {low, high};
  }

 private:
  template <int kApart>
  __device__ void add_registers() {
#pragma unroll
    for (int i = 0; i < kChannels; ++i)
      if (!(i & kApart)) {
        const float a = x[i], b = x[i + kApart];
        x[i] = a + b, x[i + kApart] = a - b;
      }
  }
  __device__ void multiply_by_paley(const HadamardOfHead& by, int width, float* memory) {
    share(memory);
    for_each([&](float& value, int c) {
      const int begin = c / by.size * by.size, row = (c - begin) / width;
      const float* from = memory + begin + c % width;
      value = from[0];
      for (int l = 1; l < by.order; ++l) {
        const int i = row + l - 2;
        const bool negative = row > 0 && by.negative[size_t(i / 32)] >> i % 32 & 1;
        value = fmaf(negative ? -1.0f : 1.0f, from[l * width], value);
      }
    });
  }
};

// format/kv_code.h's kv_scale() by a warp: lane i has candidate i, and a lane the partial sum of
// its channels.
template <class Code>
__device__ typename Code::Scale scale_of(Head& head) {
  using Scale = typename Code::Scale;
  const KvExtent extent = head.extent();
  if constexpr (Code::kCandidates == 1) {
    return Code::candidate(extent, 0);
  } else {
    // All candidates' sums are made side by side, so that their latencies overlap.
    const Scale mine = Code::candidate(extent, min(head.lane, Code::kCandidates - 1));
    const KvFactors my_factors = Code::factors(mine);
    float sums[Code::kCandidates];
#pragma unroll
    for (int i = 0; i < Code::kCandidates; ++i) {
      const KvFactors tried = {__shfl_sync(kAllLanes, my_factors.scale, i),
                               __shfl_sync(kAllLanes, my_factors.zero, i),
                               __shfl_sync(kAllLanes, my_factors.reciprocal, i)};
      sums[i] = 0;
      head.for_each([&](float value, int) {
        const float error = value - Code::rounded(value, tried);
        sums[i] = fmaf(error, error, sums[i]);
      });
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2)
#pragma unroll
      for (int i = 0; i < Code::kCandidates; ++i)
        sums[i] += __shfl_xor_sync(kAllLanes, sums[i], offset);
    int best = 0;
    float least = sums[0];
#pragma unroll
    for (int i = 1; i < Code::kCandidates; ++i)
      if (sums[i] < least) least = sums[i], best = i;
    union {
      Scale scale;
      uint32_t bits;
    } chosen{.bits = 0};
    static_assert(sizeof(Scale) <= sizeof(uint32_t) && Code::kCandidates <= 32);
    chosen.scale = mine;
    chosen.bits = __shfl_sync(kAllLanes, chosen.bits, best);
    return chosen.scale;
  }
}

// Stores a key or a value.
template <class Code>
__device__ void store(Head& head, void* codes, void* scales, const KvVector& vector) {
  const int row_bytes = head.dim * Code::kBits / 8;
  auto* row = static_cast<uint8_t*>(codes) + vector.index * row_bytes;
  const auto at = [&](int c) {
    return row + exchanged(row_bytes, vector.slot, c * Code::kBits / 8);
  };
  if constexpr (!kHasScale<Code>) {
    head.for_each([&](float value, int c) {
      *reinterpret_cast<__nv_bfloat16*>(at(c)) = __float2bfloat16_rn(value);
    });
  } else {
    const auto scale = scale_of<Code>(head);
    const KvFactors factors = Code::factors(scale);
    if (head.lane == 0) static_cast<typename Code::Scale*>(scales)[vector.index] = scale;
#pragma unroll
    for (int i = 0; i < kChannels; ++i) {
      const int c = head.lane + 32 * i;
      if (32 * i >= head.dim) break;
      const uint32_t code = c < head.dim ? Code::encode(head.x[i], factors) : 0u;
      if constexpr (Code::kBits == 8) {
        if (c < head.dim) *at(c) = uint8_t(code);
      } else {
        const uint32_t odd = __shfl_down_sync(kAllLanes, code, 1);
        if (c < head.dim && head.lane % 2 == 0) *at(c) = uint8_t(code | odd << 4);
      }
    }
  }
}

template <class Code>
struct RopeAppendKvKernel {
  struct Args {
    const __nv_bfloat16 *q, *k, *v;  // as RopeAppendKv
    const float *q_norm, *k_norm;
    float eps;
    const float *cos, *sin, *query_scale, *key_scale, *key_mean, *value_mean;
    HadamardOfHead hadamard;
    DType query_type;
    void* query;
    float* scale;  // of queries
    const int32_t *positions, *q_begin, *pages;
    int sequences, max_pages;
    int heads;
    int64_t q_stride, k_stride, v_stride;  // from token to token
    KvLayer cache;
  };
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kMinBlocksPerSm = 8;
  static constexpr bool kUsesPdl = true;

  static __device__ void run(const Args& a) {
    __shared__ float memory[kWarps][kMaxHeadDim];
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const int kv_heads = int(a.cache.kv_heads), dim = int(a.cache.head_dim);
    const int slot = int(blockIdx.y) * kWarps + warp, token = int(blockIdx.x);
    ptx::griddepcontrol_wait();
    ptx::griddepcontrol_launch_dependents();
    if (slot >= a.heads + 2 * kv_heads) return;
    Head head{.dim = dim, .lane = lane};
    const int position = a.positions[token];
    const float *cos = a.cos + int64_t(position) * (dim / 2),
                *sin = a.sin + int64_t(position) * (dim / 2);
    if (slot < a.heads) {
      head.load(a.q + token * a.q_stride + slot * dim);
      const float* scale = a.query_scale;
      if (scale) scale += slot / (a.heads / kv_heads) * dim;
      if (a.q_norm) head.normalize(a.q_norm, a.eps);
      head.turn(cos, sin, memory[warp]);
      if (scale) head.multiply(scale);
      if (a.hadamard.size) head.transform(a.hadamard, memory[warp]);
      store_query(a, head, int64_t(token) * a.heads + slot);
      return;
    }
    const bool is_key = slot < a.heads + kv_heads;
    const int kv_head = (slot - a.heads) % kv_heads;
    const auto of_head = [&](const float* vectors) { return vectors + kv_head * dim; };
    const KvVector vector = KvVector::of(a.cache, pages_of(a, token), kv_head, position);
    head.load((is_key ? a.k + token * a.k_stride : a.v + token * a.v_stride) + kv_head * dim);
    if (is_key) {
      if (a.k_norm) head.normalize(a.k_norm, a.eps);
      head.turn(cos, sin, memory[warp]);
      if (a.key_mean) head.subtract(of_head(a.key_mean));
      if (a.key_scale) head.multiply(of_head(a.key_scale));
      if (a.hadamard.size) head.transform(a.hadamard, memory[warp]);
      store<Code>(head, a.cache.key, a.cache.key_scale, vector);
    } else {
      if (a.value_mean) head.subtract(of_head(a.value_mean));
      store<Code>(head, a.cache.value, a.cache.value_scale, vector);
    }
  }

 private:
  // The pages of the token's sequence.
  static __device__ const int32_t* pages_of(const Args& a, int token) {
    int first = 0, last = a.sequences - 1;
    while (first < last) {
      const int middle = (first + last + 1) / 2;
      a.q_begin[middle] <= token ? first = middle : last = middle - 1;
    }
    return a.pages + int64_t(first) * a.max_pages;
  }

  static __device__ void store_query(const Args& a, Head& head, int64_t row) {
    if (a.query_type == DType::kBF16) {
      auto* to = static_cast<__nv_bfloat16*>(a.query) + row * head.dim;
      head.for_each([&](float value, int c) { to[c] = __float2bfloat16_rn(value); });
      return;
    }
    const float absmax = head.extent().absmax();
    const bool fp8 = a.query_type == DType::kF8E4M3;
    const float scale = fp8 ? fp8_row_scale(absmax) : int_row_scale(absmax, 127);
    if (head.lane == 0) a.scale[row] = scale;
    auto* to = static_cast<uint8_t*>(a.query) + row * head.dim;
    head.for_each([&](float value, int c) {
      to[c] = fp8 ? uint8_t(__nv_cvt_float_to_fp8(value / scale, __NV_SATFINITE, __NV_E4M3))
                  : uint8_t(int_quantize(value, scale, 127));
    });
  }
};

}  // namespace

void rope_append_kv(const RopeAppendKv& op, cudaStream_t stream) {
  if (op.tokens() == 0) return;
  const auto floats = [](const Activations& x) {
    return static_cast<const __nv_bfloat16*>(x.data);
  };
  with_stored(op.cache.scheme, [&]<class Code>(Code) {
    using Kernel = RopeAppendKvKernel<Code>;
    const int64_t slots = op.heads() + 2 * op.cache.kv_heads;
    launch<Kernel>(
        dim3(unsigned(op.tokens()), unsigned((slots + Kernel::kWarps - 1) / Kernel::kWarps)),
        stream,
        {.q = floats(op.q),
         .k = floats(op.k),
         .v = floats(op.v),
         .q_norm = op.q_norm,
         .k_norm = op.k_norm,
         .eps = op.eps,
         .cos = op.cos,
         .sin = op.sin,
         .query_scale = op.query_scale,
         .key_scale = op.key_scale,
         .key_mean = op.key_mean,
         .value_mean = op.value_mean,
         .hadamard = op.hadamard ? HadamardOfHead::of(op.cache.head_dim) : HadamardOfHead(),
         .query_type = op.query.dtype,
         .query = op.query.data,
         .scale = op.query.scale,
         .positions = op.batch.positions,
         .q_begin = op.batch.q_begin,
         .pages = op.batch.pages,
         .sequences = int(op.batch.sequences()),
         .max_pages = int(op.batch.max_pages),
         .heads = int(op.heads()),
         .q_stride = op.q_stride ? op.q_stride : op.q.dim,
         .k_stride = op.k_stride ? op.k_stride : op.k.dim,
         .v_stride = op.v_stride ? op.v_stride : op.v.dim,
         .cache = op.cache});
  });
}

}  // namespace emberq::cuda
