// From the projections of q, k and v to queries and a cache: one warp for each head of a token.
#include <cuda_fp8.h>

#include <algorithm>
#include <type_traits>

#include "format/scale.h"
#include "ops/cuda/attention/attention.h"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/attention/kv_scale_search.cuh"
#include "ops/cuda/attention/rope_head.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/row_quotient.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

constexpr int64_t kTokensOfCta = 16;  // at most

// Stores a key or a value.
template <class Code, class Head>
__device__ void store(const Head& head, void* codes, void* scales, const KvVector& vector,
                      bool packed, float4* memory) {
  const int row_bytes = head.dim * Code::kBits / 8;
  uint8_t* to = static_cast<uint8_t*>(codes) + vector.index * row_bytes +
                exchanged(row_bytes, vector.slot, head.first() * Code::kBits / 8);
  uint32_t code[Head::kChannels] = {};
  if constexpr (!kHasScale<Code>) {
#pragma unroll
    for (int i = 0; i < Head::kChannels; ++i)
      code[i] = __bfloat16_as_ushort(__float2bfloat16_rn(head.x[i]));
  } else {
    typename Code::Scale scale;
    if constexpr (Code::kCandidates == 1)
      scale = Code::candidate(head.extent(), 0);
    else
      scale = KvScaleSearch<Code>::run(head, memory);
    const KvFactors factors = Code::factors(scale);
    if (head.lane == 0) static_cast<typename Code::Scale*>(scales)[vector.index] = scale;
#pragma unroll
    for (int i = 0; i < Head::kChannels; ++i)
      code[i] = Code::encode(head.x[i], factors) & ((1u << Code::kBits) - 1);
  }
  if (head.inside()) store_codes<Code::kBits>(to, packed, code);
}

// A warp takes a head of q, k or v, of one token after another. kTheChannels: of a lane.
template <class Code, int kTheChannels>
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
    int tokens, sequences, max_pages;
    int heads;
    int64_t q_stride, k_stride, v_stride;  // from token to token
    KvLayer cache;
    bool packed;  // a lane's channels are all of one half of a head, and lie aligned to their size
    int tokens_of_cta;
  };
  static constexpr int kChannels = kTheChannels;
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  // As many as ptxas finds registers for without spilling; with lut4 and two channels it spills at
  // any smaller limit.
  static constexpr int kMinBlocksPerSm = kChannels == 8                                       ? 3
                                         : kChannels == 2 && std::is_same_v<Code, KvLut4Head> ? 2
                                                                                              : 5;
  static constexpr bool kUsesPdl = true;

  static __device__ void run(const Args& a) {
    __shared__ float4 shared[kWarps][8 * kChannels];
    ptx::griddepcontrol_launch_dependents();
    const int warp = int(threadIdx.x) / 32, lane = int(threadIdx.x) % 32;
    const int kv_heads = int(a.cache.kv_heads), dim = int(a.cache.head_dim);
    // Keys and values first: their codes take longest.
    const int slot = int(blockIdx.y) * kWarps + warp, q_head = slot - 2 * kv_heads;
    if (q_head >= a.heads) return;
    const bool is_query = q_head >= 0, is_key = slot < kv_heads;
    const int kv_head = is_query ? q_head / (a.heads / kv_heads) : is_key ? slot : slot - kv_heads;
    Head<kChannels> head{.dim = dim, .lane = lane};
    const int first = head.first();

    // Of the head, for every token.
    float norm[kChannels] = {}, mean[kChannels] = {}, scale[kChannels] = {};
    const float* norm_weight = is_query ? a.q_norm : is_key ? a.k_norm : nullptr;
    const float* means = is_query ? nullptr : is_key ? a.key_mean : a.value_mean;
    const float* scales = is_query ? a.query_scale : is_key ? a.key_scale : nullptr;
    if (head.inside()) {
      if (norm_weight) load_channels(norm_weight + first, a.packed, norm);
      if (means) load_channels(means + kv_head * dim + first, a.packed, mean);
      if (scales) load_channels(scales + kv_head * dim + first, a.packed, scale);
    }
    const __nv_bfloat16* from = (is_query ? a.q + q_head * dim
                                 : is_key ? a.k + kv_head * dim
                                          : a.v + kv_head * dim) +
                                first;
    const int64_t stride = is_query ? a.q_stride : is_key ? a.k_stride : a.v_stride;

    // What a token needs of the batch. It is copied to the device before any kernel of the step,
    // so the first token's is loaded while the kernel before this one still runs.
    float cos[kChannels] = {}, sin[kChannels] = {};
    KvVector vector{};
    const auto prepare = [&](int token) {
      const int position = a.positions[token];
      if ((is_query || is_key) && head.inside()) {
        load_turn(a.cos + int64_t(position) * (dim / 2), first, dim / 2, a.packed, cos);
        load_turn(a.sin + int64_t(position) * (dim / 2), first, dim / 2, a.packed, sin);
      }
      if (!is_query) vector = KvVector::of(a.cache, pages_of(a, token), kv_head, position);
    };
    float* memory = reinterpret_cast<float*>(shared[warp]);
    const int begin = int(blockIdx.x) * a.tokens_of_cta,
              end = min(a.tokens, begin + a.tokens_of_cta);
    for (int token = begin; token < end; ++token) {
      prepare(token);
      if (token == begin) ptx::griddepcontrol_wait();
      if (head.inside())
        load_channels(from + token * stride, a.packed, head.x);
      else
#pragma unroll
        for (float& x : head.x) x = 0;
      if (norm_weight) head.normalize(norm, a.eps);
      if (is_query || is_key) head.turn(cos, sin, a.packed, memory);
      if (means) head.subtract(mean);
      if (scales) head.multiply(scale);
      if (a.hadamard.size && (is_query || is_key)) head.transform(a.hadamard, memory);
      if (is_query)
        store_query(a, head, int64_t(token) * a.heads + q_head);
      else
        store<Code>(head, is_key ? a.cache.key : a.cache.value,
                    is_key ? a.cache.key_scale : a.cache.value_scale, vector, a.packed,
                    shared[warp]);
    }
  }

 private:
  // cos or sin of a lane's channels, from one row of the table, which has `half` of them.
  static __device__ void load_turn(const float* row, int first, int half, bool packed,
                                   float (&to)[kChannels]) {
    if (packed) return load_channels(row + (first < half ? first : first - half), true, to);
#pragma unroll
    for (int i = 0; i < kChannels; ++i) to[i] = row[(first + i) % half];
  }

  // The pages of the token's sequence.
  static __device__ const int32_t* pages_of(const Args& a, int token) {
    int first = 0, last = a.sequences - 1;
    if (a.sequences == a.tokens) first = last = token;  // a token each
    while (first < last) {
      const int middle = (first + last + 1) / 2;
      a.q_begin[middle] <= token ? first = middle : last = middle - 1;
    }
    return a.pages + int64_t(first) * a.max_pages;
  }

  static __device__ void store_query(const Args& a, const Head<kChannels>& head, int64_t row) {
    const int64_t at = row * head.dim + head.first();
    uint32_t codes[kChannels];
    if (a.query_type == DType::kBF16) {
#pragma unroll
      for (int i = 0; i < kChannels; ++i)
        codes[i] = __bfloat16_as_ushort(__float2bfloat16_rn(head.x[i]));
      if (head.inside()) store_codes<16>(static_cast<uint8_t*>(a.query) + 2 * at, a.packed, codes);
      return;
    }
    const bool fp8 = a.query_type == DType::kF8E4M3;
    const float scale = fp8 ? fp8_row_scale(head.absmax()) : int_row_scale(head.absmax(), 127);
    if (head.lane == 0) a.scale[row] = scale;
    if (fp8) {
      const RowQuotient quotient(scale);
#pragma unroll
      for (int i = 0; i < kChannels; ++i)
        codes[i] = __nv_cvt_float_to_fp8(quotient(head.x[i]), __NV_SATFINITE, __NV_E4M3);
    } else {
#pragma unroll
      for (int i = 0; i < kChannels; ++i) codes[i] = uint8_t(int_quantize(head.x[i], scale, 127));
    }
    if (head.inside()) store_codes<8>(static_cast<uint8_t*>(a.query) + at, a.packed, codes);
  }
};

}  // namespace

