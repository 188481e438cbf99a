// Four-bit weights times e4m3 activations. D^T = W X^T: weights are operand A of wgmma, from
// registers, where they become e4m3; tokens are its N. docs/kernels/w4a8.md has the steps tried.
//
// A block of threads works on tiles of 128 outputs (rows of W) by C.tokens tokens, a cluster of
// blocks on as many rows more and the same tokens, which each block loads a part of for all. One
// warp keeps a ring of stages full, across tiles; two warpgroups each multiply their own 64 rows,
// and add each group's product, times its scale, to sums in FP32. device/w4_schedule.cuh says who
// works on what.
#include <algorithm>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/device/cluster.cuh"
#include "ops/cuda/device/epilogue.cuh"
#include "ops/cuda/device/pipeline.cuh"
#include "ops/cuda/device/w4_schedule.cuh"
#include "ops/cuda/device/wgmma.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/tensor_map.h"
#include "ops/cuda/w4_plan.h"

namespace emberq::cuda {
namespace {

using device::W4Piece;

template <W4Config C, bool kSigns, int kSets>
struct W4LinearKernel {
  struct Args {
    CUtensorMap x, out;  // out where its rows are aligned
    const uint8_t* tiles;
    int row_blocks;
    device::W4Schedule schedule;
    device::W4Table table;
    float* partial;  // [blocks][consumers][tokens / 2][128], where tiles are cut
    // [blocks][consumers]: 2 r + 1 where the partial of round r is there, 2 r where none is, and 0
    // after the last
    int* ready;
    device::LinearEpilogue epilogue;
  };
  static constexpr int kConsumers = W4Config::kRows / device::kW4Rows;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kLoader = 4 * kConsumers, kTeller = kLoader + 1;  // warps
  static constexpr int kBlocks = 1;
  static constexpr int kCluster = C.cluster;
  static constexpr bool kEarly = true;

  static constexpr int kTileBytes = W4Weight::tile_bytes(kSets);
  static constexpr int kWeightBytes = kConsumers * kTileBytes;
  static constexpr int kXBytes = C.tokens * 128;
  // Tokens that are stored at a time, through shared memory; few are stored where they are.
  static constexpr int kStoredTokens = C.tokens <= 16 ? 0 : C.tokens == 32 ? 16 : 32;
  static constexpr int kStagingBytes = 2 * kStoredTokens * device::kW4Rows * 2;  // of a consumer
  static constexpr int kAlignment = 1024;                                        // of the swizzle
  static constexpr int kSharedBytes =
      C.stages * (kXBytes + kWeightBytes + 16) + kConsumers * kStagingBytes + kAlignment;

  // Addresses in shared memory.
  struct Shared {
    uint32_t x, weights, staging, full, empty, table;

    __device__ device::Barrier full_of(int stage) const { return {full + stage * 8u}; }
    __device__ device::Barrier empty_of(int stage) const { return {empty + stage * 8u}; }
  };
  // Where a thread is in the ring. Parities tell its rounds apart.
  struct Ring {
    int stage = 0, parity = 0;
    __device__ void next() {
      if (++stage == C.stages) stage = 0, parity ^= 1;
    }
  };

  static __device__ bool piece_of(const Args& a, int j, W4Piece& piece) {
    return a.schedule.piece(int(blockIdx.x), j, piece);
  }
  // Computed anew, so that the piece need not stay in registers that products want.
  static __device__ W4Piece piece_again(const Args& a, int j) {
    int cluster;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(cluster));
    W4Piece piece;
    a.schedule.piece(cluster, j, piece);
    return piece;
  }

  // The steps of this block's pieces one after the other.
  class Steps {
   public:
    __device__ explicit Steps(const Args& a) : a_(a) { more_ = piece_of(a, 0, piece_); }
    __device__ bool more() const { return more_; }
    __device__ const W4Piece& piece() const { return piece_; }  // from this step on
    __device__ void next() {
      if (++piece_.k == piece_.k_end) more_ = piece_of(a_, ++j_, piece_);
    }

   private:
    const Args& a_;
    W4Piece piece_;
    int j_ = 0;
    bool more_;
  };

  static __device__ int row_block(const W4Piece& piece) {
    return piece.row_tile * kCluster + int(blockIdx.y);
  }

