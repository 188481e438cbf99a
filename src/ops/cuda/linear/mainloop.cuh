#pragma once

#include "ops/cuda/linear/barriers.cuh"
#include "ops/cuda/linear/operand.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/ptx/wgmma.cuh"

namespace emberq::cuda {

// A math warpgroup of LinearKernel: multiplies 64 rows of W by the tokens of each work tile, and
// finishes the tile.
template <class Kernel>
class MathWarpgroup {
  static constexpr GemmConfig C = Kernel::kConfig;
  static constexpr int kMWarpgroups = GemmConfig::kMWarpgroups, kCluster = C.cluster;
  static constexpr int kOwnTokens = Kernel::kOwnTokens, kAccumulators = Kernel::kAccumulators;
  using Args = typename Kernel::Args;
  using Shared = typename Kernel::Shared;
  using State = typename Kernel::State;
  using Accumulators = typename Kernel::Partials::Accumulators;

  using Operand = typename Kernel::Operand;
  using Codes = typename Operand::Codes;
  using Registers = typename Operand::Registers;
  static constexpr bool kPromotes = Operand::kPromotions > 0,
                        kExpandsAhead = Operand::kExpandsAhead,
                        kPrefetchesCodes = Operand::kPrefetchesCodes;

  // Tokens are multiplied in parts of up to 128, with the same weights.
  static constexpr int kPart = std::min(C.tokens, 128), kParts = C.tokens / kPart;
  using Sums = float[kParts][kPart / 2];

 public:
  static __device__ void run(const Args& a, const Shared& shared, int warpgroup) {
    const Reader reader{shared.weights + uint32_t(warpgroup % kMWarpgroups * Operand::kTileBytes),
                        ptx::make_smem_desc_128B(shared.tokens),
                        Operand(a.operand, shared.operand_table)};
    const int turn = warpgroup / kMWarpgroups;
    State begin;  // of a work tile
    WorkTile work;
    bool more = Kernel::work_tile(a, 0, work);
    a.start.wait_for_input();
    for (int i = 0; more; more = Kernel::work_tile(a, ++i, work)) {
      if (work.k_begin == 0) {
        warpgroup_sync(warpgroup);
        a.epilogue.template prefetch_token_scales<kOwnTokens>(first_token(work, warpgroup),
                                                              scales_of(shared, warpgroup));
      }
      const int all = ptx::warp_uniform(work.k_end - work.k_begin);
      Sums sum = {};
      int steps = (all - turn + C.k_warpgroups - 1) / C.k_warpgroups;
      if (C.k_warpgroups == 1 || steps > 0) {
        State state = begin;
        if (turn > 0) state.advance();
        Codes codes;
        Registers weights[kExpandsAhead ? 2 : 1];
        Registers &even = weights[0], &odd = weights[kExpandsAhead ? 1 : 0];
        reader.load_codes(shared, state, codes);
        reader.operand.expand(reader.tile_of(state), codes, even);
        if (kPrefetchesCodes && steps > 1) load_next_codes(shared, reader, state, codes);
        for (;; steps -= 2) {
          multiply(shared, reader, state, steps, codes, even, odd, sum);
          if (steps == 1) break;
          multiply(shared, reader, state, steps - 1, codes, odd, even, sum);
          if (steps == 2) break;
        }
      }
      begin.advance(all);
      if constexpr (C.k_warpgroups == 1) {
        finish(a, shared, i, work, warpgroup, reinterpret_cast<Accumulators&>(sum));
      } else {
        Accumulators own;
        exchange(shared, warpgroup, sum, own);
        finish(a, shared, i, work, warpgroup, own);
      }
    }
    if (Kernel::kStoredTokens > 0 && threadIdx.x % 128 == 0) ptx::tma_store_wait<0>();
  }

 private:
  // What a warpgroup reads from the stages.
  struct Reader {
    uint32_t tile;    // address of its tile in stage 0
    uint64_t tokens;  // matrix descriptor of the tokens in stage 0
    Operand operand;

    __device__ uint32_t tile_of(const State& state) const {
      return tile + state.stage * Kernel::kWeightBytes;
    }
    // Waits for the stage, then loads its codes.
    __device__ void load_codes(const Shared& shared, const State& state, Codes& to) const {
      shared.full_of(state.stage).wait(state.phase);
      operand.load_codes(tile_of(state), to);
    }
  };

  static __device__ uint32_t staging_of(const Shared& shared, int warpgroup) {
    return shared.staging + warpgroup * Kernel::kStagingBytes;
  }
  static __device__ uint32_t scales_of(const Shared& shared, int warpgroup) {
    return shared.token_scales + warpgroup * Kernel::kScalesBytes;
  }
  // The first of the tokens that a warpgroup finishes.
  static __device__ int first_token(const WorkTile& work, int warpgroup) {
    return work.token_tile * C.tokens + warpgroup / kMWarpgroups * kOwnTokens;
  }

