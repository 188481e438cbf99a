#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "format/fp8.h"
#include "ops/attention.h"
#include "ops/batch_memory.h"
#include "ops/kv_pool.h"
#include "ops/rope_append_kv.h"
#include "support/backends.h"
#include "support/hadamard_matrix.h"
#include "support/own_type.h"
#include "support/random.h"

// RopeAppendKv and Attention over made-up heads, and what they leave, by the headers' words.
namespace emberq::test {

// Heads small enough to write the whole definition in double below, unless a test asks for others.
constexpr int64_t kHeadDim = 8, kKvHeads = 2, kGroup = 3;
constexpr int64_t kHeads = kKvHeads * kGroup;

struct Inputs {
  int64_t tokens, head_dim, kv_heads, group;
  int64_t heads() const { return kv_heads * group; }
  std::vector<float> q, k, v, q_norm, k_norm, query_scale, key_scale, key_mean, value_mean, cos,
      sin;
};

// `seed` is that of the tokens; norms, scales and means are a model's, the same for all.
inline Inputs make_inputs(int64_t tokens, uint64_t seed = 0, int64_t head_dim = kHeadDim,
                          int64_t kv_heads = kKvHeads, int64_t group = kGroup) {
  const int64_t kv_dim = kv_heads * head_dim;
  Inputs in{.tokens = tokens,
            .head_dim = head_dim,
            .kv_heads = kv_heads,
            .group = group,
            .q = normal_floats(size_t(tokens * group * kv_dim), 1 + 8 * seed, 2),
            .k = normal_floats(size_t(tokens * kv_dim), 2 + 8 * seed, 2),
            .v = normal_floats(size_t(tokens * kv_dim), 3 + 8 * seed),
            .key_mean = normal_floats(size_t(kv_dim), 4, 3),
            .value_mean = normal_floats(size_t(kv_dim), 5, 3)};
  for (int64_t c = 0; c < head_dim; ++c) {
    in.q_norm.push_back(1 + 0.1f * float(c % 8));
    in.k_norm.push_back(1 - 0.05f * float(c % 8));
  }
  for (int64_t c = 0; c < kv_dim; ++c) {
    in.key_scale.push_back(0.5f + 0.25f * float(c % 5));
    in.query_scale.push_back(1 / in.key_scale.back());
  }
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t j = 0; j < head_dim / 2; ++j) {
      const double angle = double(t) * std::pow(0.3, 4 * double(j) / double(head_dim / 2));
      in.cos.push_back(float(std::cos(angle)));
      in.sin.push_back(float(std::sin(angle)));
    }
  return in;
}

// The same inputs as a backend stores them.
inline Inputs in_own_type(const Backend& backend, Inputs in) {
  for (std::vector<float>* x : {&in.q, &in.k, &in.v}) *x = in_own_type(backend, *x);
  return in;
}

// What a head goes through after its norm: nothing, or the transform in blocks of paley * width
// (support/hadamard_matrix.h).
struct HeadTransform {
  int64_t paley = 0, width = 0;
};

// One head by the header's definition, in double; mean may be null.
inline std::vector<double> turned(const float* x, const std::vector<float>& norm, const float* cos,
                                  const float* sin, const float* mean, const float* scale,
                                  const HeadTransform& transform) {
  std::vector<double> head(x, x + norm.size());
  const size_t half = head.size() / 2;
  double sum = 0;
  for (const double c : head) sum += c * c;
  for (size_t c = 0; c < head.size(); ++c)
    head[c] *= double(norm[c]) / std::sqrt(sum / double(head.size()) + 1e-6);
  std::vector<double> out(head.size());
  for (size_t j = 0; j < half; ++j) {
    out[j] = head[j] * double(cos[j]) - head[j + half] * double(sin[j]);
    out[j + half] = head[j + half] * double(cos[j]) + head[j] * double(sin[j]);
  }
  for (size_t c = 0; c < out.size(); ++c)
    out[c] = (out[c] - (mean ? double(mean[c]) : 0)) * double(scale[c]);
  if (transform.paley == 0) return out;
  std::vector<double> product(out.size());
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t j = 0; j < out.size(); ++j)
      product[i] +=
          hadamard_entry(int64_t(i), int64_t(j), transform.paley, transform.width) * out[j];
  return product;
}

