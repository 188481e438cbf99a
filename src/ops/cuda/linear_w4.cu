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
  struct Args {
    CUtensorMap x, out;  // out where its rows are aligned
    const uint8_t* tiles;
    int row_blocks;
    device::W4Schedule schedule;
    device::W4Table table;
    float factor;    // of kProducts
    float* partial;  // [blocks][consumers][kOwn][128], where tiles are cut
    // [blocks][consumers]: 2 r + 1 where the partial of round r is there, 2 r where none is, and 0
    // after the last
    int* ready;
    device::LinearEpilogue epilogue;
  };
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

  static constexpr int kTileBytes = W4Weight::tile_bytes(kCodes, kSets);
  static constexpr int kWeightBytes = kHalves * kTileBytes;
  static constexpr int kXBytes = C.tokens * 128;
  // Tokens that a consumer finishes, and the registers their sums take.
  static constexpr int kOwnTokens = C.tokens / C.split, kOwn = kOwnTokens / 2;
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
  using Own = float[kOwn];                // what a consumer finishes of them

  // The place of the partial sums of this block, or of its like in another cluster.
  static __device__ int place_of(int cluster, int consumer) {
    return (cluster * kCluster + int(blockIdx.y)) * kConsumers + consumer;
  }
  static __device__ float* partial_of(const Args& a, int place) {
    return a.partial + int64_t(place) * kOwn * 128 + device::thread_again() % 128;
  }
  static __device__ void wait_for(const int* ready, int value) {
    while (device::load_acquire(ready) != value) {
    }
  }

  // The sums of a tile whose beginning another cluster has. One warpgroup writes its own, the same
  // threads of another read them. That they are there is for tell() to say: it takes as long as a
  // step or two until all multiprocessors see them.
  static constexpr int told(int consumer) { return 1 + kConsumers + consumer; }  // barrier
  static __device__ void leave(const Args& a, const W4Piece& piece, int consumer, const Own& sum) {
    const int place = place_of(int(blockIdx.x), consumer);
    if (piece.round > 0) {  // what the round before has left may not have been read yet
      if (device::thread_again() % 128 == 0) wait_for(a.ready + place, 2 * piece.round);
      device::warpgroup_barrier(consumer);
    }
    float* to = partial_of(a, place);
#pragma unroll
    for (int c = 0; c < kOwn; ++c) __stcg(to + c * 128, sum[c]);
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
  static __device__ void join(const Args& a, const W4Piece& piece, int consumer, Own& sum) {
    const int thread = device::thread_again() % 128, cluster = int(blockIdx.x);
    int parts = 0;
    for (int k = piece.k_end; k < a.schedule.k_tiles; ++parts)
      k += a.schedule.run_begin(cluster + parts + 2) - a.schedule.run_begin(cluster + parts + 1);
    const auto place = [&](int part) { return place_of(cluster + part + 1, consumer); };
    for (int part = thread; part < parts; part += 128)
      wait_for(a.ready + place(part), 2 * piece.round + 1);
    device::warpgroup_barrier(consumer);
    constexpr int kAtOnce = kOwn <= 8 ? 4 : 1;
#pragma unroll kAtOnce
    for (int part = 0; part < parts; ++part) {
      const float* from = partial_of(a, place(part));
#pragma unroll
      for (int c = 0; c < kOwn; ++c) sum[c] += __ldcg(from + c * 128);
    }
    device::warpgroup_barrier(consumer);
    const int next = piece.round + 1;
    for (int part = thread; part < parts; part += 128)
      device::store_release(a.ready + place(part), next < a.schedule.rounds ? 2 * next : 0);
  }

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

  // What a thread of a consumer reads.
  struct Reader {
    uint32_t tile;  // of the first stage: address in shared memory
    uint64_t x;     // descriptor of the first stage's tokens
    uint32_t thread = uint32_t(device::thread_again()) % 128;  // of the warpgroup
    device::W4Table table;  // loaded, or it is computed again and again

    __device__ Reader(const Args& a, const Shared& shared, int consumer)
        : tile(shared.weights + uint32_t(consumer % kHalves * kTileBytes)),
          x(device::swizzled_rows(shared.x)) {
      // Half of it from constant memory, as PRMT can take one of the two; the other from an address
      // that looks different in every thread, or it would be moved from a uniform register before
      // every use.
      for (int i = 0; i < 4; ++i)
        table.words[i] =
            i % 2 ? a.table.words[i]
                  : device::load_shared_4(shared.table + 4 * i + (device::thread_again() >> 10));
    }
  };

  // Of the warpgroup; where registers are scarce, read anew each time.
  static __device__ uint32_t thread_of(const Reader& reader) {
    return C.tokens < 256 ? reader.thread : uint32_t(device::thread_again()) % 128;
  }

  // A stage's weights as they are stored, of one thread; waits for them.
  using Codes = uint32_t[8];
  static __device__ uint32_t tile_of(const Reader& reader, const Ring& ring) {
    return reader.tile + ring.stage * kWeightBytes;
  }
  static __device__ void take(const Shared& shared, const Reader& reader, const Ring& ring,
                              Codes& to) {
    shared.full_of(ring.stage).wait(ring.parity);
    const uint32_t codes = tile_of(reader, ring) + thread_of(reader) * 16;
    const uint4 v[2] = {device::load_shared_16(codes), device::load_shared_16(codes + 2048)};
    to[0] = v[0].x, to[1] = v[0].y, to[2] = v[0].z, to[3] = v[0].w;
    to[4] = v[1].x, to[5] = v[1].y, to[6] = v[1].z, to[7] = v[1].w;
  }
  // The numbers of this thread's two rows, g and g + 8, in a set.
  static __device__ uint32_t numbers_of(const Reader& reader, const Ring& ring, int set) {
    constexpr int kSetBytes = W4Weight::set_bytes(kCodes);
    return tile_of(reader, ring) + W4Weight::kCodeBytes + set * kSetBytes +
           thread_of(reader) / 4 * (kSetBytes / 32);
  }

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

  // A stage's weights as operand A: four registers for each 32 inputs.
  using Operand = uint32_t[16];
  static __device__ void expand(const Reader& reader, const Ring& ring, const Codes& codes,
                                Operand& to) {
    device::W4Table even, odd;  // of kProducts
#pragma unroll
    for (int w = 0; w < 8; ++w) {
      device::W4Pair pair;
      if constexpr (kCodes == W4Codes::kSigned) {
        pair = device::expand_signed(codes[w], reader.table);
      } else if constexpr (kCodes == W4Codes::kAny) {
        pair = device::expand_any(codes[w], reader.table);
      } else {
        constexpr int kWords = 8 / kSets;  // that share tables
        if (w % kWords == 0) {
          const uint4 v = device::load_shared_16(numbers_of(reader, ring, w / kWords));
          even = device::with_positive(v.x, v.y), odd = device::with_positive(v.z, v.w);
        }
        pair = device::expand_each(codes[w], even, odd);
      }
      to[2 * w] = pair.even, to[2 * w + 1] = pair.odd;
    }
    device::pin<16>(to);
  }
  // What the products of a thread's two rows are multiplied by.
  struct Scales {
    float low, high;
  };
  static __device__ Scales scales(const Reader& reader, const Ring& ring, int set) {
    const uint32_t pair = device::load_shared_4(numbers_of(reader, ring, set));
    return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000)};
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
  static __device__ void multiply_part(const Reader& reader, const Ring& at, const Operand& weights,
                                       int first, int count, int part, bool add,
                                       float (&to)[kPart / 2]) {
    const uint64_t x = reader.x + at.stage * (kXBytes >> 4) + part * (kPart * 128 >> 4);
#pragma unroll
    for (int j = first; j < first + count; ++j)
      device::Wgmma<kPart>::run(to, weights + 4 * j, x + 2 * j, add || j > first);
  }

  // sum += the product of a stage, whose weights were expanded before; those of the consumer's next
  // one, of which `more` says whether there is one, are while the first part is multiplied, or at
  // the end.
  static __device__ void multiply(const Shared& shared, const Reader& reader, Ring& ring, bool more,
                                  Codes& codes, const Operand& weights, Operand& next, Sums& sum) {
    const Ring at = ring;
    const auto prepare_next = [&] {
      ring.template advance<C.split>();
      if (more) take(shared, reader, ring, codes);
      if (kAhead && more) expand(reader, ring, codes, next);
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
      Scales scale;
      float product[kPart / 2];
#pragma unroll
      for (int set = 0; set < kSets; ++set)
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          device::wgmma_fence();
          multiply_part(reader, at, weights, set * kSteps, kSteps, part, false, product);
          device::wgmma_commit();
          if (set == 0 && part == 0) prepare_next();
          if (part == 0) scale = scales(reader, at, set);
          device::wgmma_wait<0>();
          if (set + 1 == kSets && part + 1 == kParts) release(shared, at);
#pragma unroll
          for (int c = 0; c < kPart / 2; ++c)
            sum[part][c] = fmaf(c % 4 < 2 ? scale.low : scale.high, product[c], sum[part][c]);
        }
      if (!kAhead && more) expand(reader, ring, codes, next);
    }
  }

  // Where piece j's sums go.
  static __device__ void finish(const Args& a, const Shared& shared, int j, int consumer,
                                Own& sum) {
    const W4Piece piece = piece_again(a, j);
    if (piece.k > 0) return leave(a, piece, consumer, sum);
    if (piece.k_end < a.schedule.k_tiles) join(a, piece, consumer, sum);
    if constexpr (!kPromotes) {
#pragma unroll
      for (int c = 0; c < kOwn; ++c) sum[c] *= a.factor;
    }
    store(a, shared, piece, consumer, sum);
  }

  static __device__ void consume(const Args& a, const Shared& shared, int consumer) {
    const Reader reader(a, shared, consumer);
    const int turn = consumer / kHalves;
    Ring begin;  // of a piece
    W4Piece piece;
    for (int j = 0; piece_of(a, j, piece); ++j) {
      const int all = device::uniform(piece.k_end - piece.k);
      Sums sum = {};
      int steps = (all - turn + C.split - 1) / C.split;
      if (C.split == 1 || steps > 0) {
        Ring ring = begin;
        if (turn > 0) ring.template advance<1>();
        Codes codes;
        Operand weights[kAhead ? 2 : 1];
        Operand &even = weights[0], &odd = weights[kAhead ? 1 : 0];
        take(shared, reader, ring, codes);
        expand(reader, ring, codes, even);
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
        if (warp == kTeller) tell(a);
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
  const auto epilogue = device::LinearEpilogue::of(op, op.out.dtype == DType::kF16);
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
                  .partial = workspace.partial.as<float>(),
                  .ready = workspace.ready.as<int>(),
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
