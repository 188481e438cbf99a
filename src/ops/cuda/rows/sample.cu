#include <cfloat>

#include "ops/cuda/ptx/cluster.cuh"
#include "ops/cuda/ptx/sync.cuh"
#include "ops/cuda/rows/ordered.cuh"
#include "ops/cuda/rows/radix_select.cuh"
#include "ops/cuda/rows/rows.h"
#include "ops/cuda/runtime/launch.cuh"
#include "ops/sample.h"

namespace emberq::cuda {
namespace {

// A cluster for each row, which it reads a few times, all but the first from the L2 cache: once
// where it is greedy; otherwise twice more for each of top_k, top_p and the number drawn, and once
// for their first digits, and twice for the id among equals.
struct SampleKernel {
  struct Args {
    float* logits;          // [rows, columns]
    const SampleRow* rows;  // [rows]
    const int32_t* listed;
    int32_t* ids;  // [rows]
    int columns;
  };
  static constexpr int kThreads = 512;
  static constexpr int kMinBlocksPerSm = 2;
  static constexpr int kCluster = 8;
  static constexpr bool kUsesPdl = true;

  using Select = RadixSelect<kThreads, kCluster>;
  using Place = Select::Place;
  static constexpr uint32_t kNoOrder = Select::kNoOrder;

  // The likelier a logit, the smaller its order.
  static __device__ uint32_t order_of(float logit) { return ~ordered(logit); }
  static __device__ float logit_of(uint32_t order) { return from_ordered(~order); }

  struct Logits {
    float* row;  // [columns]
    int columns;

    // Eight loads of a thread at a time, with -infinity behind the row's end.
    template <class Each>
    __device__ void for_each(Each each) const {
      constexpr int kLoads = 8, kStride = kCluster * kThreads;
      for (int first = thread_of_cluster(); first < columns; first += kLoads * kStride) {
        float values[kLoads];
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
          const int column = first + i * kStride;
          values[i] = column < columns ? row[column] : -INFINITY;
        }
#pragma unroll
        for (int i = 0; i < kLoads; ++i) each(values[i], first + i * kStride);
      }
    }
  };
  // The p of a logit.
  struct Probability {
    double largest, inverse_temperature;

    __device__ double operator()(float logit) const {
      return exp((double(logit) - largest) * inverse_temperature);
    }
    // As a multiple of 2^-44. The sum of fewer than 2^20 of them has 64 bits.
    __device__ uint64_t fixed_point(float logit) const {
      return __double2ull_rn((*this)(logit)*0x1p44);
    }
  };

  struct Counted : Logits {
    __device__ uint32_t order(float logit, int) const { return order_of(logit); }
    __device__ uint64_t amount(float) const { return 1; }
  };
  struct Weighed : Logits {
    Probability p;
    uint32_t last;  // the largest order that is left

    __device__ uint32_t order(float logit, int) const {
      const uint32_t order = order_of(logit);
      return order <= last ? order : kNoOrder;
    }
    __device__ uint64_t amount(float logit) const { return p.fixed_point(logit); }
  };
  // The columns of equals.
  struct Equal : Logits {
    uint32_t wanted;

    __device__ uint32_t order(float logit, int column) const {
      return order_of(logit) == wanted ? uint32_t(column) : kNoOrder;
    }
    __device__ uint64_t amount(float) const { return 1; }
  };

  struct Shared {
    Select::Memory select;
    uint64_t largest[2][kCluster];
  };

  static __device__ int thread_of_cluster() {
    return int(ptx::cluster_cta_rank()) * kThreads + int(threadIdx.x);
  }

  // The largest logit of the row, ordered with its column. `of_ctas` is used once.
  static __device__ uint64_t largest(const Logits& logits, uint64_t* warps, uint64_t* of_ctas) {
    const int thread = int(threadIdx.x);
    uint64_t result = 0;
    logits.for_each([&](float logit, int column) { result = max(result, ordered(logit, column)); });
    result = largest_of_lanes(result);
    if (thread % 32 == 0) warps[thread / 32] = result;
    __syncthreads();
    if (thread < kCluster) {
      for (int warp = 0; warp < kThreads / 32; ++warp) result = max(result, warps[warp]);
      ptx::st_shared_cluster_u64(
          ptx::map_shared_address(&of_ctas[ptx::cluster_cta_rank()], uint32_t(thread)), result);
    }
    ptx::cluster_sync();
    result = of_ctas[0];
    for (int cta = 1; cta < kCluster; ++cta) result = max(result, of_ctas[cta]);
    return result;
  }