// What a test varies.
struct Form {
  KvScheme kv = KvScheme::kFp;
  QueryScheme query = QueryScheme::kNone;
  int64_t chunk = 150;  // tokens that are appended at a time
  int64_t window = 0;
  ProbabilityScheme probability = ProbabilityScheme::kNone;
  bool means = false, hadamard = false;
  int64_t head_dim = kHeadDim, tokens = 150;
  int64_t page_tokens = 0;  // 0: one page holds all
  std::string backend = "cpu";
};

// Keys or values of all heads and positions.
using Stored = std::vector<std::vector<std::vector<double>>>;

struct Attended {
  std::vector<float> out;      // [tokens, heads * head_dim] of the last step
  std::vector<double> q;       // [tokens, heads, head_dim] as attention reads it
  std::vector<uint8_t> codes;  // of q where quantized
  Stored key, value;           // of one sequence, as ReadKv gives them
};

inline void read_queries(Backend& backend, const Activations& query, Attended& run) {
  run.q.clear();
  const auto size = size_t(query.rows * query.dim);
  if (!query.quantized()) {
    for (const float x : download_own(backend, query.data, size)) run.q.push_back(double(x));
    return;
  }
  run.codes = to_host<uint8_t>(backend, query.data, size);
  const auto scales = to_host<float>(backend, query.scale, size_t(query.rows));
  for (size_t i = 0; i < size; ++i) {
    const uint8_t code = run.codes[i];
    const double value =
        query.dtype == DType::kF8E4M3 ? double(fp8_decode(code)) : double(int8_t(code));
    run.q.push_back(value * double(scales[i / size_t(query.dim)]));
  }
}

// A pool whose sequences get pages that neither follow each other nor ascend.
inline std::unique_ptr<KvPool> scattered_pool(Backend& backend, const KvCacheShape& shape,
                                              int64_t page_tokens, int64_t pages) {
  auto pool = std::make_unique<KvPool>(backend, shape, page_tokens, pages);
  std::vector<KvSequence> taken;
  for (int64_t i = 0; i < pages; ++i) {
    const KvPool::Growth one[] = {{&taken.emplace_back(*pool), page_tokens}};
    pool->reserve(one);
  }
  for (const size_t first : {1u, 0u})  // odd pages go back first
    for (size_t i = first; i < taken.size(); i += 2) taken[i].truncate(0);
  return pool;
}

// What ReadKv gives of the batch's first sequence, by heads and positions.
inline void read_stored(Backend& backend, const Batch& batch, const KvLayer& cache, Attended& run) {
  const int64_t tokens = batch.on_host[0].kv_length, sequences = batch.sequences();
  const int64_t head_dim = cache.head_dim, kv_heads = cache.kv_heads;
  int64_t length = 0;
  for (const BatchSequence& sequence : batch.on_host) length = std::max(length, sequence.kv_length);
  const size_t size = size_t(sequences * kv_heads * length * head_dim);
  const Buffer key = to_backend(backend, std::vector<float>(size, NAN)),
               value = to_backend(backend, std::vector<float>(size, NAN));
  backend.run(ReadKv{.batch = batch,
                     .cache = cache,
                     .length = length,
                     .key = key.as<float>(),
                     .value = value.as<float>()});
  const auto heads = [&](const Buffer& from) {
    const auto numbers = to_host<float>(backend, from.as<void>(), size);
    Stored all{size_t(kv_heads)};
    for (int64_t h = 0; h < kv_heads; ++h)
      for (int64_t t = 0; t < tokens; ++t) {
        const auto first = numbers.begin() + (h * length + t) * head_dim;
        all[size_t(h)].emplace_back(first, first + head_dim);
      }
    return all;
  };
  run.key = heads(key), run.value = heads(value);
}

// The next `count` tokens of a sequence, whose tokens are those of `in`.
struct Part {
  const Inputs* in;
  KvSequence* sequence;
  int64_t count;
};

