// Four-bit weights times e4m3 activations. D^T = W X^T: weights are operand A of wgmma, from
// registers, where they become e4m3; tokens are its N. docs/kernels/w4a8.md has the steps tried.
//
// A block of threads works on tiles of 128 outputs (rows of W) by C.tokens tokens, a cluster of
// blocks on as many rows more and the same tokens, which each block loads a part of for all. One
// warp keeps a ring of stages full, across tiles; warpgroups each multiply 64 rows, and add each
// group's product, times its scale, to sums in FP32. Where tokens are few, C.split warpgroups take
// a tile's steps in turn, for instructions to be hidden behind each other, and each finishes a part
// of the tokens. device/w4_schedule.cuh says who works on what.
#include <algorithm>

#include "ops/cuda/cuda_backend.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/device/cluster.cuh"
#include "ops/cuda/device/epilogue.cuh"
#include "ops/cuda/device/pipeline.cuh"
#include "ops/cuda/device/w4_operand.cuh"
#include "ops/cuda/device/w4_partials.cuh"
#include "ops/cuda/device/w4_schedule.cuh"
#include "ops/cuda/device/wgmma.cuh"
#include "ops/cuda/launch.cuh"
#include "ops/cuda/tensor_map.h"
#include "ops/cuda/w4_plan.h"

namespace emberq::cuda {
namespace {

using device::W4Piece;

template <W4Config C, W4Codes kCodes, int kSets>
struct W4LinearKernel {
  static constexpr int kHalves = W4Config::kRows / device::kW4Rows;  // of a block's rows
  static constexpr int kConsumers = kHalves * C.split;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kLoader = 4 * kConsumers, kTeller = kLoader + 1;  // warps
  static constexpr int kBlocks = C.blocks;
  static constexpr int kCluster = C.cluster;
  static constexpr bool kEarly = true;

  // A multiprocessor's registers: what each thread starts with, in eights, and how the loader's
  // warpgroup and the consumers divide that.
  static constexpr int kRegisters = (1 << 16) / (kBlocks * kThreads) / 8 * 8,
                       kLoaderRegisters = C.split * kBlocks == 1 ? 40 : 32,
                       kConsumerRegisters =
                           std::min(232, (kRegisters * kThreads / 128 - kLoaderRegisters) /
                                             kConsumers / 8 * 8);

  static constexpr int kTileBytes = device::w4_tile_bytes(kCodes, kSets);
  static constexpr int kWeightBytes = kHalves * kTileBytes;
  static constexpr int kXBytes = C.tokens * 128;
  // Tokens that a consumer finishes, and the registers their sums take.
  static constexpr int kOwnTokens = C.tokens / C.split, kOwn = kOwnTokens / 2;
  using Partials = device::W4Partials<kCluster, kConsumers, kOwn>;
  using Own = typename Partials::Own;
  // Tokens that are stored at a time, through shared memory; few are stored where they are.
  static constexpr int kStoredTokens = kOwnTokens <= 16 ? 0 : kOwnTokens == 32 ? 16 : 32;
  // A consumer's shared memory, for what it stores and for sums that others give it.
  static constexpr int kStagingBytes = std::max(2 * kStoredTokens * device::kW4Rows * 2,
                                                C.split > 1 ? kOwn * 128 * int(sizeof(float)) : 0);
  static constexpr int kAlignment = 1024;  // of the swizzle
  // What a block may have of the 228 KB: 1 KB is the system's, a little is not dynamic.
  static constexpr int kSharedLimit = (228 << 10) / kBlocks - (1 << 10) - 64;
  static constexpr int kStageBytes = kXBytes + kWeightBytes + 16,
                       kOtherBytes = kConsumers * kStagingBytes + kAlignment;
  static constexpr int kStages = std::min(C.stages, (kSharedLimit - kOtherBytes) / kStageBytes);
  static constexpr int kSharedBytes = kStages * kStageBytes + kOtherBytes;

  struct Args {
    CUtensorMap x, out;  // out where its rows are aligned
    const uint8_t* tiles;
    int row_blocks;
    device::W4Schedule schedule;
    device::W4Table table;
    float factor;       // of kProducts
    Partials partials;  // where tiles are cut
    device::LinearEpilogue epilogue;
  };

