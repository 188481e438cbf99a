// Four-bit weights times e4m3 activations. D^T = W X^T: weights are operand A of wgmma, from
// registers, where they become e4m3; tokens are its N. docs/kernels/w4a8.md has the steps tried.
//
// A block of threads works on tiles of 128 outputs (rows of W) by C.tokens tokens. One thread of
// the first warpgroup keeps a ring of stages full, across tiles; the other two each multiply their
// own 64 rows, and add each group's product, times its scale, to sums in FP32.
//
// Few tokens: the steps of all tiles are cut into as many runs as there are blocks of threads. A
// tile that a run begins in the middle of is left as a partial sum, which the block that has the
// tile's beginning joins to its own, in the order of the runs: the result is the same every time.
#include <algorithm>
#include <vector>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/device/epilogue.cuh"
#include "ops/cuda/device/pipeline.cuh"
#include "ops/cuda/device/wgmma.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/tensor_map.h"

namespace emberq::cuda {
namespace {

struct W4Config {
  int tokens;  // of a block of threads: N of wgmma
  int stages;  // of the ring
  bool split;  // tiles between blocks of threads; for up to `tokens` tokens
  bool signs;  // codes are a sign and an index
  int sets;    // of scales in a tile
};

template <W4Config C>
struct W4LinearKernel {
  struct Args {
    CUtensorMap x;
    const uint8_t* tiles;
    int row_blocks, token_tiles, k_tiles;
    device::W4Table table;
    float* partial;  // [blocks][2][tokens / 2][128], where tiles are split
    int* ready;      // [blocks][2]: 1 where the partial is there; 0 before and after
    device::LinearEpilogue epilogue;
  };
  static constexpr int kConsumers = W4Weight::kRowsOfBlock / device::kW4Rows;
  static constexpr int kThreads = 128 * (1 + kConsumers);
  static constexpr int kBlocks = 1;

  static constexpr int kTileBytes = W4Weight::tile_bytes(C.sets);
  static constexpr int kWeightBytes = kConsumers * kTileBytes;
  static constexpr int kXBytes = C.tokens * 128;
  static constexpr int kAlignment = 1024;  // of the swizzle
  static constexpr int kSharedBytes = C.stages * (kXBytes + kWeightBytes) + kAlignment;

  struct Shared {
    uint8_t *x, *weights;
    device::Barrier *full, *empty;
  };
  // A round of the ring is C.stages steps; parities tell rounds apart.
  struct Step {
    int stage, parity;
    __device__ explicit Step(int i) : stage(i % C.stages), parity(i / C.stages & 1) {}
  };

  // What a block of threads does next: steps [k, k_end) of a tile.
  struct Piece {
    int row_block, token_tile, k, k_end;
  };
  // f(piece) for each of this block's, in order.
  template <class F>
  static __device__ void for_each_piece(const Args& a, const F& f) {
    if constexpr (C.split) {
      const int64_t steps = int64_t(a.row_blocks) * a.k_tiles;
      int64_t at = steps * blockIdx.x / gridDim.x;
      const int64_t end = steps * (blockIdx.x + 1) / gridDim.x;
      while (at < end) {
        const int row_block = int(at / a.k_tiles), k = int(at % a.k_tiles);
        const int k_end = int(min(int64_t(a.k_tiles), k + end - at));
        f(Piece{row_block, 0, k, k_end});
        at += k_end - k;
      }
    } else {
      // A band of token tiles, all rows of W, then the next: what runs at a time shares both.
      constexpr int kBand = 8;
      for (int t = int(blockIdx.x); t < a.row_blocks * a.token_tiles; t += int(gridDim.x)) {
        const int band = t / (kBand * a.row_blocks), in_band = t % (kBand * a.row_blocks);
        const int width = min(kBand, a.token_tiles - band * kBand);
        f(Piece{in_band / width, band * kBand + in_band % width, 0, a.k_tiles});
      }
    }
  }

