#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "ops/cuda/attention/prefill.cuh"
#include "ops/cuda/attention/prefill.h"
#include "ops/cuda/attention/prefill_fp8.cuh"
#include "ops/cuda/attention/prefill_half.cuh"

namespace emberq::cuda {

template <class Operands>
void start_prefill(const PrefillCall& call) {
  using Kernel = PrefillKernel<Operands>;
  const Attention& op = call.op;
  const int64_t kv_heads = op.cache.kv_heads, group = op.heads() / kv_heads;
  PrefillArgs args{.query = op.query.data,
                   .query_scale = op.query.scale,
                   .query_type = op.query.dtype,
                   .q_begin = op.batch.q_begin,
                   .kv_length = op.batch.kv_length,
                   .pages = op.batch.pages,
                   .sequences = int(op.batch.sequences()),
                   .max_pages = int(op.batch.max_pages),
                   .cache = op.cache,
                   .heads = int(op.heads()),
                   .group = int(group),
                   .window = int(op.window),
                   .scale = op.scale * std::numbers::log2e_v<float>,
                   .value_mean = op.value_mean,
                   .out = static_cast<__nv_bfloat16*>(op.out.data),
                   .counters = call.workspace.counters.as<int>(),
                   .order = {}};
  const auto order = std::span(args.order).first(size_t(args.sequences));
  std::iota(order.begin(), order.end(), uint16_t(0));
  std::stable_sort(order.begin(), order.end(), [&](uint16_t a, uint16_t b) {
    return op.batch.on_host[a].kv_length > op.batch.on_host[b].kv_length;
  });
  int64_t tiles = 0;
  for (const BatchSequence& s : op.batch.on_host)
    tiles += kv_heads * ((s.new_tokens * group + kPrefillRows - 1) / kPrefillRows);
  const int64_t ctas = std::min<int64_t>(tiles, call.workspace.multiprocessors);
  launch<Kernel>(dim3(unsigned(ctas)), call.stream, args);
}

template <int kDim>
void prefill_of(const PrefillCall& call) {
  with_read(call.op.cache.scheme, [&]<class Code>(Code) {
    if constexpr (kDim == 128 && kHasScale<Code> && Code::kBits == 4)
      if (prefill_is_fp8(call.op)) return start_prefill<Fp8Operands<Code>>(call);
    start_prefill<HalfOperands<Code, kDim>>(call);
  });
}

}  // namespace emberq::cuda
