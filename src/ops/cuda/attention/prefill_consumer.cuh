#pragma once

#include "ops/cuda/attention/expand_kv.cuh"
#include "ops/cuda/attention/load_query.cuh"
#include "ops/cuda/attention/prefill_memory.cuh"
#include "ops/cuda/attention/prefill_output.cuh"
#include "ops/cuda/ptx/registers.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/ptx/tma.cuh"
#include "ops/cuda/ptx/wgmma_half.cuh"

namespace emberq::cuda {

// A multiplying warpgroup of the prefill kernel: 64 rows of each tile of queries, against all keys.
// While the tensor cores multiply for one warpgroup, a tile's probabilities with its values and the
// next tile's keys with the queries, the other one computes exponentials.
template <class Operands>
class PrefillConsumer {
  using Memory = PrefillMemory<Operands>;
  using Code = typename Operands::Code;
  static constexpr int kKeys = Operands::kKeys, kDim = Operands::kDim;
  static constexpr bool kHasZero = Operands::kHasZero;
  static constexpr int kRows = 64;
  // Below all scores, and finite: no difference is NaN.
  static constexpr float kNoMaximum = -1e30f;

  using Rows = PrefillRows;
  using Scores = float[kKeys / 2];
  using Sums = float[kDim / 2];

 public:
  static __device__ void run(const PrefillArgs& a, Memory& m, int warpgroup) {
    const PrefillConsumer consumer(a, m, warpgroup);
    if (warpgroup == 1) ptx::named_barrier_arrive(kTurn, 256);  // the first turn is of the other
    int count = 0;
    for (int n = 0;; ++n) {
      const PrefillTile& t = m.wait_for_work(n);
      if (t.rows == 0) return;
      consumer.attend(t, count);
      m.release_work(n);
    }
  }

 private:
  const PrefillArgs& a_;
  Memory& m_;
  int warpgroup_;
  uint32_t query_;
  uint64_t query_descriptor_, key_descriptor_, value_descriptor_;

  __device__ PrefillConsumer(const PrefillArgs& a, Memory& m, int warpgroup)
      : a_(a),
        m_(m),
        warpgroup_(warpgroup),
        query_(uniform(m.fixed.queries[warpgroup])),
        query_descriptor_(Operands::query_descriptor(query_)),
        key_descriptor_(Operands::key_descriptor(uniform(m.fixed.keys[0]))),
        value_descriptor_(Operands::value_descriptor(uniform(m.fixed.values[0]))) {}

  static __device__ uint32_t uniform(const uint8_t* at) {
    return uint32_t(ptx::warp_uniform(int(ptx::shared_address(at))));
  }
  __device__ void warpgroup_barrier() const { prefill_barrier(warpgroup_); }
  static __device__ void release(const uint64_t& empty) {
    __syncwarp();
    if (ptx::elect_one()) Memory::barrier(empty).arrive();
  }

  // What a tile's loop needs of it.
  struct Keys {
    int first, end;        // tiles begin at first + i * kKeys, before end
    int whole, whole_end;  // those that begin in [whole, whole_end] are visible to all rows
  };
  __device__ Keys keys_of(const PrefillTile& t) const {
    const int first_row = warpgroup_ * kRows;
    const int last = t.position(a_, first_row + kRows - 1);
    const int whole = a_.window > 0 ? last - a_.window + 1 : 0;
    // Uniform, so that no registers of threads are held.
    return {ptx::warp_uniform(t.begin / kKeys * kKeys), ptx::warp_uniform(t.end),
            ptx::warp_uniform(whole), ptx::warp_uniform(t.position(a_, first_row) + 1 - kKeys)};
  }

  // `count` numbers the tiles of keys that the warpgroup has multiplied.
  __device__ void attend(const PrefillTile& t, int& count) const {
    Rows rows;
    load_queries(t, rows);
    const Keys keys = keys_of(t);
    Scores s;
    Sums sums;
    typename Operands::Probabilities p;
#pragma unroll
    for (float& x : sums) x = 0;
    int first = keys.first;
    in_turn([&] { start_scores(count, s); });
    ptx::wgmma_wait<0>();
    finish_scores(count, s);
    float shrink[2];
    const auto probabilities = [&] {
      scale_scores(keys, first, count, s, rows, shrink);
      exponentials(count, s, rows);
      Operands::round(s, p);
    };
    probabilities();
    for (first += kKeys; first < keys.end; first += kKeys) {
      in_turn([&] {
        add_values(count, p, shrink, s, sums);
        start_scores(count + 1, s);
      });
      ptx::wgmma_wait<0>();
      if constexpr (!Operands::kTwoLevels) finish_values(count, sums);
      finish_scores(++count, s);
      probabilities();
    }
    in_turn([&] { add_values(count, p, shrink, s, sums); });
    if constexpr (!Operands::kTwoLevels) {
      ptx::wgmma_wait<0>();
      finish_values(count, sums);
    }
    ++count;
    PrefillOutput<Operands>{a_, warpgroup_, query_}.store(t, rows, sums);
  }

