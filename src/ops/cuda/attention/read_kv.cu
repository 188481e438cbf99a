// What a cache holds, as numbers: a thread for each channel.
#include "ops/cuda/attention/attention.h"
#include "ops/cuda/attention/kv_page.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

template <class Code>
struct ReadKvKernel {
  struct Args {
    const int32_t *kv_length, *pages;
    int max_pages;
    KvLayer cache;
    int64_t length;
    float *key, *value;
  };
  static constexpr int kThreads = 64;
  static constexpr int kMinBlocksPerSm = 8;

  // Block indices: position, head, sequence.
  static __device__ void run(const Args& a) {
    const int position = int(blockIdx.x), head = int(blockIdx.y), sequence = int(blockIdx.z);
    if (position >= a.kv_length[sequence]) return;
    const int dim = int(a.cache.head_dim);
    const KvVector vector =
        KvVector::of(a.cache, a.pages + int64_t(sequence) * a.max_pages, head, position);
    const int64_t row = (sequence * a.cache.kv_heads + head) * a.length + position;
    for (int c = int(threadIdx.x); c < dim; c += kThreads) {
      a.key[row * dim + c] = load_channel<Code>(a.cache.key, a.cache.key_scale, dim, vector, c);
      a.value[row * dim + c] =
          load_channel<Code>(a.cache.value, a.cache.value_scale, dim, vector, c);
    }
  }
};

}  // namespace

void read_kv(const ReadKv& op, cudaStream_t stream) {
  with_read(op.cache.scheme, [&]<class Code>(Code) {
    launch<ReadKvKernel<Code>>(
        dim3(unsigned(op.length), unsigned(op.cache.kv_heads), unsigned(op.batch.sequences())),
        stream,
        {.kv_length = op.batch.kv_length,
         .pages = op.batch.pages,
         .max_pages = int(op.batch.max_pages),
         .cache = op.cache,
         .length = op.length,
         .key = op.key,
         .value = op.value});
  });
}

}  // namespace emberq::cuda