  // The lists' part of the row; whether there is any.
  static __device__ bool change_listed(const Args& a, const SampleRow& row, float* logits) {
    const double penalty = row.repetition_penalty;
    const bool penalizes = penalty != 1 && row.seen.begin < row.seen.end,
               forbids = row.forbidden.begin < row.forbidden.end;
    constexpr int kStride = kCluster * kThreads;
    if (penalizes) {
      for (int i = row.seen.begin + thread_of_cluster(); i < row.seen.end; i += kStride) {
        float& logit = logits[a.listed[i]];
        logit = float(logit < 0 ? double(logit) * penalty : double(logit) / penalty);
      }
      ptx::cluster_sync();  // an id may be in both lists
    }
    if (forbids) {
      for (int i = row.forbidden.begin + thread_of_cluster(); i < row.forbidden.end; i += kStride)
        logits[a.listed[i]] = -INFINITY;
      ptx::cluster_sync();
    }
    return penalizes || forbids;
  }

  // The largest order with p >= min_p.
  static __device__ uint32_t last_of_min_p(const Probability& p, uint32_t first, double min_p) {
    uint32_t last = first, past = order_of(-INFINITY);
    while (past - last > 1) {
      const uint32_t middle = last + (past - last) / 2;
      (p(logit_of(middle)) >= min_p ? last : past) = middle;
    }
    return last;
  }

  // How many of the equals at a place the sum reaches the target with.
  static __device__ uint64_t equals_to(uint64_t target, const Place& place, const Probability& p) {
    const uint64_t each = p.fixed_point(logit_of(place.order));
    return (target - place.before + each - 1) / each;
  }

  static __device__ int32_t sample(const SampleRow& row, const Logits& logits, uint32_t first,
                                   Select& select) {
    Weighed source{
        logits, {double(logit_of(first)), min(1 / row.temperature, DBL_MAX)}, order_of(-INFINITY)};
    if (row.top_k > 0 && row.top_k < logits.columns)
      source.last = select.reach(Counted{logits}, uint64_t(row.top_k)).order;
    // The cuts below leave a beginning of these, so that the sums up to any of it stay.
    uint64_t left = select.sum_first_digit(source);
    uint32_t last = source.last;
    if (row.top_p < 1) {
      const uint64_t target = min(max(uint64_t(ceil(row.top_p * double(left))), uint64_t(1)), left);
      const Place place = select.reach_from_first(source, target);
      left = place.before +
             equals_to(target, place, source.p) * source.p.fixed_point(logit_of(place.order));
      last = place.order;
    }
    if (row.min_p > 0) {
      if (const uint32_t cut = last_of_min_p(source.p, first, row.min_p); cut < last) {
        const Place place = select.at_from_first(source, cut);
        left = place.before + place.amount;
      }
    }
    const uint64_t target = min(uint64_t(row.drawn * double(left)) + 1, left);
    const Place place = select.reach_from_first(source, target);
    constexpr int kDigit = 1;  // the first that a column has
    static_assert(kMaxSampled < 1 << 21);
    return int32_t(
        select.reach(Equal{logits, place.order}, equals_to(target, place, source.p), kDigit).order);
  }

  static __device__ int32_t choose(const Args& a, const SampleRow& row, Shared& shared) {
    const Logits logits{a.logits + int64_t(blockIdx.x) * a.columns, a.columns};
    uint64_t top = largest(logits, shared.select.warps, shared.largest[0]);
    if (top >> 32 >= kOrderedInfinity) return kLogitsNotFinite;
    if (change_listed(a, row, logits.row))
      top = largest(logits, shared.select.warps, shared.largest[1]);
    const auto number = uint32_t(top >> 32);
    if (number <= kOrderedMinusInfinity || number >= kOrderedInfinity) return kNothingLeft;
    if (row.greedy) return ~int32_t(uint32_t(top));
    Select select(shared.select);
    return sample(row, logits, ~number, select);
  }

  static __device__ void run(const Args& a) {
    __shared__ Shared shared;
    ptx::cluster_arrive();
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    ptx::cluster_wait();  // until all CTAs have started
    const int32_t id = choose(a, a.rows[blockIdx.x], shared);
    if (thread_of_cluster() == 0) a.ids[blockIdx.x] = id;
    ptx::cluster_sync();  // until no CTA reads another's memory
  }
};

}  // namespace

void sample(const Sample& op, cudaStream_t stream) {
  if (op.logits.rows == 0) return;
  launch<SampleKernel>(dim3(unsigned(op.logits.rows), SampleKernel::kCluster), stream,
                       {.logits = static_cast<float*>(op.logits.data),
                        .rows = op.rows,
                        .listed = op.listed,
                        .ids = op.ids,
                        .columns = int(op.logits.dim)});
}

}  // namespace emberq::cuda