  // The warpgroups start products in turns, so that the tensor cores have those of one at a time,
  // while the other one has the rest of the multiprocessor for its exponentials.
  static constexpr int kTurn = 3;  // named barriers of the two
  template <class Start>
  __device__ void in_turn(const Start& start) const {
    ptx::named_barrier_sync(kTurn + warpgroup_, 256);
    start();
    ptx::named_barrier_arrive(kTurn + 1 - warpgroup_, 256);
  }

  __device__ void start_scores(int count, Scores& s) const {
    const int stage = count % kPrefillStages;
    Memory::barrier(m_.fixed.barriers.key_full[stage]).wait(count / kPrefillStages % 2);
    ptx::warpgroup_fence_sums(s);
    ptx::wgmma_fence();
    Operands::score(query_descriptor_,
                    key_descriptor_ + uint32_t(stage * (Operands::kKeyBytes >> 4)), s);
    ptx::wgmma_commit();
  }
  // Adds a tile's probabilities times values to the sums, which are first made relative to the
  // latest maximum. With two levels of sums the tile has its own, in the registers of its scores,
  // and they are there at the end; else the products are not waited for.
  __device__ void add_values(int count, typename Operands::Probabilities& p,
                             const float (&shrink)[2], Scores& scores, Sums& sums) const {
    const int stage = count % kPrefillStages;
    const uint64_t value = value_descriptor_ + uint32_t(stage * (Operands::kValueBytes >> 4));
    Memory::barrier(m_.fixed.barriers.value_full[stage]).wait(count / kPrefillStages % 2);
    if constexpr (Operands::kTwoLevels) {
      start_values(p, value, scores);
      ptx::wgmma_wait<0>();
      finish_values(count, scores);
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) sums[i] = fmaf(sums[i], shrink[i / 2 % 2], scores[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kDim / 2; ++i) sums[i] *= shrink[i / 2 % 2];
      start_values(p, value, sums);
    }
  }
  static __device__ void start_values(typename Operands::Probabilities& p, uint64_t value,
                                      Sums& to) {
    ptx::warpgroup_fence_sums(to);
    ptx::warpgroup_fence_operand<sizeof(p) / 4>(p);
    ptx::wgmma_fence();
    Operands::add_values(p, value, to);
    ptx::wgmma_commit();
  }
  __device__ void finish_scores(int count, Scores& s) const {
    ptx::warpgroup_fence_sums(s);
    release(m_.fixed.barriers.key_empty[count % kPrefillStages]);
  }
  __device__ void finish_values(int count, Sums& sums) const {
    ptx::warpgroup_fence_sums(sums);
    release(m_.fixed.barriers.value_empty[count % kPrefillStages]);
  }

