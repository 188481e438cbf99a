#pragma once

// Four-bit weights times e4m3 activations. D^T = W X^T: weights are operand A of wgmma, from
// registers, where they become e4m3; tokens are its N. docs/kernels/w4a8.md has the steps tried.
//
// A block of threads works on tiles of 128 outputs (rows of W) by C.tokens tokens, a cluster of
// blocks on as many rows more and the same tokens, which each block loads a part of for all. One
// warp keeps a ring of stages full, across tiles; warpgroups each multiply 64 rows, and add each
// group's product, times its scale, to sums in FP32. Where tokens are few, C.split warpgroups take
// a tile's steps in turn, for instructions to be hidden behind each other, and each finishes a part
// of the tokens. linear/tile_scheduler.h says who works on what.
#include <algorithm>

#include "ops/cuda/linear/epilogue.cuh"
#include "ops/cuda/linear/fixup.cuh"
#include "ops/cuda/linear/gemm_config.h"
#include "ops/cuda/linear/operand.cuh"
#include "ops/cuda/linear/producer.cuh"
#include "ops/cuda/linear/tile_scheduler.h"
#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/pipeline.cuh"
#include "ops/cuda/ptx/wgmma.cuh"

namespace emberq::cuda {

using device::W4Piece;

template <W4Config C, W4Codes kCodes, int kSets>
struct W4LinearKernel {
  static constexpr int kHalves = W4Config::kRows / device::kW4Rows;  // of a block's rows
  static constexpr int kConsumers = kHalves * C.split;
  static constexpr int kThreads = 128 * (kConsumers + 1);
  static constexpr int kLoader = 4 * kConsumers, kTeller = kLoader + 1;  // warps, the first of some
  static constexpr int kBlocks = C.blocks;
  static constexpr int kCluster = C.cluster, kTokens = C.tokens;
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
  // Tokens that are stored at a time, through one of some buffers in shared memory; fewer are
  // stored where they are.
  static constexpr int kStoredTokens = kOwnTokens < 16    ? 0
                                       : kOwnTokens <= 32 ? 16
                                                          : 32,
                       kBuffers = kOwnTokens == 16 ? 1 : 2;
  // A consumer's shared memory, for what it stores and for sums that others give it.
  static constexpr int kStagingBytes = std::max(kBuffers * kStoredTokens * device::kW4Rows * 2,
                                                C.split > 1 ? kOwn * 128 * int(sizeof(float)) : 0);
  static constexpr int kScalesBytes = kOwnTokens * int(sizeof(float));  // and of its tokens
  static constexpr int kAlignment = 1024;                               // of the swizzle
  // What a block may have of the 228 KB: 1 KB is the system's, a little is not dynamic.
  static constexpr int kSharedLimit = (228 << 10) / kBlocks - (1 << 10) - 64;
  static constexpr int kStageBytes = kXBytes + kWeightBytes + 16,
                       kOtherBytes = kConsumers * (kStagingBytes + kScalesBytes) + kAlignment;
  static constexpr int kStages = std::min(C.stages, (kSharedLimit - kOtherBytes) / kStageBytes);
  static constexpr int kSharedBytes = kStages * kStageBytes + kOtherBytes;

  struct Args {
    CUtensorMap x, out;  // out where its rows are aligned
    const uint8_t* tiles;
    int row_blocks;
    device::W4Schedule schedule;
    device::W4Table table;
    float factor;       // but of kSigned
    Partials partials;  // where tiles are cut
    device::LinearEpilogue epilogue;
  };

  // Addresses in shared memory.
  struct Shared {
    uint32_t x, weights, staging, scales, full, empty, table;

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
  // Computed anew where products want the registers that the piece would stay in.
  static __device__ W4Piece piece_again(const Args& a, int j, const W4Piece& kept) {
    if constexpr (C.tokens <= 64) return kept;
    int cluster;
    asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(cluster));
    W4Piece piece;
    a.schedule.piece(cluster, j, piece);
    return piece;
  }