  // Addresses in shared memory.
  struct Shared {
    uint32_t x, weights, staging, full, empty, table;

    __device__ device::Barrier full_of(int stage) const { return {full + stage * 8u}; }
    __device__ device::Barrier empty_of(int stage) const { return {empty + stage * 8u}; }
  };
  // Where a thread is in the ring. Parities tell its rounds apart.
  struct Ring {
    int stage = 0, parity = 0;
    template <int kSteps = 1>
    __device__ void advance() {
      static_assert(kSteps <= kStages);
      stage += kSteps;
      if (stage >= kStages) stage -= kStages, parity ^= 1;
    }
    __device__ void advance(int steps) {
      const auto to = unsigned(stage + steps);
      stage = int(to % kStages), parity ^= int(to / kStages & 1);
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
    // still works on the tokens. Where both have room on a multiprocessor, all that the ring holds;
    // else no more than hide their latency, or that kernel's end waits for them.
    constexpr int kEarlyStages = kBlocks > 1 ? kStages : 4;
    int filled = 0;
    for (Steps s(a); s.more() && filled < kEarlyStages; s.next(), ++filled)
      load_weights(a, shared, filled, s.piece(), once);
    Steps s(a);
    device::wait_for_dependencies();
    if constexpr (kCluster > 1) device::cluster_wait();
    Ring ring;
    for (; s.more(); s.next(), ring.advance()) {
      if (--filled < 0) {
        shared.empty_of(ring.stage).wait(ring.parity ^ 1);
        load_weights(a, shared, ring.stage, s.piece(), once);
      }
      load_tokens(a, shared, ring.stage, s.piece(), often);
    }
  }

  // Tokens are multiplied in parts, each with the inputs that share a scale.
  static constexpr int kPart = std::min(C.tokens, 128), kParts = C.tokens / kPart;

  using Sums = float[kParts][kPart / 2];  // of a wgmma

  static __device__ uint32_t staging_of(const Shared& shared, int consumer) {
    return shared.staging + consumer * kStagingBytes;
  }
  // The sums over all steps of the tokens that this consumer finishes: its own with those of the
  // other that has taken the same rows in turn with it.
  static __device__ void share(const Shared& shared, int consumer, const Sums& sum, Own& own) {
    static_assert(C.split == 2 && kParts == 1);
    const bool first = consumer < kHalves;
    const int other = first ? consumer + kHalves : consumer - kHalves,
              thread = device::thread_again() % 128,
              barrier = 1 + 2 * kConsumers + consumer % kHalves;
    // What is still being stored from there has been read.
    if (kStoredTokens > 0 && thread == 0) device::wait_for_copies_out<0>();
    device::named_barrier(barrier, 256);
    const uint32_t to = staging_of(shared, other) + thread * 4;
#pragma unroll
    for (int c = 0; c < kOwn; ++c)
      device::store_shared_4(to + c * 512, first ? sum[0][kOwn + c] : sum[0][c]);
    device::named_barrier(barrier, 256);
    const uint32_t from = staging_of(shared, consumer) + thread * 4;
#pragma unroll
    for (int c = 0; c < kOwn; ++c)
      own[c] = (first ? sum[0][c] : sum[0][kOwn + c]) +
               __uint_as_float(device::load_shared_4(from + c * 512));
  }

  static __device__ void store(const Args& a, const Shared& shared, const W4Piece& piece,
                               int consumer, const Own& sum) {
    const int token = piece.token_tile * C.tokens + consumer / kHalves * kOwnTokens,
              column = row_block(piece) * W4Config::kRows + consumer % kHalves * device::kW4Rows;
    if constexpr (kStoredTokens > 0) {
      if (a.epilogue.aligned()) {
        a.epilogue.template store<kOwnTokens, kStoredTokens>(
            a.out, token, column, sum, staging_of(shared, consumer), consumer);
        return;
      }
    }
    const int thread = device::thread_again() % 128, lane = thread % 32;
#pragma unroll
    for (int c = 0; c < kOwn; ++c) {
      const int at_column = column + thread / 32 * 16 + lane / 4 + c % 4 / 2 * 8;
      const int at_token = token + c / 4 * 8 + lane % 4 * 2 + c % 2;
      if (at_token < a.epilogue.m && at_column < a.epilogue.n)
        a.epilogue.store(at_token, at_column, sum[c]);
    }
  }