  // Two threads for each row.
  __device__ void load_queries(const PrefillTile& t, Rows& rows) const {
    constexpr int kPieces = kDim / 2 / kPieceChannels;
    // Addresses are no invariants of the loop over tiles: registers are for the products.
    const int thread = ptx::reload_thread_index() % 128, row = thread / 2;
    const int of_tile = warpgroup_ * kRows + row;
    const bool inside = of_tile < t.rows;
    const int64_t query_row = inside ? t.query_row(a_, of_tile) : 0;
    const int first_channel = thread % 2 * (kDim / 2);
    float x[kPieces][kPieceChannels] = {};
    float scale = 0;
    if (inside) {
#pragma unroll
      for (int piece = 0; piece < kPieces; ++piece)
        load_query_piece(a_.query, a_.query_type,
                         query_row * kDim + first_channel + piece * kPieceChannels, x[piece]);
      scale = a_.query_scale ? a_.query_scale[query_row] : 1.0f;
    }
    float sum = 0, largest = 0;
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece)
#pragma unroll
      for (const float value : x[piece]) sum += value, largest = fmaxf(largest, fabsf(value));
    sum += __shfl_xor_sync(~0u, sum, 1);
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    // BF16 queries may not fit FP16: the largest becomes 1 ... 2 by a power of two.
    const bool fits = a_.query_type != DType::kBF16 || !kHasScale<Code> || !(largest > 0);
    const int exponent = fits ? 0 : max(-100, min(100, ilogbf(largest)));
    const float down = exp2f(float(-exponent));
    warpgroup_barrier();  // all have read the last tile's outputs
#pragma unroll
    for (int piece = 0; piece < kPieces; ++piece)
#pragma unroll
      for (int i = 0; i < kPieceChannels / 8; ++i)
        Operands::store_query(query_, row, (first_channel + piece * kPieceChannels) / 8 + i,
                              x[piece] + 8 * i, down);
    const float factor = scale * a_.scale * exp2f(float(exponent));
    const int lane = thread % 32, g = lane / 4;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      rows.factor[i] = __shfl_sync(~0u, factor, 2 * (g + 8 * i));
      rows.sum[i] = __shfl_sync(~0u, sum * down, 2 * (g + 8 * i));
      rows.position[i] = t.position(a_, warpgroup_ * kRows + thread / 32 * 16 + g + 8 * i);
      rows.maximum[i] = kNoMaximum, rows.total[i] = rows.zeros[i] = 0;
    }
    ptx::fence_proxy_async();
    warpgroup_barrier();
  }

  // From sums s of a tile, whose first key is at position `first`, to scores and their maxima.
  // `shrink` is what sums relative to the maxima before are multiplied by.
  __device__ void scale_scores(const Keys& keys, int first, int count, Scores& s, Rows& rows,
                               float (&shrink)[2]) const {
    if (keys.whole <= first && first <= keys.whole_end)
      scale_scores<false>(first, count, s, rows, shrink);
    else
      scale_scores<true>(first, count, s, rows, shrink);
  }

  template <bool kMask>
  __device__ void scale_scores(int first, int count, Scores& s, Rows& rows,
                               float (&shrink)[2]) const {
    const typename Memory::Scales& scales = m_.fixed.scales[count % Memory::kScaleStagesUsed];
    const int t = ptx::reload_thread_index() % 4;
    int last[2], before[2];  // visible keys: before < key <= last
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      last[i] = rows.position[i] - first - 2 * t;
      before[i] = a_.window > 0 ? last[i] - a_.window : -1 - kKeys;
    }
    float maximum[2] = {rows.maximum[0], rows.maximum[1]};
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      typename Memory::PairOfScores pair = {};
      float zero[2] = {};
      if constexpr (kHasScale<Code>)
        pair = load_pair<typename Memory::PairOfScores>(scales.scores + 4 * j + t);
      if constexpr (kHasZero) {
        const float2 two =
            ptx::ld_shared_v2_f32(ptx::shared_address(scales.key_zero + 8 * j + 2 * t));
        zero[0] = two.x, zero[1] = two.y;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& x = s[4 * j + i];
        if constexpr (kHasScale<Code>) {
          float score = x * pair.scale[i % 2];
          if constexpr (kHasZero) score = fmaf(zero[i % 2], rows.sum[i / 2], score);
          x = fmaf(rows.factor[i / 2], score, pair.log_scale[i % 2]);
        } else {
          x *= rows.factor[i / 2];
        }
        const int key = 8 * j + i % 2;
        if (kMask && (key > last[i / 2] || key <= before[i / 2])) x = -INFINITY;
        maximum[i / 2] = fmaxf(maximum[i / 2], x);
      }
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int offset = 1; offset < 4; offset *= 2)
        maximum[i] = fmaxf(maximum[i], __shfl_xor_sync(~0u, maximum[i], offset));
      shrink[i] = exp2_approx(rows.maximum[i] - maximum[i]);
      rows.maximum[i] = maximum[i];
      rows.total[i] *= shrink[i], rows.zeros[i] *= shrink[i];
    }
  }

  // From scores to probabilities times values' scales.
  __device__ void exponentials(int count, Scores& s, Rows& rows) const {
    const typename Memory::Scales& scales = m_.fixed.scales[count % Memory::kScaleStagesUsed];
    const int t = ptx::reload_thread_index() % 4;
    const float maximum[2] = {rows.maximum[0] - Operands::kShift,
                              rows.maximum[1] - Operands::kShift};
#pragma unroll
    for (int j = 0; j < kKeys / 8; ++j) {
      typename Memory::PairOfValues pair = {};
      if constexpr (kHasScale<Code>)
        pair = load_pair<typename Memory::PairOfValues>(scales.values + 4 * j + t);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float& x = s[4 * j + i];
        x = exp2_approx(x - maximum[i / 2]);
        if constexpr (kHasScale<Code>)
          rows.total[i / 2] = fmaf(x, pair.reciprocal[i % 2], rows.total[i / 2]);
        else
          rows.total[i / 2] += x;
        if constexpr (kHasZero) rows.zeros[i / 2] = fmaf(x, pair.zero[i % 2], rows.zeros[i / 2]);
      }
    }
  }
  template <class Pair>
  static __device__ Pair load_pair(const Pair* from) {
    const uint4 v = ptx::ld_shared_v4(ptx::shared_address(from));
    return {{__uint_as_float(v.x), __uint_as_float(v.y)},
            {__uint_as_float(v.z), __uint_as_float(v.w)}};
  }
};

}  // namespace emberq::cuda