  static __device__ void load_weights(const Args& a, const Shared& shared, int stage,
                                      const W4Piece& piece, uint64_t hint) {
    const device::Barrier full = shared.full_of(stage);
    full.arrive_and_expect(kWeightBytes + kXBytes);
    const int rows = min(row_block(piece), a.row_blocks - 1);  // a cluster may reach past W
    device::copy_bulk(shared.weights + stage * kWeightBytes,
                      a.tiles + (int64_t(rows) * a.schedule.k_tiles + piece.k) * kWeightBytes,
                      kWeightBytes, full, hint);
  }
  // This block's part of the tokens, to all blocks of the cluster.
  static __device__ void load_tokens(const Args& a, const Shared& shared, int stage,
                                     const W4Piece& piece, uint64_t hint) {
    const device::Barrier full = shared.full_of(stage);
    const uint32_t to = shared.x + stage * kXBytes;
    const int column = piece.k * device::kW4Inputs, token = piece.token_tile * C.tokens;
    if constexpr (kCluster == 1) {
      device::copy_box(to, a.x, column, token, full, hint);
    } else {
      const int rank = int(blockIdx.y);
      device::copy_box_to_all(to + rank * (kXBytes / kCluster), a.x, column,
                              token + rank * (C.tokens / kCluster), full, hint, kCluster);
    }
  }

  static __device__ void produce(const Args& a, const Shared& shared) {
    const uint64_t once = device::evict_first(), often = device::evict_last();
    device::prefetch(a.x);
    // No kernel writes weights: the first of them are on their way while the kernel before this one
    // still works on the tokens; no more than hide their latency, or that kernel's end waits for
    // them.
    constexpr int kEarlyStages = 4;
    int filled = 0;
    for (Steps s(a); s.more() && filled < kEarlyStages; s.next(), ++filled)
      load_weights(a, shared, filled, s.piece(), once);
    Steps s(a);
    device::wait_for_dependencies();
    if constexpr (kCluster > 1) device::cluster_wait();
    Ring ring;
    for (; s.more(); s.next(), ring.next()) {
      if (--filled < 0) {
        shared.empty_of(ring.stage).wait(ring.parity ^ 1);
        load_weights(a, shared, ring.stage, s.piece(), once);
      }
      load_tokens(a, shared, ring.stage, s.piece(), often);
    }
  }

  // Tokens are multiplied in parts, each with the inputs that share a scale: a unit. Where there
  // are registers for it, a unit is added to the sums while the next is multiplied, and two stages
  // follow each other without a break.
  static constexpr bool kOverlaps = C.tokens <= 128;
  static constexpr int kPart = C.tokens == 128 ? 64 : std::min(C.tokens, 128),
                       kParts = C.tokens / kPart;
  static constexpr int kUnits = kSets * kParts;
  static constexpr int kProducts = kOverlaps ? 2 : 1;

  using Sums = float[kParts][kPart / 2];

  // The place of the partial sums of this block, or of its like in another cluster.
  static __device__ int place_of(int cluster, int consumer) {
    return (cluster * kCluster + int(blockIdx.y)) * kConsumers + consumer;
  }
  static __device__ float* partial_of(const Args& a, int place) {
    return a.partial + int64_t(place) * (C.tokens / 2) * 128 + int(threadIdx.x) % 128;
  }
  static __device__ void wait_for(const int* ready, int value) {
    while (device::load_acquire(ready) != value) {
    }
  }

  // The sums of a tile whose beginning another cluster has. One warpgroup writes its own, the same
  // threads of another read them. That they are there is for tell() to say: it takes as long as a
  // step or two until all multiprocessors see them.
  static constexpr int told(int consumer) { return 1 + kConsumers + consumer; }  // barrier
  static __device__ void leave(const Args& a, const W4Piece& piece, int consumer, const Sums& sum) {
    const int place = place_of(int(blockIdx.x), consumer);
    if (piece.round > 0) {  // what the round before has left may not have been read yet
      if (threadIdx.x % 128 == 0) wait_for(a.ready + place, 2 * piece.round);
      device::warpgroup_barrier(consumer);
    }
    float* to = partial_of(a, place);
#pragma unroll
    for (int p = 0; p < kParts; ++p)
#pragma unroll
      for (int c = 0; c < kPart / 2; ++c) __stcg(to + (p * (kPart / 2) + c) * 128, sum[p][c]);
    device::tell_warp(told(consumer));
  }
  static __device__ void tell(const Args& a) {
    W4Piece piece;
    for (int j = 0; piece_of(a, j, piece); ++j)
      for (int consumer = 0; piece.k > 0 && consumer < kConsumers; ++consumer) {
        device::wait_for_warpgroup(told(consumer));
        if (threadIdx.x % 32 == 0) {
          __threadfence();
          device::store_release(a.ready + place_of(int(blockIdx.x), consumer), 2 * piece.round + 1);
        }
      }
  }
  // Adds what the clusters after this one have of a tile that this one's run ends inside of.
  static __device__ void join(const Args& a, const W4Piece& piece, int consumer, Sums& sum) {
    const int thread = int(threadIdx.x) % 128, cluster = int(blockIdx.x);
    int parts = 0;
    for (int k = piece.k_end; k < a.schedule.k_tiles; ++parts)
      k += a.schedule.run_begin(cluster + parts + 2) - a.schedule.run_begin(cluster + parts + 1);
    const auto place = [&](int part) { return place_of(cluster + part + 1, consumer); };
    for (int part = thread; part < parts; part += 128)
      wait_for(a.ready + place(part), 2 * piece.round + 1);
    device::warpgroup_barrier(consumer);
    constexpr int kAtOnce = C.tokens <= 16 ? 4 : 1;
#pragma unroll kAtOnce
    for (int part = 0; part < parts; ++part) {
      const float* from = partial_of(a, place(part));
#pragma unroll
      for (int p = 0; p < kParts; ++p)
#pragma unroll
        for (int c = 0; c < kPart / 2; ++c) sum[p][c] += __ldcg(from + (p * (kPart / 2) + c) * 128);
    }
    device::warpgroup_barrier(consumer);
    const int next = piece.round + 1;
    for (int part = thread; part < parts; part += 128)
      device::store_release(a.ready + place(part), next < a.schedule.rounds ? 2 * next : 0);
  }

