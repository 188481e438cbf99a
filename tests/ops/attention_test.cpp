#include "ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <tuple>

#include "format/scale.h"
#include "ops/rope_append.h"
#include "support/buffers.h"
#include "support/random.h"

namespace emberq {
namespace {

// Heads small enough to write the whole definition in double below.
constexpr int64_t kHeadDim = 8, kHalf = kHeadDim / 2, kKvHeads = 2, kGroup = 3;
constexpr int64_t kHeads = kKvHeads * kGroup;

struct Inputs {
  int64_t tokens;
  std::vector<float> q, k, v, q_norm, k_norm, query_scale, key_scale, cos, sin;
};

Inputs make_inputs(int64_t tokens, int64_t position) {
  Inputs in{.tokens = tokens,
            .q = test::normal_floats(size_t(tokens * kHeads * kHeadDim), 1, 2),
            .k = test::normal_floats(size_t(tokens * kKvHeads * kHeadDim), 2, 2),
            .v = test::normal_floats(size_t(tokens * kKvHeads * kHeadDim), 3)};
  for (int64_t c = 0; c < kHeadDim; ++c) {
    in.q_norm.push_back(1 + 0.1f * float(c));
    in.k_norm.push_back(1 - 0.05f * float(c));
  }
  for (int64_t c = 0; c < kKvHeads * kHeadDim; ++c) {
    in.key_scale.push_back(0.5f + 0.25f * float(c % 5));
    in.query_scale.push_back(1 / in.key_scale.back());
  }
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t j = 0; j < kHalf; ++j) {
      const double angle = double(position + t) * std::pow(0.3, double(j));
      in.cos.push_back(float(std::cos(angle)));
      in.sin.push_back(float(std::sin(angle)));
    }
  return in;
}

// One head by the header's definition, in double.
std::vector<double> turned(const float* x, const std::vector<float>* norm, const float* cos,
                           const float* sin, const float* scale) {
  std::vector<double> head(x, x + kHeadDim);
  if (norm) {
    double sum = 0;
    for (const double c : head) sum += c * c;
    for (size_t c = 0; c < head.size(); ++c)
      head[c] *= double((*norm)[c]) / std::sqrt(sum / double(kHeadDim) + 1e-6);
  }
  std::vector<double> out(head.size());
  for (size_t j = 0; j < size_t(kHalf); ++j) {
    out[j] = head[j] * double(cos[j]) - head[j + kHalf] * double(sin[j]);
    out[j + kHalf] = head[j + kHalf] * double(cos[j]) + head[j] * double(sin[j]);
  }
  for (size_t c = 0; c < out.size(); ++c) out[c] *= double(scale[c]);
  return out;
}

struct Chunks {
  std::vector<float> out;  // [tokens, heads * head_dim] of the last chunk
  std::vector<double> q;   // [tokens, heads, head_dim] as attention reads it
  KvCache cache;
};

// Appends `chunk` tokens at a time and attends; keeps the last chunk's output and queries.
Chunks run_chunks(Backend& backend, const Inputs& in, KvScheme kv, QueryScheme query_scheme,
                  int64_t chunk, int64_t window) {
  Chunks run{{}, {}, KvCache(backend, {kv, 1, kKvHeads, kHeadDim}, in.tokens + 3)};
  const Buffer q_norm = test::to_backend(backend, in.q_norm),
               k_norm = test::to_backend(backend, in.k_norm),
               query_scale = test::to_backend(backend, in.query_scale),
               key_scale = test::to_backend(backend, in.key_scale);
  for (int64_t first = 0; first < in.tokens; first += chunk) {
    const int64_t tokens = std::min(chunk, in.tokens - first);
    const auto rows = [&](const std::vector<float>& x) {
      const size_t dim = x.size() / size_t(in.tokens);
      return test::to_backend(
          backend, std::vector<float>(x.begin() + std::ptrdiff_t(size_t(first) * dim),
                                      x.begin() + std::ptrdiff_t(size_t(first + tokens) * dim)));
    };
    const Buffer q = rows(in.q), k = rows(in.k), v = rows(in.v), cos = rows(in.cos),
                 sin = rows(in.sin);
    const size_t query_size = size_t(tokens * kHeads * kHeadDim);
    const Buffer codes(backend, query_size), scales(backend, query_size),
        out(backend, query_size * 4);
    const Activations query = query_scheme == QueryScheme::kNone
                                  ? test::plain(q, tokens * kHeads, kHeadDim)
                                  : test::quantized(codes, scales, tokens * kHeads, kHeadDim);
    backend.run(RopeAppend{.q = test::plain(q, tokens, kHeads * kHeadDim),
                           .k = test::plain(k, tokens, kKvHeads * kHeadDim),
                           .v = test::plain(v, tokens, kKvHeads * kHeadDim),
                           .q_norm = q_norm.as<float>(),
                           .k_norm = k_norm.as<float>(),
                           .eps = 1e-6f,
                           .cos = cos.as<float>(),
                           .sin = sin.as<float>(),
                           .query_scale = query_scale.as<float>(),
                           .key_scale = key_scale.as<float>(),
                           .position = first,
                           .query = query,
                           .cache = run.cache.layer(0)});
    backend.run(Attention{.query = query,
                          .cache = run.cache.layer(0),
                          .position = first,
                          .window = window,
                          .scale = float(1 / std::sqrt(double(kHeadDim))),
                          .out = test::plain(out, tokens, kHeads * kHeadDim)});
    run.out = test::to_host<float>(backend, out.as<void>(), query_size);
    run.q.clear();
    if (query_scheme == QueryScheme::kNone) {
      for (const float x : test::to_host<float>(backend, q.as<void>(), query_size))
        run.q.push_back(double(x));
    } else {
      const auto host_codes = test::to_host<uint8_t>(backend, codes.as<void>(), query_size);
      const auto host_scales =
          test::to_host<float>(backend, scales.as<void>(), query_size / kHeadDim);
      for (size_t i = 0; i < query_size; ++i)
        run.q.push_back(double(fp8_decode(host_codes[i])) * double(host_scales[i / kHeadDim]));
    }
  }
  return run;
}

// The stored key or value of a head at a position.
std::vector<double> stored(const KvLayer& cache, const void* data, const uint8_t* scales,
                           int64_t head, int64_t position) {
  std::vector<double> x;
  const int64_t index = head * cache.capacity + position;
  for (int64_t c = 0; c < kHeadDim; ++c)
    if (cache.scheme == KvScheme::kFp) {
      x.push_back(double(static_cast<const float*>(data)[index * kHeadDim + c]));
    } else {
      const uint8_t byte = static_cast<const uint8_t*>(data)[(index * kHeadDim + c) / 2];
      const int code = int(byte >> (c % 2 * 4) & 15);
      x.push_back((code < 8 ? code : code - 16) * double(fp8_decode(scales[index])));
    }
  return x;
}

class AttentionTest
    : public testing::TestWithParam<std::tuple<KvScheme, QueryScheme, int64_t, int64_t>> {};

TEST_P(AttentionTest, IsSoftmaxOverTheStoredKeysAndValues) {
  const auto& [kv, query, chunk, window] = GetParam();
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(150, 0);
  const Chunks run = run_chunks(*backend, in, kv, query, chunk, window);
  const KvLayer& cache = run.cache.layer(0);
  const int64_t last = std::min(chunk, in.tokens),
                first = in.tokens - (in.tokens % chunk ? in.tokens % chunk : last);
  for (int64_t t = first; t < in.tokens; ++t)
    for (int64_t h = 0; h < kHeads; ++h) {
      const double* q = run.q.data() + ((t - first) * kHeads + h) * kHeadDim;
      std::vector<double> weight, out(kHeadDim);
      double total = 0, largest_v = 0;
      const int64_t begin = window > 0 ? std::max<int64_t>(0, t + 1 - window) : 0;
      for (int64_t i = begin; i <= t; ++i) {
        const auto k = stored(cache, cache.key, cache.key_scale, h / kGroup, i);
        double score = 0;
        for (size_t c = 0; c < size_t(kHeadDim); ++c) score += q[c] * k[c];
        weight.push_back(std::exp(score / std::sqrt(double(kHeadDim))));
        total += weight.back();
      }
      for (int64_t i = begin; i <= t; ++i) {
        const auto v = stored(cache, cache.value, cache.value_scale, h / kGroup, i);
        for (size_t c = 0; c < v.size(); ++c) {
          out[c] += weight[size_t(i - begin)] / total * v[c];
          largest_v = std::max(largest_v, std::abs(v[c]));
        }
      }
      // Scores reach about 30: their float rounding is a relative error of 30 * 2^-23 in each
      // weight.
      for (size_t c = 0; c < out.size(); ++c)
        ASSERT_NEAR(run.out[size_t(((t - first) * kHeads + h) * kHeadDim) + c], out[c],
                    64 * 0x1p-23 * largest_v)
            << "token " << t << " head " << h << " channel " << c;
    }
}

INSTANTIATE_TEST_SUITE_P(Forms, AttentionTest,
                         testing::Combine(testing::Values(KvScheme::kFp, KvScheme::kInt4Head),
                                          testing::Values(QueryScheme::kNone,
                                                          QueryScheme::kFp8Head),
                                          testing::Values(1, 7, 150), testing::Values(0, 1, 16)),
                         [](const auto& p) {
                           return std::string(std::get<0>(p.param) == KvScheme::kFp ? "fp"
                                                                                    : "kv4") +
                                  (std::get<1>(p.param) == QueryScheme::kNone ? "" : "_fp8_query") +
                                  "_chunk" + std::to_string(std::get<2>(p.param)) + "_window" +
                                  std::to_string(std::get<3>(p.param));
                         });

TEST(RopeAppend, TurnsNormalizesAndScalesEachHead) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(5, 0);
  const Chunks run = run_chunks(*backend, in, KvScheme::kFp, QueryScheme::kNone, 5, 0);
  const KvLayer& cache = run.cache.layer(0);
  for (int64_t t = 0; t < in.tokens; ++t) {
    const float *cos = in.cos.data() + t * kHalf, *sin = in.sin.data() + t * kHalf;
    for (int64_t h = 0; h < kHeads; ++h) {
      const auto expected = turned(in.q.data() + (t * kHeads + h) * kHeadDim, &in.q_norm, cos, sin,
                                   in.query_scale.data() + h / kGroup * kHeadDim);
      for (size_t c = 0; c < expected.size(); ++c)
        ASSERT_NEAR(run.q[size_t((t * kHeads + h) * kHeadDim) + c], expected[c], 1e-5);
    }
    for (int64_t h = 0; h < kKvHeads; ++h) {
      const auto expected = turned(in.k.data() + (t * kKvHeads + h) * kHeadDim, &in.k_norm, cos,
                                   sin, in.key_scale.data() + h * kHeadDim);
      const auto key = stored(cache, cache.key, nullptr, h, t),
                 value = stored(cache, cache.value, nullptr, h, t);
      for (size_t c = 0; c < expected.size(); ++c) {
        ASSERT_NEAR(key[c], expected[c], 1e-5);
        ASSERT_EQ(value[c], double(in.v[size_t((t * kKvHeads + h) * kHeadDim) + c]));
      }
    }
  }
}