  // The first of the columns.
  static __device__ int first_column(const WorkTile& work, int warpgroup) {
    return Kernel::row_block(work) * GemmConfig::kRows + warpgroup % kMWarpgroups * kTileRows;
  }

  // Loads the codes of this warpgroup's k-step after the one at `state`.
  static __device__ void load_next_codes(const Shared& shared, const Reader& reader, State state,
                                         Codes& codes) {
    state.template advance<C.k_warpgroups>();
    reader.load_codes(shared, state, codes);
  }

  // Releases a stage to the producer. Its tokens come from every CTA of the cluster.
  static __device__ void release(const Shared& shared, const State& state) {
    const ptx::Mbarrier empty = shared.empty_of(state.stage);
    __syncwarp();  // all lanes have read
    if (!ptx::elect_one()) return;
    if constexpr (kCluster == 1) {
      empty.arrive();
    } else {
#pragma unroll
      for (int cta = 0; cta < kCluster; ++cta) empty.arrive_remote(cta);
    }
  }

  // `count` wgmma of a stage from wgmma `first` on, for one part of the tokens.
  static __device__ void multiply_part(const Reader& reader, const State& at,
                                       const Registers& weights, int first, int count, int part,
                                       bool add, float (&to)[kPart / 2]) {
    const uint64_t tokens =
        reader.tokens + at.stage * (Kernel::kTokenBytes >> 4) + part * (kPart * 128 >> 4);
#pragma unroll
    for (int j = first; j < first + count; ++j)
      Operand::template Mma<kPart>::run(to, weights + 4 * j, tokens + 2 * j, add || j > first);
  }

  // sum += the product of the stage at `state`, whose weights are expanded. While wgmma runs, the
  // weights of the next stage are expanded from its codes, and the codes of the stage after that
  // are loaded. `left` counts the stages from this one on.
  static __device__ void multiply(const Shared& shared, const Reader& reader, State& state,
                                  int left, Codes& codes, const Registers& weights, Registers& next,
                                  Sums& sum) {
    const State at = state;
    state.template advance<C.k_warpgroups>();
    const auto prepare_next = [&] {
      if (!kPrefetchesCodes && left > 1) reader.load_codes(shared, state, codes);
      if (kExpandsAhead && left > 1) reader.operand.expand(reader.tile_of(state), codes, next);
      if (kPrefetchesCodes && left > 2) load_next_codes(shared, reader, state, codes);
    };
    if constexpr (!kPromotes) {
      ptx::wgmma_fence();
#pragma unroll
      for (int part = 0; part < kParts; ++part)
        multiply_part(reader, at, weights, 0, 4, part, true, sum[part]);
      ptx::wgmma_commit();
      prepare_next();
      ptx::wgmma_wait<0>();
      release(shared, at);
    } else {
      constexpr int kGroups = Operand::kPromotions, kWgmmas = 4 / kGroups;
      RowScales scale;
      float product[kPart / 2];
#pragma unroll
      for (int group = 0; group < kGroups; ++group)
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          ptx::wgmma_fence();
          multiply_part(reader, at, weights, group * kWgmmas, kWgmmas, part, false, product);
          ptx::wgmma_commit();
          if (group == 0 && part == 0) prepare_next();
          if (part == 0) scale = reader.operand.group_scales(reader.tile_of(at), group);
          ptx::wgmma_wait<0>();
          if (group + 1 == kGroups && part + 1 == kParts) release(shared, at);
#pragma unroll
          for (int c = 0; c < kPart / 2; ++c)
            sum[part][c] = fmaf(c % 4 < 2 ? scale.low : scale.high, product[c], sum[part][c]);
        }
      if (!kExpandsAhead && left > 1) reader.operand.expand(reader.tile_of(state), codes, next);
    }
  }

  // Sliced-K: two warpgroups with the same rows have each summed every other k-step. Each gives the
  // other its sums of half of the tokens, and finishes the other half.
  static __device__ void exchange(const Shared& shared, int warpgroup, const Sums& sum,
                                  Accumulators& own) {
    static_assert(C.k_warpgroups == 2 && kParts == 1);
    const bool first = warpgroup < kMWarpgroups;
    const int other = first ? warpgroup + kMWarpgroups : warpgroup - kMWarpgroups,
              thread = ptx::reload_thread_index() % 128,
              barrier = Barriers<Kernel::kMathWarpgroups>::pair(warpgroup % kMWarpgroups);
    // Wait until the TMA stores from this buffer have read it.
    if (Kernel::kStoredTokens > 0 && thread == 0) ptx::tma_store_wait<0>();
    ptx::named_barrier_sync(barrier, 256);
    const uint32_t to = staging_of(shared, other) + thread * 4;
#pragma unroll
    for (int c = 0; c < kAccumulators; ++c)
      ptx::st_shared_f32(to + c * 512, first ? sum[0][kAccumulators + c] : sum[0][c]);
    ptx::named_barrier_sync(barrier, 256);
    const uint32_t from = staging_of(shared, warpgroup) + thread * 4;
#pragma unroll
    for (int c = 0; c < kAccumulators; ++c)
      own[c] = (first ? sum[0][c] : sum[0][kAccumulators + c]) +
               __uint_as_float(ptx::ld_shared(from + c * 512));
  }