  static __device__ void store(const Args& a, const Shared& shared, const W4Piece& piece,
                               int consumer, const Sums& sum) {
    const int token = piece.token_tile * C.tokens,
              column = row_block(piece) * W4Config::kRows + consumer * device::kW4Rows;
    if constexpr (kStoredTokens > 0) {
      if (a.epilogue.aligned()) {
        a.epilogue.template store<C.tokens, kStoredTokens>(
            a.out, token, column, sum[0], shared.staging + consumer * kStagingBytes, consumer);
        return;
      }
    }
    const int thread = int(threadIdx.x) % 128, lane = thread % 32;
#pragma unroll
    for (int p = 0; p < kParts; ++p)
#pragma unroll
      for (int c = 0; c < kPart / 2; ++c) {
        const int at_column = column + thread / 32 * 16 + lane / 4 + c % 4 / 2 * 8;
        const int at_token = token + p * kPart + c / 4 * 8 + lane % 4 * 2 + c % 2;
        if (at_token < a.epilogue.m && at_column < a.epilogue.n)
          a.epilogue.store(at_token, at_column, sum[p][c]);
      }
  }

  // What a thread of a consumer reads, by where it is in shared memory.
  struct Reader {
    uint32_t codes, scales;  // of the first stage
    uint64_t x;              // descriptor, likewise
    device::W4Table table;   // loaded, or it is computed again and again

    __device__ Reader(const Shared& shared, int consumer) : x(device::swizzled_rows(shared.x)) {
      const uint32_t thread = threadIdx.x % 128, tile = shared.weights + consumer * kTileBytes;
      codes = tile + thread * 16;
      scales = tile + W4Weight::kCodeBytes + (thread / 32 * 8 + thread % 32 / 4) * 4;
      for (int i = 0; i < 4; ++i) table.words[i] = device::load_shared_4(shared.table + 4 * i);
    }
  };

  // A stage's weights as they are stored, of one thread.
  struct Codes {
    uint32_t words[8];
    uint32_t scale[kSets];  // two BF16, of rows g and g + 8
  };
  static __device__ void take(const Shared& shared, const Reader& reader, const Ring& ring,
                              Codes& to) {
    shared.full_of(ring.stage).wait(ring.parity);
    const uint32_t codes = reader.codes + ring.stage * kWeightBytes;
    const uint4 v[2] = {device::load_shared_16(codes), device::load_shared_16(codes + 2048)};
    to.words[0] = v[0].x, to.words[1] = v[0].y, to.words[2] = v[0].z, to.words[3] = v[0].w;
    to.words[4] = v[1].x, to.words[5] = v[1].y, to.words[6] = v[1].z, to.words[7] = v[1].w;
#pragma unroll
    for (int set = 0; set < kSets; ++set)
      to.scale[set] = device::load_shared_4(reader.scales + ring.stage * kWeightBytes + set * 128);
  }

  // A stage can be filled again, with tokens by every block of the cluster.
  static __device__ void release(const Shared& shared, const Ring& ring) {
    const int lane = int(threadIdx.x) % 32;
    const device::Barrier empty = shared.empty_of(ring.stage);
    __syncwarp();  // all lanes have read
    if constexpr (kCluster == 1) {
      if (lane == 0) empty.arrive();
    } else {
      if (lane < kCluster) empty.arrive_at(lane);
    }
  }