// Appends the parts' tokens as one batch, and attends.
inline Attended run_step(Backend& backend, KvPool& pool, const Form& form,
                         const std::vector<Part>& parts) {
  std::vector<KvPool::Growth> growths;
  std::vector<BatchEntry> entries;
  const Inputs* longest = parts.front().in;
  for (const Part& part : parts) {
    growths.push_back({part.sequence, part.sequence->length() + part.count});
    entries.push_back({part.count, part.sequence});
    if (part.in->tokens > longest->tokens) longest = part.in;
  }
  pool.reserve(growths);
  BatchMemory memory(backend);
  const Batch& batch = memory.set(entries);
  const KvLayer& cache = pool.layer(0);

  const auto upload = [&](const std::vector<float>& x) { return to_backend(backend, x); };
  const auto rows = [&](const std::vector<float> Inputs::*x) {
    std::vector<float> all;
    for (const Part& part : parts) {
      const auto dim = std::ptrdiff_t((part.in->*x).size()) / part.in->tokens;
      const auto from = (part.in->*x).begin() + part.sequence->length() * dim;
      all.insert(all.end(), from, from + part.count * dim);
    }
    return upload_own(backend, all);
  };
  const Inputs& model = *longest;
  const Buffer q_norm = upload(model.q_norm), k_norm = upload(model.k_norm),
               query_scale = upload(model.query_scale), key_scale = upload(model.key_scale),
               key_mean = upload(model.key_mean), value_mean = upload(model.value_mean),
               cos = upload(model.cos), sin = upload(model.sin), q = rows(&Inputs::q),
               k = rows(&Inputs::k), v = rows(&Inputs::v);
  const int64_t tokens = batch.tokens, head_dim = model.head_dim,
                kv_dim = model.kv_heads * head_dim, q_dim = model.heads() * head_dim,
                query_rows = tokens * model.heads();
  const auto query_size = size_t(query_rows * head_dim);
  const Buffer codes(backend, query_size), scales(backend, size_t(query_rows) * sizeof(float)),
      out = upload_own(backend, std::vector<float>(query_size, NAN));
  const auto plain = [&](const Buffer& buffer, int64_t count, int64_t dim) {
    return own(backend, buffer, count, dim);
  };
  const Activations query = form.query == QueryScheme::kNone ? plain(q, query_rows, head_dim)
                            : form.query == QueryScheme::kFp8Head
                                ? quantized(codes, scales, query_rows, head_dim)
                                : int8(codes, scales, query_rows, head_dim);
  backend.run(RopeAppendKv{.q = plain(q, tokens, q_dim),
                           .k = plain(k, tokens, kv_dim),
                           .v = plain(v, tokens, kv_dim),
                           .q_norm = q_norm.as<float>(),
                           .k_norm = k_norm.as<float>(),
                           .eps = 1e-6f,
                           .cos = cos.as<float>(),
                           .sin = sin.as<float>(),
                           .query_scale = query_scale.as<float>(),
                           .key_scale = key_scale.as<float>(),
                           .key_mean = form.means ? key_mean.as<float>() : nullptr,
                           .value_mean = form.means ? value_mean.as<float>() : nullptr,
                           .hadamard = form.hadamard,
                           .query = query,
                           .batch = batch,
                           .cache = cache});
  backend.run(Attention{.query = query,
                        .batch = batch,
                        .cache = cache,
                        .window = form.window,
                        .scale = float(1 / std::sqrt(double(head_dim))),
                        .probability = form.probability,
                        .value_mean = form.means ? value_mean.as<float>() : nullptr,
                        .out = plain(out, tokens, q_dim)});
  Attended run;
  run.out = download_own(backend, out.as<void>(), query_size);
  read_queries(backend, query, run);
  read_stored(backend, batch, cache, run);
  for (const Part& part : parts) part.sequence->extend(part.count);
  return run;
}

// One sequence, `chunk` tokens at a time; what the last step gave.
inline Attended run_chunks(Backend& backend, const Inputs& in, const Form& form) {
  const int64_t page_tokens = form.page_tokens ? form.page_tokens : in.tokens + 3;
  const auto pool = scattered_pool(backend, {form.kv, 1, in.kv_heads, in.head_dim}, page_tokens,
                                   in.tokens / page_tokens + 3);
  KvSequence sequence(*pool);
  Attended last;
  while (sequence.length() < in.tokens)
    last = run_step(backend, *pool, form,
                    {{&in, &sequence, std::min(form.chunk, in.tokens - sequence.length())}});
  return last;
}

}  // namespace emberq::test