  static __device__ void produce(const Args& a, const Shared& shared) {
    const uint64_t once = device::evict_first(), often = device::evict_last();
    int i = 0;
    for_each_piece(a, [&](const Piece& piece) {
      const uint8_t* tiles = a.tiles + int64_t(piece.row_block) * a.k_tiles * kWeightBytes;
      for (int k = piece.k; k < piece.k_end; ++k, ++i) {
        const Step step(i);
        device::Barrier& full = shared.full[step.stage];
        shared.empty[step.stage].wait(step.parity ^ 1);
        full.arrive_and_expect(kWeightBytes + kXBytes);
        device::copy_bulk(shared.weights + step.stage * kWeightBytes,
                          tiles + int64_t(k) * kWeightBytes, kWeightBytes, full, once);
        device::copy_box(shared.x + step.stage * kXBytes, a.x, k * device::kW4Inputs,
                         piece.token_tile * C.tokens, full, often);
      }
    });
  }

  // A thread's registers of A for the k-steps of a tile.
  static __device__ void expand(const Args& a, const uint8_t* tile, int thread,
                                uint32_t (&to)[16]) {
    const auto* vectors = reinterpret_cast<const uint4*>(tile);
    const uint4 v[2] = {vectors[thread], vectors[128 + thread]};
    const uint32_t words[8] = {v[0].x, v[0].y, v[0].z, v[0].w, v[1].x, v[1].y, v[1].z, v[1].w};
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      const device::W4Pair pair = C.signs ? device::expand_signed(words[w], a.table)
                                          : device::expand_any(words[w], a.table);
      to[2 * w] = pair.even, to[2 * w + 1] = pair.odd;
    }
    device::pin(to);
  }

  // More tokens than this would not leave registers for both the sums and a group's product.
  static constexpr int kPart = C.tokens < 128 ? C.tokens : 128, kParts = C.tokens / kPart;

  using Sums = float[kParts][kPart / 2];

  // The sums of a tile that a later block's run begins in the middle of. One warpgroup writes its
  // own, the same threads of another read them.
  static __device__ void leave(const Args& a, int consumer, const Sums& sum) {
    static_assert(!C.split || C.tokens <= Workspace::kMostSplitTokens);
    const int thread = int(threadIdx.x) % 128, place = int(blockIdx.x) * kConsumers + consumer;
    float* to = a.partial + int64_t(place) * (kPart / 2) * 128 + thread;
#pragma unroll
    for (int c = 0; c < kPart / 2; ++c) __stcg(to + c * 128, sum[0][c]);
    __threadfence();
    device::warpgroup_barrier(consumer);
    if (thread == 0) device::store_release(a.ready + place, 1);
  }
  // Adds what the blocks after this one have of a tile from step k on.
  static __device__ void join(const Args& a, int row_block, int k, int consumer, Sums& sum) {
    const int thread = int(threadIdx.x) % 128;
    const int64_t steps = int64_t(a.row_blocks) * a.k_tiles;
    const int64_t tile_end = int64_t(row_block + 1) * a.k_tiles;
    int64_t at = int64_t(row_block) * a.k_tiles + k;
    for (int block = int(blockIdx.x) + 1; at < tile_end; ++block) {
      const int place = block * kConsumers + consumer;
      if (thread == 0)
        while (device::load_acquire(a.ready + place) == 0) {
        }
      device::warpgroup_barrier(consumer);
      const float* from = a.partial + int64_t(place) * (kPart / 2) * 128 + thread;
#pragma unroll
      for (int c = 0; c < kPart / 2; ++c) sum[0][c] += __ldcg(from + c * 128);
      device::warpgroup_barrier(consumer);
      if (thread == 0) device::store_release(a.ready + place, 0);
      at = steps * (block + 1) / gridDim.x;
    }
  }