  // Register operands of wgmma for k-step j from a stage's codes.
  static __device__ void expand(const Reader& reader, const Codes& codes, int j, uint32_t* to) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const uint32_t word = codes.words[2 * j + h];
      const device::W4Pair pair = kSigns ? device::expand_signed(word, reader.table)
                                         : device::expand_any(word, reader.table);
      to[2 * h] = pair.even, to[2 * h + 1] = pair.odd;
    }
    device::pin<4>(to);
  }

  // sum += the product of kStages stages. The codes of the first were taken before, those of each
  // next one are when these are expanded; of the one after the last unless there is none.
  template <int kStages>
  static __device__ void multiply(const Shared& shared, const Reader& reader, Ring& ring, bool last,
                                  Codes& codes, Sums& sum) {
    constexpr int kSteps = 4 / kSets;  // of wgmma, of a unit
    Ring at[kStages];
    uint32_t weights[kStages][16], scale[kStages][kSets] = {};
    float product[kProducts][kPart / 2];
    const auto add = [&](int unit) {
      const int stage = unit / kUnits, set = unit % kUnits / kParts, part = unit % kParts;
      const float low = __uint_as_float(scale[stage][set] << 16),
                  high = __uint_as_float(scale[stage][set] & 0xffff0000);
      if (unit % kUnits + 1 == kUnits) release(shared, at[stage]);
#pragma unroll
      for (int c = 0; c < kPart / 2; ++c)
        sum[part][c] = fmaf(c % 4 < 2 ? low : high, product[unit % kProducts][c], sum[part][c]);
    };
#pragma unroll
    for (int unit = 0; unit < kStages * kUnits; ++unit) {
      const int stage = unit / kUnits, set = unit % kUnits / kParts, part = unit % kParts;
      if (unit % kUnits == 0) {
        at[stage] = ring;
#pragma unroll
        for (int i = 0; i < kSets; ++i) scale[stage][i] = codes.scale[i];
      }
      const uint64_t x = reader.x + at[stage].stage * (kXBytes >> 4) + part * (kPart * 128 >> 4);
#pragma unroll
      for (int j = set * kSteps; j < (set + 1) * kSteps; ++j) {
        uint32_t* operand = weights[stage] + 4 * j;
        if (part == 0) expand(reader, codes, j, operand);  // while the step before is multiplied
        if (part == 0 || j == set * kSteps) device::wgmma_fence();
        device::Wgmma<kPart>::run(product[unit % kProducts], operand, x + 2 * j, j > set * kSteps);
      }
      device::wgmma_commit();
      if (unit % kUnits == (kSets - 1) * kParts) {  // all codes are expanded
        ring.next();
        if (stage + 1 < kStages || !last) take(shared, reader, ring, codes);
      }
      if constexpr (!kOverlaps) {
        device::wgmma_wait<0>();
        add(unit);
      } else if (unit > 0) {
        device::wgmma_wait<1>();
        add(unit - 1);
      }
    }
    if constexpr (kOverlaps) {
      device::wgmma_wait<0>();
      add(kStages * kUnits - 1);
    }
  }

  static __device__ void consume(const Args& a, const Shared& shared, int consumer) {
    const Reader reader(shared, consumer);
    Ring ring;
    W4Piece piece;
    for (int j = 0; piece_of(a, j, piece); ++j) {
      Sums sum = {};
      Codes codes;
      take(shared, reader, ring, codes);
      int steps = device::uniform(piece.k_end - piece.k);
      if constexpr (kOverlaps)
        for (; steps >= 2; steps -= 2) multiply<2>(shared, reader, ring, steps == 2, codes, sum);
      for (; steps > 0; --steps) multiply<1>(shared, reader, ring, steps == 1, codes, sum);
      const W4Piece done = piece_again(a, j);
      if (done.k > 0) {
        leave(a, done, consumer, sum);
        continue;
      }
      if (done.k_end < a.schedule.k_tiles) join(a, done, consumer, sum);
      store(a, shared, done, consumer, sum);
    }
    if (kStoredTokens > 0 && threadIdx.x % 128 == 0) device::wait_for_copies_out<0>();
  }

  static __device__ void run(const Args& a) {
    extern __shared__ uint8_t memory[];
    __shared__ device::W4Table table;
    const uint32_t x = (device::shared_address(memory) + kAlignment - 1) / kAlignment * kAlignment,
                   staging = x + C.stages * kXBytes, weights = staging + kConsumers * kStagingBytes,
                   full = weights + C.stages * kWeightBytes, empty = full + C.stages * 8;
    const Shared shared{x, weights, staging, full, empty, device::shared_address(&table)};
    if (threadIdx.x == 0) {
      table = a.table;
      for (int stage = 0; stage < C.stages; ++stage) {
        shared.full_of(stage).init(1);
        shared.empty_of(stage).init(4 * kConsumers * kCluster);
      }
    }
    device::publish_barriers();
    if constexpr (kCluster > 1) device::cluster_arrive();
    device::launch_dependents();

    const int warp = device::uniform(int(threadIdx.x) / 32), warpgroup = warp / 4;
    if (warpgroup == kConsumers) {
      device::fewer_registers<40>();
      if (warp == kLoader && threadIdx.x % 32 == 0) {
        produce(a, shared);
      } else {
        if constexpr (kCluster > 1) device::cluster_wait();
        if (warp == kTeller) tell(a);
      }
    } else {
      device::more_registers<232>();
      if constexpr (kCluster > 1) device::cluster_wait();
      device::wait_for_dependencies();
      consume(a, shared, warpgroup);
    }
    if constexpr (kCluster > 1) {  // until no other block fills or empties this one's ring
      device::cluster_arrive();
      device::cluster_wait();
    }
  }
};