  // What a consumer reads.
  using Operand = device::W4Operand<kCodes, kSets, C.tokens == 256>;
  using Codes = typename Operand::Codes;
  using Registers = typename Operand::Registers;
  struct Reader {
    uint32_t tile;  // of the first stage: address in shared memory
    uint64_t x;     // descriptor of the first stage's tokens
    Operand operand;

    __device__ uint32_t tile_of(const Ring& ring) const { return tile + ring.stage * kWeightBytes; }
    // Waits for the stage.
    __device__ void take(const Shared& shared, const Ring& ring, Codes& to) const {
      shared.full_of(ring.stage).wait(ring.parity);
      operand.take(tile_of(ring), to);
    }
  };

  // A stage can be filled again, with tokens by every block of the cluster.
  static __device__ void release(const Shared& shared, const Ring& ring) {
    const device::Barrier empty = shared.empty_of(ring.stage);
    __syncwarp();  // all lanes have read
    if (!device::elect()) return;
    if constexpr (kCluster == 1) {
      empty.arrive();
    } else {
#pragma unroll
      for (int block = 0; block < kCluster; ++block) empty.arrive_at(block);
    }
  }

  // FireQ's sums stay in wgmma's accumulator from the first input to the last, as published; the
  // others' are taken out of it after each set of scales, which also keeps its 14 bits from
  // mattering.
  static constexpr bool kPromotes = kCodes != W4Codes::kProducts;
  // Whether there are registers for the next stage's operand beside this one's.
  static constexpr bool kAhead =
      !kPromotes || (kSets == 1 ? C.tokens < 256 || kCodes == W4Codes::kSigned
                                : C.tokens != 64 && C.tokens != 256);
  // wgmma of `count` k-steps from `first` on and a part of the tokens of a stage.
  static __device__ void multiply_part(const Reader& reader, const Ring& at,
                                       const Registers& weights, int first, int count, int part,
                                       bool add, float (&to)[kPart / 2]) {
    const uint64_t x = reader.x + at.stage * (kXBytes >> 4) + part * (kPart * 128 >> 4);
#pragma unroll
    for (int j = first; j < first + count; ++j)
      device::Wgmma<kPart>::run(to, weights + 4 * j, x + 2 * j, add || j > first);
  }

  // sum += the product of a stage, whose weights were expanded before; those of the consumer's next
  // one, of which `more` says whether there is one, are while the first part is multiplied, or at
  // the end.
  static __device__ void multiply(const Shared& shared, const Reader& reader, Ring& ring, bool more,
                                  Codes& codes, const Registers& weights, Registers& next,
                                  Sums& sum) {
    const Ring at = ring;
    const auto prepare_next = [&] {
      ring.template advance<C.split>();
      if (more) reader.take(shared, ring, codes);
      if (kAhead && more) reader.operand.expand(reader.tile_of(ring), codes, next);
    };
    if constexpr (!kPromotes) {
      device::wgmma_fence();
#pragma unroll
      for (int part = 0; part < kParts; ++part)
        multiply_part(reader, at, weights, 0, 4, part, true, sum[part]);
      device::wgmma_commit();
      prepare_next();
      device::wgmma_wait<0>();
      release(shared, at);
    } else {
      constexpr int kSteps = 4 / kSets;  // of wgmma, that share a scale
      device::W4Scales scale;
      float product[kPart / 2];
#pragma unroll
      for (int set = 0; set < kSets; ++set)
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          device::wgmma_fence();
          multiply_part(reader, at, weights, set * kSteps, kSteps, part, false, product);
          device::wgmma_commit();
          if (set == 0 && part == 0) prepare_next();
          if (part == 0) scale = reader.operand.scales(reader.tile_of(at), set);
          device::wgmma_wait<0>();
          if (set + 1 == kSets && part + 1 == kParts) release(shared, at);
#pragma unroll
          for (int c = 0; c < kPart / 2; ++c)
            sum[part][c] = fmaf(c % 4 < 2 ? scale.low : scale.high, product[c], sum[part][c]);
        }
      if (!kAhead && more) reader.operand.expand(reader.tile_of(ring), codes, next);
    }
  }