  static __device__ void store(const Args& a, const Piece& piece, int consumer, const Sums& sum) {
    const int thread = int(threadIdx.x) % 128, lane = thread % 32;
    const int row =
        (piece.row_block * kConsumers + consumer) * device::kW4Rows + thread / 32 * 16 + lane / 4;
#pragma unroll
    for (int p = 0; p < kParts; ++p)
#pragma unroll
      for (int c = 0; c < kPart / 2; ++c) {
        const int column = row + c % 4 / 2 * 8;
        const int token =
            piece.token_tile * C.tokens + p * kPart + c / 4 * 8 + lane % 4 * 2 + c % 2;
        if (token < a.epilogue.m && column < a.epilogue.n)
          a.epilogue.store(token, column, sum[p][c]);
      }
  }

  // Whether a stage is expanded while the one before is multiplied. Where the sums leave no
  // registers for it, the other warpgroup's products cover the expansion.
  static constexpr bool kAhead = C.tokens < 128 || (C.tokens == 128 && C.sets <= 2);

  // A stage's weights as they are multiplied.
  struct Operand {
    uint32_t weights[16];
    float2 scale[C.sets];
  };
  static __device__ void take(const Args& a, const Shared& shared, const Step& step, int consumer,
                              Operand& to) {
    const int thread = int(threadIdx.x) % 128, pair = thread / 32 * 8 + thread % 32 / 4;
    shared.full[step.stage].wait(step.parity);
    const uint8_t* tile = shared.weights + step.stage * kWeightBytes + consumer * kTileBytes;
    const auto* scales = reinterpret_cast<const __nv_bfloat162*>(tile + W4Weight::kCodeBytes);
#pragma unroll
    for (int set = 0; set < C.sets; ++set)
      to.scale[set] = __bfloat1622float2(scales[set * 32 + pair]);
    expand(a, tile, thread, to.weights);
  }

  // sum += the product of one stage. `meanwhile` runs while the first of it is multiplied.
  template <class F>
  static __device__ void multiply(const Shared& shared, const Step& step, Operand& operand,
                                  Sums& sum, const F& meanwhile) {
    const uint64_t x =
        device::swizzled_rows(device::shared_address(shared.x + step.stage * kXBytes));
#pragma unroll
    for (int set = 0; set < C.sets; ++set)
#pragma unroll
      for (int p = 0; p < kParts; ++p) {
        constexpr int kSteps = 4 / C.sets;
        float part[kPart / 2];
        device::wgmma_fence();
#pragma unroll
        for (int j = set * kSteps; j < (set + 1) * kSteps; ++j)
          device::Wgmma<kPart>::run(part, operand.weights + 4 * j,
                                    x + p * (kPart * 128 >> 4) + 2 * j, j > set * kSteps);
        device::wgmma_commit();
        if (set == 0 && p == 0) meanwhile();
        device::wgmma_wait<0>();
        if (set + 1 == C.sets && p + 1 == kParts && threadIdx.x % 32 == 0)
          shared.empty[step.stage].arrive();
#pragma unroll
        for (int c = 0; c < kPart / 2; ++c)
          sum[p][c] =
              fmaf(c % 4 < 2 ? operand.scale[set].x : operand.scale[set].y, part[c], sum[p][c]);
      }
  }

  static __device__ void consume(const Args& a, const Shared& shared, int consumer) {
    int i = 0;
    for_each_piece(a, [&](const Piece& piece) {
      Sums sum = {};
      const int end = i + piece.k_end - piece.k;
      if constexpr (kAhead) {
        Operand even, odd;
        take(a, shared, Step(i), consumer, even);
        const auto step = [&](Operand& now, Operand& next) {  // whether there is another
          multiply(shared, Step(i), now, sum, [&] {
            if (i + 1 < end) take(a, shared, Step(i + 1), consumer, next);
          });
          return ++i < end;
        };
        while (step(even, odd) && step(odd, even)) {
        }
      } else {
        Operand operand;
        for (; i < end; ++i) {
          take(a, shared, Step(i), consumer, operand);
          multiply(shared, Step(i), operand, sum, [] {});
        }
      }
      if constexpr (C.split) {
        if (piece.k > 0) return leave(a, consumer, sum);
        join(a, piece.row_block, piece.k_end, consumer, sum);
      }
      store(a, piece, consumer, sum);
    });
  }