TEST(RopeAppend, StoresCodesByTheLargestMagnitudeOfTheHeadAndDividesByTheStoredScale) {
  const auto backend = make_cpu_backend();
  Inputs in = make_inputs(3, 0);
  // Values with known answers: absmax / 7 is no e4m3 number, a tiny head, and a head of zeros.
  const std::vector<float> heads[3] = {
      {3.3f, -3.3f, 1, 0.24f, -0.23f, 2, -2, 0}, {1e-4f, -1e-5f}, {}};
  for (size_t t = 0; t < 3; ++t)
    for (size_t c = 0; c < size_t(kHeadDim); ++c)
      in.v[t * size_t(kKvHeads * kHeadDim) + c] = c < heads[t].size() ? heads[t][c] : 0.0f;
  const Chunks run = run_chunks(*backend, in, KvScheme::kInt4Head, QueryScheme::kNone, 3, 0);
  const KvLayer& cache = run.cache.layer(0);
  // 3.3 / 7 = 0.4714 rounds to 0.46875, through which 3.3 is 7.04.
  EXPECT_EQ(fp8_decode(cache.value_scale[0]), 0.46875f);
  const std::vector<double> expected = {7, -7, 2, 1, 0, 4, -4, 0};
  const auto first = stored(cache, cache.value, cache.value_scale, 0, 0);
  for (size_t c = 0; c < expected.size(); ++c) EXPECT_EQ(first[c], expected[c] * 0.46875) << c;
  for (const int64_t t : {1, 2}) {
    EXPECT_EQ(fp8_decode(cache.value_scale[t]), 0x1p-9f);
    for (const double x : stored(cache, cache.value, cache.value_scale, 0, t)) EXPECT_EQ(x, 0);
  }
}

TEST(KvCache, TakesFourBitsAValueAndAByteAVector) {
  const KvCacheShape kv4{KvScheme::kInt4Head, 6, 2, 128}, fp{KvScheme::kFp, 6, 2, 128};
  EXPECT_EQ(kv4.bytes_per_token(DType::kF32), size_t(6 * 2 * 2 * (64 + 1)));
  EXPECT_EQ(fp.bytes_per_token(DType::kF32), size_t(6 * 2 * 2 * 512));
  EXPECT_EQ(fp.bytes_per_token(DType::kBF16), size_t(6 * 2 * 2 * 256));
}

}  // namespace
}  // namespace emberq
