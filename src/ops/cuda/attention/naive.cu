// Attention by its definition. The fast kernels are compared with it.
#include <cuda_fp16.h>

#include "format/fp8.h"
#include "ops/cuda/attention/attention.h"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/rows/reduce.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

template <class Code>
struct NaiveAttentionKernel {
  struct Args {
    const void* query;
    const float* query_scale;
    DType query_type;
    const int32_t *positions, *q_begin, *pages;
    int sequences, max_pages;
    KvLayer cache;
    int window;
    float scale;
    ProbabilityScheme probability;
    const float* value_mean;
    __nv_bfloat16* out;
    int heads;
  };
  static constexpr int kThreads = 128;
  static constexpr int kMinBlocksPerSm = 4;

  // Block indices: token, head. Each pass over the keys takes kThreads of them at a time.
  static __device__ void run(const Args& a) {
    __shared__ float q[kMaxHeadDim];
    __shared__ double exps[kThreads], sums[kThreads];
    const int token = int(blockIdx.x), head = int(blockIdx.y), thread = int(threadIdx.x);
    const int dim = int(a.cache.head_dim), kv_head = head / (a.heads / int(a.cache.kv_heads));
    const int64_t row = int64_t(token) * a.heads + head;
    for (int c = thread; c < dim; c += kThreads) q[c] = load_query(a, row, c);
    __syncthreads();

    int sequence = 0;
    while (sequence + 1 < a.sequences && a.q_begin[sequence + 1] <= token) ++sequence;
    const int32_t* pages = a.pages + int64_t(sequence) * a.max_pages;
    const int end = a.positions[token] + 1, begin = a.window > 0 ? max(0, end - a.window) : 0;
    const auto score = [&](int position) {
      const KvVector vector = KvVector::of(a.cache, pages, kv_head, position);
      double sum = 0;
      for (int c = 0; c < dim; ++c)
        sum += double(q[c]) *
               double(load_channel<Code>(a.cache.key, a.cache.key_scale, dim, vector, c));
      return sum * double(a.scale);
    };

    double largest = -INFINITY;
    for (int i = begin + thread; i < end; i += kThreads) largest = fmax(largest, score(i));
    sums[thread] = largest;
    __syncthreads();
    for (int i = 0; i < kThreads; ++i) largest = fmax(largest, sums[i]);

    double total = 0, out[kMaxHeadDim / kThreads] = {};
    for (int first = begin; first < end; first += kThreads) {
      const double e = first + thread < end ? exp(score(first + thread) - largest) : 0.0;
      total += e;
      __syncthreads();
      exps[thread] = rounded(e, a.probability);
      __syncthreads();
      for (int i = first; i < min(end, first + kThreads); ++i) {
        const KvVector vector = KvVector::of(a.cache, pages, kv_head, i);
#pragma unroll
        for (int j = 0; j < kMaxHeadDim / kThreads; ++j)
          if (const int c = thread + j * kThreads; c < dim)
            out[j] += exps[i - first] * double(load_channel<Code>(
                                            a.cache.value, a.cache.value_scale, dim, vector, c));
      }
    }
    __syncthreads();
    sums[thread] = total;
    __syncthreads();
    total = 0;
    for (int i = 0; i < kThreads; ++i) total += sums[i];
#pragma unroll
    for (int j = 0; j < kMaxHeadDim / kThreads; ++j)
      if (const int c = thread + j * kThreads; c < dim) {
        const double mean = a.value_mean ? double(a.value_mean[kv_head * dim + c]) : 0.0;
        a.out[row * dim + c] = __float2bfloat16_rn(float(out[j] / total + mean));
      }
  }

 private:
  static __device__ float load_query(const Args& a, int64_t row, int c) {
    const int64_t at = row * a.cache.head_dim + c;
    switch (a.query_type) {
      case DType::kF8E4M3:
        return fp8_decode(static_cast<const uint8_t*>(a.query)[at]) * a.query_scale[row];
      case DType::kI8:
        return float(static_cast<const int8_t*>(a.query)[at]) * a.query_scale[row];
      default:
        return __bfloat162float(static_cast<const __nv_bfloat16*>(a.query)[at]);
    }
  }
  static __device__ double rounded(double e, ProbabilityScheme scheme) {
    switch (scheme) {
      case ProbabilityScheme::kFp8:
        return double(fp8_decode(fp8_encode(float(kFp8Max * e)))) / kFp8Max;
      case ProbabilityScheme::kFp16:
        return double(__half2float(__float2half_rn(float(e))));
      default:
        return e;
    }
  }
};

}  // namespace

void attention_naive(const Attention& op, cudaStream_t stream) {
  with_read(op.cache.scheme, [&]<class Code>(Code) {
    launch<NaiveAttentionKernel<Code>>(dim3(unsigned(op.tokens()), unsigned(op.heads())), stream,
                                       {.query = op.query.data,
                                        .query_scale = op.query.scale,
                                        .query_type = op.query.dtype,
                                        .positions = op.batch.positions,
                                        .q_begin = op.batch.q_begin,
                                        .pages = op.batch.pages,
                                        .sequences = int(op.batch.sequences()),
                                        .max_pages = int(op.batch.max_pages),
                                        .cache = op.cache,
                                        .window = int(op.window),
                                        .scale = op.scale,
                                        .probability = op.probability,
                                        .value_mean = op.value_mean,
                                        .out = static_cast<__nv_bfloat16*>(op.out.data),
                                        .heads = int(op.heads())});
  });
}

}  // namespace emberq::cuda