  // Where piece j's sums go.
  static __device__ void finish(const Args& a, const Shared& shared, int j, int consumer,
                                Own& sum) {
    const W4Piece piece = piece_again(a, j);
    if (piece.k > 0) return a.partials.leave(piece, consumer, sum);
    if (piece.k_end < a.schedule.k_tiles) a.partials.join(a.schedule, piece, consumer, sum);
    if constexpr (!kPromotes) {
#pragma unroll
      for (int c = 0; c < kOwn; ++c) sum[c] *= a.factor;
    }
    store(a, shared, piece, consumer, sum);
  }

  static __device__ void consume(const Args& a, const Shared& shared, int consumer) {
    const Reader reader{shared.weights + uint32_t(consumer % kHalves * kTileBytes),
                        device::swizzled_rows(shared.x), Operand(a.table, shared.table)};
    const int turn = consumer / kHalves;
    Ring begin;  // of a piece
    W4Piece piece;
    for (int j = 0; piece_of(a, j, piece); ++j) {
      const int all = device::uniform(piece.k_end - piece.k);
      Sums sum = {};
      int steps = (all - turn + C.split - 1) / C.split;
      if (C.split == 1 || steps > 0) {
        Ring ring = begin;
        if (turn > 0) ring.advance();
        Codes codes;
        Registers weights[kAhead ? 2 : 1];
        Registers &even = weights[0], &odd = weights[kAhead ? 1 : 0];
        reader.take(shared, ring, codes);
        reader.operand.expand(reader.tile_of(ring), codes, even);
        for (;; steps -= 2) {
          multiply(shared, reader, ring, steps > 1, codes, even, odd, sum);
          if (steps == 1) break;
          multiply(shared, reader, ring, steps > 2, codes, odd, even, sum);
          if (steps == 2) break;
        }
      }
      begin.advance(all);
      if constexpr (C.split == 1) {
        finish(a, shared, j, consumer, reinterpret_cast<Own&>(sum));
      } else {
        Own own;
        share(shared, consumer, sum, own);
        finish(a, shared, j, consumer, own);
      }
    }
    if (kStoredTokens > 0 && threadIdx.x % 128 == 0) device::wait_for_copies_out<0>();
  }

