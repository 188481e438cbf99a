#include "bench/attention_bench.h"

#include <algorithm>
#include <cmath>

#include "bench/cuda/gpu_meter.h"
#include "bench/operands.h"
#include "ops/batch_memory.h"

namespace emberq::bench {
namespace {

// A pool whose pages hold random codes and small scales.
void fill(Backend& backend, const KvPool& pool) {
  const KvLayer& layer = pool.layer(0);
  const auto vectors = size_t(layer.pages * layer.kv_heads * layer.page_tokens);
  const size_t bytes =
      vectors * kv_code_bytes(layer.scheme, layer.head_dim, backend.activation_type());
  const Buffer codes = layer.scheme == KvScheme::kFp ? random_bf16(backend, bytes / 2)
                                                     : random_bytes(backend, bytes);
  backend.copy(layer.key, codes.as<void>(), bytes);
  backend.copy(layer.value, codes.as<void>(), bytes);
  // Of FP16 0.0625, of BF16 0.0078, of e4m3 two small scales.
  const std::vector<uint16_t> scales(vectors * kv_scale_bytes(layer.scheme) / 2 + 1, 0x2c00);
  const Buffer pattern = upload(backend, scales);
  for (void* to : {layer.key_scale, layer.value_scale})
    backend.copy(to, pattern.as<void>(), vectors * kv_scale_bytes(layer.scheme));
  backend.synchronize();
}

AttentionRow measure(Backend& backend, GpuMeter& meter, const AttentionBench& bench,
                     const AttentionShape& shape, KvScheme scheme) {
  const int64_t pages = pages_for(shape.context, bench.page_tokens);
  KvPool pool(backend, {scheme, 1, bench.kv_heads, bench.head_dim}, bench.page_tokens,
              shape.batch * pages);
  fill(backend, pool);
  std::vector<KvSequence> sequences;
  std::vector<BatchEntry> entries;
  for (int64_t i = 0; i < shape.batch; ++i) {
    KvSequence& sequence = sequences.emplace_back(pool);
    const KvPool::Growth growth[] = {{&sequence, shape.context}};
    pool.reserve(growth);
    sequence.extend(shape.context - shape.new_tokens);
  }
  for (const KvSequence& sequence : sequences) entries.push_back({shape.new_tokens, &sequence});
  BatchMemory memory(backend);
  const Batch& batch = memory.set(entries);

  const int64_t tokens = batch.tokens, rows = tokens * bench.heads;
  const int64_t query_dim = bench.heads * bench.head_dim, kv_dim = bench.kv_heads * bench.head_dim;
  const auto count = [](int64_t a, int64_t b) { return size_t(a * b); };
  const Buffer query = random_e4m3(backend, count(rows, bench.head_dim)),
               scale = upload(backend, std::vector<float>(size_t(rows), 0.01f)),
               out(backend, count(tokens, query_dim) * 2),
               q = random_bf16(backend, count(tokens, query_dim)),
               k = random_bf16(backend, count(tokens, kv_dim)),
               v = random_bf16(backend, count(tokens, kv_dim)),
               turns = upload(backend, std::vector<float>(count(shape.context, bench.head_dim / 2),
                                                          std::sqrt(0.5f))),
               means = upload(backend, std::vector<float>(size_t(kv_dim), 0.125f));
  const auto plain = [&](const Buffer& buffer, int64_t dim) {
    return Activations{backend.activation_type(), buffer.as<void>(), nullptr, tokens, dim};
  };
  const Activations queries{DType::kF8E4M3, query.as<void>(), scale.as<float>(), rows,
                            bench.head_dim};
  const Attention attention{.query = queries,
                            .batch = batch,
                            .cache = pool.layer(0),
                            .scale = float(1 / std::sqrt(double(bench.head_dim))),
                            .probability = ProbabilityScheme::kFp8,
                            .value_mean = means.as<float>(),
                            .out = plain(out, query_dim)};
  const RopeAppendKv append{.q = plain(q, query_dim),
                            .k = plain(k, kv_dim),
                            .v = plain(v, kv_dim),
                            .cos = turns.as<float>(),
                            .sin = turns.as<float>(),
                            .key_mean = means.as<float>(),
                            .value_mean = means.as<float>(),
                            .hadamard = true,
                            .query = queries,
                            .batch = batch,
                            .cache = pool.layer(0)};
  const auto time = [&](const auto& op) {
    backend.run(op);
    return meter.time([&](int) { backend.run(op); });
  };
  AttentionRow row{.shape = shape, .scheme = scheme};
  row.attention = time(attention);
  row.append = time(append);
  row.cache_bytes = double(shape.batch * shape.context) *
                    double(pool.shape().bytes_per_token(backend.activation_type()));
  row.flops = cost(attention).flops;
  row.append_bytes = cost(append).bytes;
  return row;
}

}  // namespace

AttentionResult run_attention_bench(const AttentionBench& bench) {
  const auto backend = make_cuda_backend();
  GpuMeter meter(*backend, Regime::kCold);
  AttentionResult result{.conditions = meter.conditions()};
  result.conditions.peaks = meter.measure_peaks();
  for (const AttentionShape& shape : bench.shapes)
    for (const KvScheme scheme : bench.schemes)
      result.rows.push_back(measure(*backend, meter, bench, shape, scheme));
  return result;
}

}  // namespace emberq::bench