void rope_append_kv(const RopeAppendKv& op, int multiprocessors, cudaStream_t stream) {
  if (op.tokens() == 0) return;
  const auto floats = [](const Activations& x) {
    return static_cast<const __nv_bfloat16*>(x.data);
  };
  const auto start = [&]<class Code, int kChannels>() {
    using Kernel = RopeAppendKvKernel<Code, kChannels>;
    const int64_t slots = op.heads() + 2 * op.cache.kv_heads;
    const int64_t groups = (slots + Kernel::kWarps - 1) / Kernel::kWarps;
    // Several tokens for each CTA, for which it loads a head's vectors once, but eight CTAs for
    // each that runs at a time: some take longer than others.
    const int64_t ctas = 8 * max_active_clusters<Kernel>(multiprocessors);
    const int64_t tokens_of_cta = std::clamp<int64_t>(op.tokens() * groups / ctas, 1, kTokensOfCta);
    const int64_t dim = op.cache.head_dim, q_stride = op.q_stride ? op.q_stride : op.q.dim,
                  k_stride = op.k_stride ? op.k_stride : op.k.dim,
                  v_stride = op.v_stride ? op.v_stride : op.v.dim;
    const void* vectors[] = {op.q.data,   op.k.data,     op.v.data,    op.query.data,  op.cos,
                             op.sin,      op.q_norm,     op.k_norm,    op.query_scale, op.key_scale,
                             op.key_mean, op.value_mean, op.cache.key, op.cache.value};
    const bool packed = dim % (2 * kChannels) == 0 &&
                        (q_stride | k_stride | v_stride) % kChannels == 0 &&
                        std::ranges::all_of(vectors, [](const void* vector) {
                          return reinterpret_cast<uintptr_t>(vector) % 16 == 0;
                        });
    launch<Kernel>(
        dim3(unsigned((op.tokens() + tokens_of_cta - 1) / tokens_of_cta), unsigned(groups)), stream,
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
         .tokens = int(op.tokens()),
         .sequences = int(op.batch.sequences()),
         .max_pages = int(op.batch.max_pages),
         .heads = int(op.heads()),
         .q_stride = q_stride,
         .k_stride = k_stride,
         .v_stride = v_stride,
         .cache = op.cache,
         .packed = packed,
         .tokens_of_cta = int(tokens_of_cta)});
  };
  with_stored(op.cache.scheme, [&]<class Code>(Code) {
    const int64_t dim = op.cache.head_dim;
    if (dim <= 64)
      start.template operator()<Code, 2>();
    else if (dim <= 128)
      start.template operator()<Code, 4>();
    else
      start.template operator()<Code, 8>();
  });
}

}  // namespace emberq::cuda
