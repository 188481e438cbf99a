#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "format/bf16.h"
#include "format/fp16.h"
#include "format/fp8.h"
#include "format/lut4.h"
#include "ops/attention.h"
#include "ops/rope_append.h"
#include "support/buffers.h"
#include "support/hadamard_matrix.h"
#include "support/random.h"

// RopeAppend and Attention over made-up heads, and what they leave, by the headers' words.
namespace emberq::test {

// Heads small enough to write the whole definition in double below, unless a test asks for others.
constexpr int64_t kHeadDim = 8, kKvHeads = 2, kGroup = 3;
constexpr int64_t kHeads = kKvHeads * kGroup;

struct Inputs {
  int64_t tokens, head_dim;
  std::vector<float> q, k, v, q_norm, k_norm, query_scale, key_scale, key_mean, value_mean, cos,
      sin;
};

inline Inputs make_inputs(int64_t tokens, int64_t position, int64_t head_dim = kHeadDim) {
  Inputs in{.tokens = tokens,
            .head_dim = head_dim,
            .q = normal_floats(size_t(tokens * kHeads * head_dim), 1, 2),
            .k = normal_floats(size_t(tokens * kKvHeads * head_dim), 2, 2),
            .v = normal_floats(size_t(tokens * kKvHeads * head_dim), 3),
            .key_mean = normal_floats(size_t(kKvHeads * head_dim), 4, 3),
            .value_mean = normal_floats(size_t(kKvHeads * head_dim), 5, 3)};
  for (int64_t c = 0; c < head_dim; ++c) {
    in.q_norm.push_back(1 + 0.1f * float(c % 8));
    in.k_norm.push_back(1 - 0.05f * float(c % 8));
  }
  for (int64_t c = 0; c < kKvHeads * head_dim; ++c) {
    in.key_scale.push_back(0.5f + 0.25f * float(c % 5));
    in.query_scale.push_back(1 / in.key_scale.back());
  }
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t j = 0; j < head_dim / 2; ++j) {
      const double angle =
          double(position + t) * std::pow(0.3, 4 * double(j) / double(head_dim / 2));
      in.cos.push_back(float(std::cos(angle)));
      in.sin.push_back(float(std::sin(angle)));
    }
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
};

struct Chunks {
  std::vector<float> out;      // [tokens, heads * head_dim] of the last chunk
  std::vector<double> q;       // [tokens, heads, head_dim] as attention reads it
  std::vector<uint8_t> codes;  // of q where quantized
  KvCache cache;
};

inline void read_queries(Backend& backend, const Activations& query, Chunks& run) {
  run.q.clear();
  const auto size = size_t(query.rows * query.dim);
  if (!query.quantized()) {
    for (const float x : to_host<float>(backend, query.data, size)) run.q.push_back(double(x));
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

// Appends `chunk` tokens at a time and attends; keeps the last chunk's output and queries.
inline Chunks run_chunks(Backend& backend, const Inputs& in, const Form& form) {
  const int64_t head_dim = in.head_dim;
  Chunks run{{}, {}, {}, KvCache(backend, {form.kv, 1, kKvHeads, head_dim}, in.tokens + 3)};
  const auto upload = [&](const std::vector<float>& x) { return to_backend(backend, x); };
  const Buffer q_norm = upload(in.q_norm), k_norm = upload(in.k_norm),
               query_scale = upload(in.query_scale), key_scale = upload(in.key_scale),
               key_mean = upload(in.key_mean), value_mean = upload(in.value_mean);
  for (int64_t first = 0; first < in.tokens; first += form.chunk) {
    const int64_t tokens = std::min(form.chunk, in.tokens - first);
    const auto rows = [&](const std::vector<float>& x) {
      const size_t dim = x.size() / size_t(in.tokens);
      return upload(std::vector<float>(x.begin() + std::ptrdiff_t(size_t(first) * dim),
                                       x.begin() + std::ptrdiff_t(size_t(first + tokens) * dim)));
    };
    const Buffer q = rows(in.q), k = rows(in.k), v = rows(in.v), cos = rows(in.cos),
                 sin = rows(in.sin);
    const size_t query_size = size_t(tokens * kHeads * head_dim);
    const Buffer codes(backend, query_size), scales(backend, query_size),
        out(backend, query_size * 4);
    const int64_t query_rows = tokens * kHeads;
    const Activations query = form.query == QueryScheme::kNone ? plain(q, query_rows, head_dim)
                              : form.query == QueryScheme::kFp8Head
                                  ? quantized(codes, scales, query_rows, head_dim)
                                  : int8(codes, scales, query_rows, head_dim);
    backend.run(RopeAppend{.q = plain(q, tokens, kHeads * head_dim),
                           .k = plain(k, tokens, kKvHeads * head_dim),
                           .v = plain(v, tokens, kKvHeads * head_dim),
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
                           .position = first,
                           .query = query,
                           .cache = run.cache.layer(0)});
    backend.run(Attention{.query = query,
                          .cache = run.cache.layer(0),
                          .position = first,
                          .window = form.window,
                          .scale = float(1 / std::sqrt(double(head_dim))),
                          .probability = form.probability,
                          .value_mean = form.means ? value_mean.as<float>() : nullptr,
                          .out = plain(out, tokens, kHeads * head_dim)});
    run.out = to_host<float>(backend, out.as<void>(), query_size);
    read_queries(backend, query, run);
  }
  return run;
}

// The value of a code of four or eight bits, by the words of ops/kv_cache.h.
inline double value_of(KvScheme scheme, int code, const void* scales, int64_t index) {
  const auto halves = static_cast<const uint16_t*>(scales);
  switch (scheme) {
    case KvScheme::kInt4Head:
      return (code < 8 ? code : code - 16) *
             double(fp8_decode(static_cast<const uint8_t*>(scales)[index]));
    case KvScheme::kInt4Zero:  // s, then min
      return double(fp16{halves[2 * index + 1]}.to_float()) +
             code * double(fp16{halves[2 * index]}.to_float());
    case KvScheme::kLut4Head:
      return double(lut4_decode(uint8_t(code))) * double(bf16{halves[index]}.to_float());
    default:
      return (code < 128 ? code : code - 256) * double(bf16{halves[index]}.to_float());
  }
}

// The stored key or value of a head at a position.
inline std::vector<double> stored(const KvLayer& cache, const void* data, const void* scales,
                                  int64_t head, int64_t position) {
  std::vector<double> x;
  const int64_t index = head * cache.capacity + position;
  for (int64_t c = 0; c < cache.head_dim; ++c) {
    const int64_t at = index * cache.head_dim + c;
    if (cache.scheme == KvScheme::kFp) {
      x.push_back(double(static_cast<const float*>(data)[at]));
      continue;
    }
    const auto bytes = static_cast<const uint8_t*>(data);
    const int code =
        cache.scheme == KvScheme::kInt8Head ? bytes[at] : bytes[at / 2] >> (c % 2 * 4) & 15;
    x.push_back(value_of(cache.scheme, code, scales, index));
  }
  return x;
}

// Keys or values of all heads and positions.
using Stored = std::vector<std::vector<std::vector<double>>>;
inline Stored stored_heads(const KvLayer& cache, const void* data, const void* scales,
                           int64_t tokens) {
  Stored all(kKvHeads);
  for (int64_t h = 0; h < kKvHeads; ++h)
    for (int64_t t = 0; t < tokens; ++t)
      all[size_t(h)].push_back(stored(cache, data, scales, h, t));
  return all;
}

}  // namespace emberq::test