  static __device__ void run(const Args& a) {
    extern __shared__ uint8_t memory[];
    __shared__ device::Barrier full[C.stages], empty[C.stages];
    const uint32_t misplaced = device::shared_address(memory) % kAlignment;
    uint8_t* x = memory + (misplaced ? kAlignment - misplaced : 0);
    const Shared shared{x, x + C.stages * kXBytes, full, empty};
    if (threadIdx.x == 0)
      for (int s = 0; s < C.stages; ++s) full[s].init(1), empty[s].init(4 * kConsumers);
    device::publish_barriers();
    const int warpgroup = int(threadIdx.x) / 128;
    if (warpgroup == 0) {
      device::fewer_registers<40>();
      if (threadIdx.x == 0) produce(a, shared);
    } else {
      device::more_registers<232>();
      consume(a, shared, warpgroup - 1);
    }
  }
};

template <W4Config C>
void start(const Linear& op, const W4Weight& weight, const Workspace& workspace,
           cudaStream_t stream) {
  using Kernel = W4LinearKernel<C>;
  const int64_t token_tiles = (op.x.rows + C.tokens - 1) / C.tokens;
  const int64_t most = weight.row_blocks * (C.split ? weight.k_tiles : token_tiles);
  launch<Kernel>(dim3(unsigned(std::min<int64_t>(most, workspace.blocks))), stream,
                 {.x = map_rows(op.x, C.tokens),
                  .tiles = weight.tiles.as<uint8_t>(),
                  .row_blocks = int(weight.row_blocks),
                  .token_tiles = int(token_tiles),
                  .k_tiles = int(weight.k_tiles),
                  .table = weight.table,
                  .partial = workspace.partial.as<float>(),
                  .ready = workspace.ready.as<int>(),
                  .epilogue = device::LinearEpilogue::of(op)});
}

template <bool kSigns, int kSets>
void start_by_tokens(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                     cudaStream_t stream) {
  const auto with = [&]<int kTokens, int kStages, bool kSplit>() {
    start<W4Config{kTokens, kStages, kSplit, kSigns, kSets}>(op, weight, workspace, stream);
  };
  const int64_t m = op.x.rows;
  if (m <= 16) return with.template operator()<16, 16, true>();
  if (m <= 64) return with.template operator()<64, 12, true>();
  if (m <= 128) return with.template operator()<128, 8, true>();
  return with.template operator()<256, 5, false>();
}

template <bool kSigns>
void start_by_sets(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                   cudaStream_t stream) {
  switch (weight.sets) {
    case 1:
      return start_by_tokens<kSigns, 1>(op, weight, workspace, stream);
    case 2:
      return start_by_tokens<kSigns, 2>(op, weight, workspace, stream);
    default:
      return start_by_tokens<kSigns, 4>(op, weight, workspace, stream);
  }
}

}  // namespace

Workspace::Workspace(Backend& backend, int multiprocessors)
    : blocks(multiprocessors),
      partial(backend, size_t(blocks) * 2 * kMostSplitTokens / 2 * 128 * sizeof(float)),
      ready(upload(backend, std::vector<int>(size_t(blocks) * 2))) {}

void linear_w4(const Linear& op, const Workspace& workspace, cudaStream_t stream) {
  if (op.x.rows == 0) return;
  const auto& weight = std::get<W4Weight>(cuda_weight(*op.weight).form);
  weight.signs ? start_by_sets<true>(op, weight, workspace, stream)
               : start_by_sets<false>(op, weight, workspace, stream);
}

}  // namespace emberq::cuda
