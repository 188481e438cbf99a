#pragma once

#include <cstdint>

#include "ops/cuda/linear/tile_scheduler.h"
#include "ops/cuda/ptx/pipeline.cuh"

namespace emberq::device {

// The sums of a tile whose beginning another cluster has (tile_scheduler.h), in memory. One
// warpgroup of kConsumers writes its own, the same threads of the one in its place in another
// cluster read them. That they are there is for tell() to say, in warps that do nothing else: it
// takes as long as a step or two until all multiprocessors see them.
template <int kCluster, int kConsumers, int kOwn>
struct W4Partials {
  using Own = float[kOwn];  // of a thread

  float* partial;  // [blocks][kConsumers][kOwn][128]
  // [blocks][kConsumers]: 2 r + 1 where the partial of round r is there, 2 r where none is, and 0
  // after the last
  int* ready;

  __device__ void leave(const W4Piece& piece, int consumer, const Own& sum) const {
    const int place = place_of(int(blockIdx.x), consumer);
    if (piece.round > 0) {  // what the round before has left may not have been read yet
      if (thread_again() % 128 == 0) wait_for(ready + place, 2 * piece.round);
      warpgroup_barrier(consumer);
    }
    float* to = partial_of(place);
#pragma unroll
    for (int c = 0; c < kOwn; ++c) __stcg(to + c * 128, sum[c]);
    tell_warp(told(consumer));
  }
  // By warp `teller` of kTellers, of every kTellers-th consumer.
  static constexpr int kTellers = kConsumers < 3 ? kConsumers : 3;
  __device__ void tell(const W4Schedule& schedule, int teller) const {
    W4Piece piece;
    for (int j = 0; schedule.piece(int(blockIdx.x), j, piece); ++j)
      for (int consumer = teller; piece.k > 0 && consumer < kConsumers; consumer += kTellers) {
        wait_for_warpgroup(told(consumer));
        if (threadIdx.x % 32 == 0)
          store_release(ready + place_of(int(blockIdx.x), consumer), 2 * piece.round + 1);
      }
  }
  // Adds what the clusters after this one have of a tile that this one's run ends inside of.
  __device__ void join(const W4Schedule& schedule, const W4Piece& piece, int consumer,
                       Own& sum) const {
    const int thread = thread_again() % 128, cluster = int(blockIdx.x);
    int parts = 0;
    for (int k = piece.k_end; k < schedule.k_tiles; ++parts)
      k += schedule.run_begin(cluster + parts + 2) - schedule.run_begin(cluster + parts + 1);
    const auto place = [&](int part) { return place_of(cluster + part + 1, consumer); };
    for (int part = thread; part < parts; part += 128)
      wait_for(ready + place(part), 2 * piece.round + 1);
    warpgroup_barrier(consumer);
    constexpr int kAtOnce = kOwn <= 8 ? 4 : 1;  // as registers allow
    for (int first = 0; first < parts; first += kAtOnce) {
      float others[kAtOnce][kOwn];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if (first + i < parts) {
          const float* from = partial_of(place(first + i));
#pragma unroll
          for (int c = 0; c < kOwn; ++c) others[i][c] = __ldcg(from + c * 128);
        }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        if (first + i < parts) {
#pragma unroll
          for (int c = 0; c < kOwn; ++c) sum[c] += others[i][c];
        }
    }
    warpgroup_barrier(consumer);
    // Nobody reads the last zero before this kernel has ended, which orders more than a release.
    const int next = piece.round + 1;
    for (int part = thread; part < parts; part += 128)
      if (next < schedule.rounds)
        store_release(ready + place(part), 2 * next);
      else
        ready[place(part)] = 0;
  }

 private:
  static constexpr int told(int consumer) { return 1 + kConsumers + consumer; }  // barrier
  // Of this block, or of its like in another cluster.
  static __device__ int place_of(int cluster, int consumer) {
    return (cluster * kCluster + int(blockIdx.y)) * kConsumers + consumer;
  }
  __device__ float* partial_of(int place) const {
    return partial + int64_t(place) * kOwn * 128 + thread_again() % 128;
  }
  static __device__ void wait_for(const int* ready, int value) {
    while (load_acquire(ready) != value) {
    }
  }
};

}  // namespace emberq::device