  static __device__ void run(const Args& a) {
    extern __shared__ uint8_t memory[];
    __shared__ device::W4Table table;
    // By uniform(), or the address of shared memory is made again before every use.
    const uint32_t x = uint32_t(
                       device::uniform(int((device::shared_address(memory) + kAlignment - 1) /
                                           kAlignment * kAlignment))),
                   staging = x + kStages * kXBytes, weights = staging + kConsumers * kStagingBytes,
                   full = weights + kStages * kWeightBytes, empty = full + kStages * 8;
    const Shared shared{x, weights, staging, full, empty, device::shared_address(&table)};
    if (threadIdx.x == 0) {
      table = a.table;
      for (int stage = 0; stage < kStages; ++stage) {
        shared.full_of(stage).init(1);
        shared.empty_of(stage).init(4 * kHalves * kCluster);
      }
    }
    device::publish_barriers();
    if constexpr (kCluster > 1) device::cluster_arrive();
    device::launch_dependents();

    const int warp = device::uniform(int(threadIdx.x) / 32), warpgroup = warp / 4;
    if (warpgroup == kConsumers) {
      device::fewer_registers<kLoaderRegisters>();
      if (warp == kLoader && threadIdx.x % 32 == 0) {
        produce(a, shared);
      } else {
        if constexpr (kCluster > 1) device::cluster_wait();
        if (warp == kTeller) a.partials.tell(a.schedule);
      }
    } else {
      device::more_registers<kConsumerRegisters>();
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

template <size_t kConfig, W4Codes kCodes, int kSets>
void start(const Linear& op, const W4Weight& weight, const Workspace& workspace,
           BatchInvariant invariant, cudaStream_t stream) {
  constexpr W4Config kC = kW4Configs[kConfig];
  using Kernel = W4LinearKernel<kC, kCodes, kSets>;
  // One block on a multiprocessor, though there may be room for the next kernel's.
  const int clusters = std::min(most_clusters<Kernel>(workspace.multiprocessors),
                                workspace.multiprocessors / kC.cluster);
  const device::W4Schedule cut =
      schedule(kC, op.x.rows, op.out.dim, weight.k_tiles, clusters, invariant);
  const auto epilogue = device::LinearEpilogue::of(op);
  launch<Kernel>(dim3(unsigned(cut.clusters), kC.cluster), stream,
                 {.x = map_rows(op.x, kC.tokens / kC.cluster),
                  .out = Kernel::kStoredTokens > 0 && epilogue.aligned()
                             ? map_halves(op.out, Kernel::kStoredTokens)
                             : CUtensorMap{},
                  .tiles = weight.tiles.as<uint8_t>(),
                  .row_blocks = int(weight.row_blocks),
                  .schedule = cut,
                  .table = weight.table,
                  .factor = weight.factor,
                  .partials = {workspace.partial.as<float>(), workspace.ready.as<int>()},
                  .epilogue = epilogue});
}

template <W4Codes kCodes, int kSets, size_t... I>
void start_picked(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                  BatchInvariant invariant, cudaStream_t stream, std::index_sequence<I...>) {
  const size_t picked =
      pick(op.x.rows, op.out.dim, weight.k_tiles, workspace.multiprocessors, kCodes, invariant);
  const auto try_one = [&]<size_t kI>() {
    // Only what can be picked is built.
    if constexpr (may_pick(kW4Configs[kI], kCodes, BatchInvariant::kNo) ||
                  may_pick(kW4Configs[kI], kCodes, BatchInvariant::kYes))
      if (kI == picked) start<kI, kCodes, kSets>(op, weight, workspace, invariant, stream);
  };
  (try_one.template operator()<I>(), ...);
}

template <W4Codes kCodes>
void start_by_sets(const Linear& op, const W4Weight& weight, const Workspace& workspace,
                   BatchInvariant invariant, cudaStream_t stream) {
  constexpr auto kAll = std::make_index_sequence<kW4Configs.size()>();
  switch (weight.sets) {
    case 1:
      return start_picked<kCodes, 1>(op, weight, workspace, invariant, stream, kAll);
    case 2:
      return start_picked<kCodes, 2>(op, weight, workspace, invariant, stream, kAll);
    default:
      return start_picked<kCodes, 4>(op, weight, workspace, invariant, stream, kAll);
  }
}

}  // namespace

Workspace::Workspace(Backend& backend, int multiprocessors) : multiprocessors(multiprocessors) {
  int tokens = 0;
  for (const W4Config& config : kW4Configs) tokens = std::max(tokens, config.tokens);
  const auto rows = size_t(multiprocessors) * W4Config::kRows;
  partial = Buffer(backend, rows * size_t(tokens) * sizeof(float));
  int consumers = 0;
  for (const W4Config& config : kW4Configs)
    consumers = std::max(consumers, W4Config::kRows / device::kW4Rows * config.split);
  ready = upload(backend, std::vector<int>(size_t(multiprocessors) * size_t(consumers)));
}

void linear_w4(const Linear& op, const Workspace& workspace, BatchInvariant invariant,
               cudaStream_t stream) {
  if (op.x.rows == 0) return;
  const auto& weight = std::get<W4Weight>(cuda_weight(*op.weight).form);
  switch (weight.codes) {
    case W4Codes::kSigned:
      return start_by_sets<W4Codes::kSigned>(op, weight, workspace, invariant, stream);
    case W4Codes::kAny:
      return start_by_sets<W4Codes::kAny>(op, weight, workspace, invariant, stream);
    case W4Codes::kProducts:
      return start_by_sets<W4Codes::kProducts>(op, weight, workspace, invariant, stream);
  }
}

}  // namespace emberq::cuda