  static __device__ int row_block(const W4Piece& piece) {
    return piece.row_tile * kCluster + int(blockIdx.y);
  }

  // Tokens are multiplied in parts, each with the inputs that share a scale.
  static constexpr int kPart = std::min(C.tokens, 128), kParts = C.tokens / kPart;

  using Sums = float[kParts][kPart / 2];  // of a wgmma

  static __device__ uint32_t staging_of(const Shared& shared, int consumer) {
    return shared.staging + consumer * kStagingBytes;
  }
  static __device__ uint32_t scales_of(const Shared& shared, int consumer) {
    return shared.scales + consumer * kScalesBytes;
  }
  // Of those that a consumer finishes.
  static __device__ int first_token(const W4Piece& piece, int consumer) {
    return piece.token_tile * C.tokens + consumer / kHalves * kOwnTokens;
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
    const int token = first_token(piece, consumer),
              column = row_block(piece) * W4Config::kRows + consumer % kHalves * device::kW4Rows;
    const uint32_t scales = scales_of(shared, consumer);
    a.epilogue.wait_for_scales();
    if constexpr (kStoredTokens > 0) {
      if (a.epilogue.aligned()) {
        a.epilogue.template store<kOwnTokens, kStoredTokens, kBuffers>(
            a.out, token, column, sum, staging_of(shared, consumer), scales, consumer);
        return;
      }
    }
    device::warpgroup_barrier(consumer);
    const int thread = device::thread_again() % 128, lane = thread % 32;
#pragma unroll
    for (int c = 0; c < kOwn; c += 4) {  // two tokens, two columns
      const int own_token = c * 2 + lane % 4 * 2;
      const float2 scale = a.epilogue.scales_at(scales + own_token * 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at_column = column + thread / 32 * 16 + lane / 4 + i / 2 * 8;
        const int at_token = token + own_token + i % 2;
        if (at_token < a.epilogue.m && at_column < a.epilogue.n)
          a.epilogue.store(at_token, at_column, sum[c + i], i % 2 ? scale.y : scale.x);
      }
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

  // Sums of products stay in wgmma's accumulator from the first input to the last, as FireQ has it;
  // the others' are taken out of it after each set of scales, which also keeps its 14 bits from
  // mattering.
  static constexpr bool kPromotes = !device::are_products(kCodes);
  // Whether there are registers for the next stage's operand beside this one's.
  static constexpr bool kAhead =
      !kPromotes || (kSets == 1 ? C.tokens < 256 || kCodes == W4Codes::kSigned
                                : C.tokens != 64 && C.tokens != 256);
  // Whether the codes of the stage after that are read already: a gain by measurement, where two
  // warpgroups hide each other's waits least.
  static constexpr bool kTakesAhead = !kPromotes && C.tokens == 128;
  // Takes the codes of this consumer's stage after the one at `ring`.
  static __device__ void take_after(const Shared& shared, const Reader& reader, Ring ring,
                                    Codes& codes) {
    ring.template advance<C.split>();
    reader.take(shared, ring, codes);
  }
  // wgmma of `count` k-steps from `first` on and a part of the tokens of a stage.
  static __device__ void multiply_part(const Reader& reader, const Ring& at,
                                       const Registers& weights, int first, int count, int part,
                                       bool add, float (&to)[kPart / 2]) {
    const uint64_t x = reader.x + at.stage * (kXBytes >> 4) + part * (kPart * 128 >> 4);
#pragma unroll
    for (int j = first; j < first + count; ++j)
      device::Wgmma<kPart>::run(to, weights + 4 * j, x + 2 * j, add || j > first);
  }

  // sum += the product of the stage at `ring`, whose weights were expanded before. While it is
  // made, those of the consumer's next stage are expanded, whose codes were read before, and the
  // codes of the one after that are read: `left` is how many stages there are from this one on.
  static __device__ void multiply(const Shared& shared, const Reader& reader, Ring& ring, int left,
                                  Codes& codes, const Registers& weights, Registers& next,
                                  Sums& sum) {
    const Ring at = ring;
    ring.template advance<C.split>();
    const auto prepare = [&] {
      if (!kTakesAhead && left > 1) reader.take(shared, ring, codes);
      if (kAhead && left > 1) reader.operand.expand(reader.tile_of(ring), codes, next);
      if (kTakesAhead && left > 2) take_after(shared, reader, ring, codes);
    };
    if constexpr (!kPromotes) {
      device::wgmma_fence();
#pragma unroll
      for (int part = 0; part < kParts; ++part)
        multiply_part(reader, at, weights, 0, 4, part, true, sum[part]);
      device::wgmma_commit();
      prepare();
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
          if (set == 0 && part == 0) prepare();
          if (part == 0) scale = reader.operand.scales(reader.tile_of(at), set);
          device::wgmma_wait<0>();
          if (set + 1 == kSets && part + 1 == kParts) release(shared, at);
#pragma unroll
          for (int c = 0; c < kPart / 2; ++c)
            sum[part][c] = fmaf(c % 4 < 2 ? scale.low : scale.high, product[c], sum[part][c]);
        }
      if (!kAhead && left > 1) reader.operand.expand(reader.tile_of(ring), codes, next);
    }
  }

  // Where piece j's sums go.
  static __device__ void finish(const Args& a, const Shared& shared, int j, const W4Piece& kept,
                                int consumer, Own& sum) {
    const W4Piece piece = piece_again(a, j, kept);
    if (piece.k > 0) return a.partials.leave(piece, consumer, sum);
    if (piece.k_end < a.schedule.k_tiles) a.partials.join(a.schedule, piece, consumer, sum);
    if constexpr (kCodes != W4Codes::kSigned) {
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
    bool more = piece_of(a, 0, piece);
    device::wait_for_dependencies();
    for (int j = 0; more; more = piece_of(a, ++j, piece)) {
      if (piece.k == 0) {
        device::warpgroup_barrier(consumer);
        a.epilogue.template ask_for_scales<kOwnTokens>(first_token(piece, consumer),
                                                       scales_of(shared, consumer));
      }
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
        if (kTakesAhead && steps > 1) take_after(shared, reader, ring, codes);
        for (;; steps -= 2) {
          multiply(shared, reader, ring, steps, codes, even, odd, sum);
          if (steps == 1) break;
          multiply(shared, reader, ring, steps - 1, codes, odd, even, sum);
          if (steps == 2) break;
        }
      }
      begin.advance(all);
      if constexpr (C.split == 1) {
        finish(a, shared, j, piece, consumer, reinterpret_cast<Own&>(sum));
      } else {
        Own own;
        share(shared, consumer, sum, own);
        finish(a, shared, j, piece, consumer, own);
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
                   staging = x + kStages * kXBytes, scales = staging + kConsumers * kStagingBytes,
                   weights = scales + kConsumers * kScalesBytes,
                   full = weights + kStages * kWeightBytes, empty = full + kStages * 8;
    const Shared shared{x, weights, staging, scales, full, empty, device::shared_address(&table)};
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
        W4Loader<W4LinearKernel>::run(a, shared);
      } else {
        if constexpr (kCluster > 1) device::cluster_wait();
        if (kTeller <= warp && warp < kTeller + Partials::kTellers)
          a.partials.tell(a.schedule, warp - kTeller);
      }
    } else {
      device::more_registers<kConsumerRegisters>();
      if constexpr (kCluster > 1) device::cluster_wait();
      consume(a, shared, warpgroup);
    }
    if constexpr (kCluster > 1) {  // until no other block fills or empties this one's ring
      device::cluster_arrive();
      device::cluster_wait();
    }
  }
};

}  // namespace emberq::cuda