  // The work tile is computed again if the products need the registers that would hold it.
  static __device__ WorkTile reload_work_tile(const Args& a, int index, const WorkTile& kept) {
    if constexpr (C.tokens <= 64) return kept;
    WorkTile work;
    a.scheduler.work_tile(ptx::reload_block_index(), index, work);
    return work;
  }

  // Stores the sums of work tile `index` as a partial sum, or adds those of others and stores the
  // outputs.
  static __device__ void finish(const Args& a, const Shared& shared, int index,
                                const WorkTile& kept, int warpgroup, Accumulators& sum) {
    const WorkTile work = reload_work_tile(a, index, kept);
    if (work.k_begin > 0) return a.partials.store_partial(work, warpgroup, sum);
    if constexpr (Kernel::kStoredTokens == 0) {
      finish_few(a, shared, work, warpgroup, sum);
    } else {
      if (work.k_end < a.scheduler.k_tiles) a.partials.fixup(a.scheduler, work, warpgroup, sum);
      Operand::finish(a.operand, sum);
      store(a, shared, work, warpgroup, sum);
    }
  }

  // Stores the outputs of few tokens. What is added to them is loaded while other CTAs' sums are on
  // their way.
  static __device__ void finish_few(const Args& a, const Shared& shared, const WorkTile& work,
                                    int warpgroup, Accumulators& sum) {
    const int thread = int(threadIdx.x) % 128, lane = thread % 32;
    const int first = first_token(work, warpgroup),
              column = first_column(work, warpgroup) + thread / 32 * 16 + lane / 4;
    const auto pair_of = [&](int i) { return i / 4 * 8 + lane % 4 * 2; };
    const auto token_of = [&](int i) { return first + pair_of(i) + i % 2; };
    const auto column_of = [&](int i) { return column + i % 4 / 2 * 8; };
    LinearEpilogue::Addends addends[kAccumulators] = {};
#pragma unroll
    for (int i = 0; i < kAccumulators; ++i)
      if (a.epilogue.has(token_of(i), column_of(i)))
        addends[i] = a.epilogue.addends(token_of(i), column_of(i));
    if (work.k_end < a.scheduler.k_tiles) a.partials.fixup(a.scheduler, work, warpgroup, sum);
    Operand::finish(a.operand, sum);
    a.epilogue.wait_for_token_scales();
    warpgroup_sync(warpgroup);
#pragma unroll
    for (int i = 0; i < kAccumulators; ++i) {
      const float2 scale = a.epilogue.token_scales(scales_of(shared, warpgroup) + pair_of(i) * 4);
      if (a.epilogue.has(token_of(i), column_of(i)))
        a.epilogue.store(token_of(i), column_of(i), sum[i], i % 2 ? scale.y : scale.x, addends[i]);
    }
  }

  static __device__ void store(const Args& a, const Shared& shared, const WorkTile& work,
                               int warpgroup, const Accumulators& sum) {
    const int token = first_token(work, warpgroup), column = first_column(work, warpgroup);
    const uint32_t scales = scales_of(shared, warpgroup);
    a.epilogue.wait_for_token_scales();
    if (a.epilogue.aligned()) {
      a.epilogue.template store<kOwnTokens, Kernel::kStoredTokens, Kernel::kStoreBuffers>(
          a.out, token, column, sum, staging_of(shared, warpgroup), scales, warpgroup);
      return;
    }
    warpgroup_sync(warpgroup);
    const int thread = ptx::reload_thread_index() % 128, lane = thread % 32;
#pragma unroll
    for (int c = 0; c < kAccumulators; c += 4) {  // two tokens, two columns
      const int own_token = c * 2 + lane % 4 * 2;
      const float2 scale = a.epilogue.token_scales(scales + own_token * 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at_column = column + thread / 32 * 16 + lane / 4 + i / 2 * 8;
        const int at_token = token + own_token + i % 2;
        if (at_token < a.epilogue.m && at_column < a.epilogue.n)
          a.epilogue.store(at_token, at_column, sum[c + i], i % 2 ? scale.y : scale.x);
      }
    }
  }
};

}  // namespace emberq::cuda