template <size_t kConfig, bool kSigns, int kSets>
void start(const Linear& op, const W4Weight& weight, const Workspace& workspace,
           BatchInvariant invariant, cudaStream_t stream) {
  constexpr W4Config kC = kW4Configs[kConfig];
  using Kernel = W4LinearKernel<kC, kSigns, kSets>;
  const int clusters = most_clusters<Kernel>(workspace.multiprocessors);
  const device::W4Schedule cut =
      schedule(kC, op.x.rows, op.out.dim, weight.k_tiles, clusters, invariant);
  const auto epilogue = device::LinearEpilogue::of(op);
  launch<Kernel>(dim3(unsigned(cut.clusters), kC.cluster), stream,
                 {.x = map_rows(op.x, kC.tokens / kC.cluster),
                  .out = Kernel::kStoredTokens > 0 && epilogue.aligned()
                             ? map_bf16_rows(op.out, Kernel::kStoredTokens)
                             : CUtensorMap{},
                  .tiles = weight.tiles.as<uint8_t>(),
                  .row_blocks = int(weight.row_blocks),
                  .schedule = cut,
                  .table = weight.table,
                  .partial = workspace.partial.as<float>(),
                  .ready = workspace.ready.as<int>(),
                  .epilogue = epilogue});
}

template <bool kSigns, int kSets, size_t... I>
void start_picked(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                  BatchInvariant invariant, cudaStream_t stream, std::index_sequence<I...>) {
  const size_t picked =
      pick(op.x.rows, op.out.dim, weight.k_tiles, workspace.multiprocessors, invariant);
  ((I == picked ? start<I, kSigns, kSets>(op, weight, workspace, invariant, stream) : void()), ...);
}

template <bool kSigns>
void start_by_sets(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                   BatchInvariant invariant, cudaStream_t stream) {
  constexpr auto kAll = std::make_index_sequence<kW4Configs.size()>();
  switch (weight.sets) {
    case 1:
      return start_picked<kSigns, 1>(op, weight, workspace, invariant, stream, kAll);
    case 2:
      return start_picked<kSigns, 2>(op, weight, workspace, invariant, stream, kAll);
    default:
      return start_picked<kSigns, 4>(op, weight, workspace, invariant, stream, kAll);
  }
}

}  // namespace

Workspace::Workspace(Backend& backend, int multiprocessors) : multiprocessors(multiprocessors) {
  int tokens = 0;
  for (const W4Config& config : kW4Configs) tokens = std::max(tokens, config.tokens);
  const auto rows = size_t(multiprocessors) * W4Config::kRows;
  partial = Buffer(backend, rows * size_t(tokens) * sizeof(float));
  ready = upload(backend, std::vector<int>(rows / device::kW4Rows));
}

void linear_w4(const Linear& op, const Workspace& workspace, BatchInvariant invariant,
               cudaStream_t stream) {
  if (op.x.rows == 0) return;
  const auto& weight = std::get<W4Weight>(cuda_weight(*op.weight).form);
  weight.signs ? start_by_sets<true>(op, weight, workspace, invariant, stream)
               : start_by_sets<false>(op, weight, workspace, invariant, stream);
}

}  // namespace emberq::cuda
