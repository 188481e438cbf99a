#pragma once

#include "ops/cuda/linear/general_product.cuh"
#include "ops/cuda/ptx/sync.cuh"

namespace emberq::cuda {

// Eight warps multiply 16 rows of W by eight tokens, each a slice of the inputs, all of which they
// read straight from memory. A CTA goes on with the next rows, whose first weights it asks for
// before it joins its warps' sums. kRagged: groups of any size, which may end inside a step;
// operand B is then zero outside the group.
template <class TheSource, bool kRagged>
struct FewTokensKernel {
  using Source = TheSource;
  using Args = GeneralArgs<Source>;
  using Order = InputOrder<Source>;
  using Products = Accumulators<Source::kProduct>;
  static constexpr int kThreads = 32 * kSlices, kTokens = 8;
  static constexpr int kMinBlocksPerSm = kRagged || sizeof(typename Source::Raw) > 64 ? 1 : 2;
  static constexpr bool kUsesPdl = true;

  struct Stage {
    typename Source::Raw weights;
    uint32_t x[kTileSteps][Order::kWords];
  };

  static __device__ void run(const Args& a) {
    const int warp = int(threadIdx.x) / 32, lane = lane_index();
    // CTAs with the same weights run at the same time, so that memory is read once.
    const int token = int(blockIdx.x) * kTokens, row_tiles = (a.out.n + 15) / 16;
    const int begin = slice_begin(a.source.k_tiles, warp),
              end = slice_begin(a.source.k_tiles, warp + 1);
    int row_tile = int(blockIdx.y);
    Stage next;
    ptx::griddepcontrol_launch_dependents();
    // No kernel writes weights, so their first loads need not wait for the previous one.
    if (begin < end) Source(a.source, row_tile).load(begin, next.weights);
    ptx::griddepcontrol_wait();
    const uint8_t* x = a.x + a.row(token + lane / 4) * a.k * Order::kElement;
    // The tokens of this lane's sums.
    const int64_t rows[2] = {a.row(token + lane % 4 * 2), a.row(token + lane % 4 * 2 + 1)};
    if (begin < end) load_inputs(a, x, begin, next);
    for (; row_tile < row_tiles; row_tile += int(gridDim.y)) {
      const Source source(a.source, row_tile);
      float sum[4] = {};
      for (int k_tile = begin; k_tile < end; ++k_tile) {
        const Stage stage = next;
        const bool last = k_tile + 1 == end;
        const int next_row_tile = row_tile + (last ? int(gridDim.y) : 0);
        if (next_row_tile < row_tiles) {
          const int next_k_tile = last ? begin : k_tile + 1;
          Source(a.source, next_row_tile).load(next_k_tile, next.weights);
          load_inputs(a, x, next_k_tile, next);
        }
        if constexpr (kRagged)
          multiply_ragged(a, source, stage, k_tile, rows, sum);
        else
          multiply(a, source, stage, k_tile, rows, sum);
      }
      join(a, sum, row_tile, token);
    }
  }

 private:
  static __device__ void load_inputs(const Args& a, const uint8_t* x, int k_tile, Stage& to) {
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step)
#pragma unroll
      for (int run = 0; run < Order::kRuns; ++run) {
        const int k = k_tile * kTileInputs + step * kStepInputs + Order::input(run);
        uint32_t* words = to.x[step] + run * Order::kRunWords;
#pragma unroll
        for (int w = 0; w < Order::kRunWords; ++w) words[w] = 0;
        if (k < a.k) load_words<Order::kRunBytes>(x + int64_t(k) * Order::kElement, words);
      }
  }

  // sum += product, of inputs in the groups of input k.
  static __device__ void add(const Args& a, const Source& source, int k, const int64_t (&rows)[2],
                             const Products& product, float (&sum)[4]) {
    k = min(k, a.k - 1);
    float x_scales[2] = {1, 1};
    if (a.x_groups > 1) {
      const int group = k / a.x_group_size;
#pragma unroll
      for (int i = 0; i < 2; ++i) x_scales[i] = a.x_scale[rows[i] * a.x_groups + group];
    }
    promote(product, source.scales(k), x_scales, sum);
  }

  static __device__ void multiply(const Args& a, const Source& source, const Stage& stage,
                                  int k_tile, const int64_t (&rows)[2], float (&sum)[4]) {
    const unsigned ends = a.ends(k_tile);
    Products product;
    product.clear();
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step) {
      uint32_t weights[kFragmentWords<Source::kProduct>];
      source.fragment(stage.weights, k_tile, step, weights);
      product.multiply(weights, stage.x[step]);
      if (!(ends >> step & 1)) continue;
      add(a, source, k_tile * kTileInputs + step * kStepInputs, rows, product, sum);
      product.clear();
    }
  }

  static __device__ void multiply_ragged(const Args& a, const Source& source, const Stage& stage,
                                         int k_tile, const int64_t (&rows)[2], float (&sum)[4]) {
#pragma unroll
    for (int step = 0; step < kTileSteps; ++step) {
      const int first = k_tile * kTileInputs + step * kStepInputs,
                last = min(first + kStepInputs, a.k);
      uint32_t weights[kFragmentWords<Source::kProduct>];
      source.fragment(stage.weights, k_tile, step, weights);
      for (int k = first; k < last;) {
        const int end = min(last, min((k / a.weight_group_size + 1) * a.weight_group_size,
                                      (k / a.x_group_size + 1) * a.x_group_size));
        uint32_t x[Order::kWords];
#pragma unroll
        for (int w = 0; w < Order::kWords; ++w) {
          const int word_input = first + Order::input(w / Order::kRunWords) +
                                 w % Order::kRunWords * (4 / Order::kElement);
          x[w] = stage.x[step][w] & mask(word_input, k, end);
        }
        Products product;
        product.clear();
        product.multiply(weights, x);
        add(a, source, k, rows, product, sum);
        k = end;
      }
    }
  }
  // Ones where the elements of a word, the first of which is input `first`, are inside [begin,
  // end).
  static __device__ uint32_t mask(int first, int begin, int end) {
    constexpr int kBits = 8 * Order::kElement;
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4 / Order::kElement; ++i)
      if (begin <= first + i && first + i < end) bits |= ((1u << kBits) - 1) << i * kBits;
    return bits;
  }

  static __device__ void join(const Args& a, const float (&sum)[4], int row_tile, int token) {
    __shared__ float slices[kSlices][kTokens][16];
    __syncthreads();  // the last rows' have been read
    const int warp = int(threadIdx.x) / 32, lane = lane_index();
#pragma unroll
    for (int i = 0; i < 4; ++i) slices[warp][lane % 4 * 2 + i % 2][lane / 4 + i / 2 * 8] = sum[i];
    __syncthreads();
    if (threadIdx.x >= kTokens * 16) return;
    const int own_token = int(threadIdx.x) / 16, own_row = int(threadIdx.x) % 16;
    const int column = row_tile * 16 + own_row;
    token += own_token;
    if (token >= a.out.m || column >= a.out.n) return;
    float total = 0;
#pragma unroll
    for (int slice = 0; slice < kSlices; ++slice)
      total = __fadd_rn(total, slices[slice][own_token][own_row]);
    a.out.store(token, column, __fmul_rn(total, a.token_scale(a.row(token))));
  }
};

}  // namespace emberq::cuda
