#include "ops/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "format/kv_code.h"
#include "ops/rope_append.h"
#include "support/buffers.h"
#include "support/random.h"
#include "support/tolerance.h"

namespace emberq {
namespace {

// Heads small enough to write the whole definition in double below.
constexpr int64_t kHeadDim = 8, kHalf = kHeadDim / 2, kKvHeads = 2, kGroup = 3;
constexpr int64_t kHeads = kKvHeads * kGroup;

struct Inputs {
  int64_t tokens;
  std::vector<float> q, k, v, q_norm, k_norm, query_scale, key_scale, key_mean, value_mean, cos,
      sin;
};

Inputs make_inputs(int64_t tokens, int64_t position) {
  Inputs in{.tokens = tokens,
            .q = test::normal_floats(size_t(tokens * kHeads * kHeadDim), 1, 2),
            .k = test::normal_floats(size_t(tokens * kKvHeads * kHeadDim), 2, 2),
            .v = test::normal_floats(size_t(tokens * kKvHeads * kHeadDim), 3),
            .key_mean = test::normal_floats(size_t(kKvHeads * kHeadDim), 4, 3),
            .value_mean = test::normal_floats(size_t(kKvHeads * kHeadDim), 5, 3)};
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

// One head by the header's definition, in double; mean may be null.
std::vector<double> turned(const float* x, const std::vector<float>& norm, const float* cos,
                           const float* sin, const float* mean, const float* scale,
                           bool transformed) {
  std::vector<double> head(x, x + kHeadDim);
  double sum = 0;
  for (const double c : head) sum += c * c;
  for (size_t c = 0; c < head.size(); ++c)
    head[c] *= double(norm[c]) / std::sqrt(sum / double(kHeadDim) + 1e-6);
  std::vector<double> out(head.size());
  for (size_t j = 0; j < size_t(kHalf); ++j) {
    out[j] = head[j] * double(cos[j]) - head[j + kHalf] * double(sin[j]);
    out[j + kHalf] = head[j + kHalf] * double(cos[j]) + head[j] * double(sin[j]);
  }
  for (size_t c = 0; c < out.size(); ++c)
    out[c] = (out[c] - (mean ? double(mean[c]) : 0)) * double(scale[c]);
  if (!transformed) return out;
  std::vector<double> product(out.size());
  for (size_t i = 0; i < out.size(); ++i)
    for (size_t j = 0; j < out.size(); ++j)
      product[i] += (std::popcount(i & j) % 2 ? -1 : 1) * out[j] / std::sqrt(double(kHeadDim));
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
};

struct Chunks {
  std::vector<float> out;      // [tokens, heads * head_dim] of the last chunk
  std::vector<double> q;       // [tokens, heads, head_dim] as attention reads it
  std::vector<uint8_t> codes;  // of q where quantized
  KvCache cache;
};

// Appends `chunk` tokens at a time and attends; keeps the last chunk's output and queries.
Chunks run_chunks(Backend& backend, const Inputs& in, const Form& form) {
  Chunks run{{}, {}, {}, KvCache(backend, {form.kv, 1, kKvHeads, kHeadDim}, in.tokens + 3)};
  const auto upload = [&](const std::vector<float>& x) { return test::to_backend(backend, x); };
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
    const size_t query_size = size_t(tokens * kHeads * kHeadDim);
    const Buffer codes(backend, query_size), scales(backend, query_size),
        out(backend, query_size * 4);
    const int64_t query_rows = tokens * kHeads;
    const Activations query =
        form.query == QueryScheme::kNone      ? test::plain(q, query_rows, kHeadDim)
        : form.query == QueryScheme::kFp8Head ? test::quantized(codes, scales, query_rows, kHeadDim)
                                              : test::int8(codes, scales, query_rows, kHeadDim);
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
                          .scale = float(1 / std::sqrt(double(kHeadDim))),
                          .probability = form.probability,
                          .value_mean = form.means ? value_mean.as<float>() : nullptr,
                          .out = test::plain(out, tokens, kHeads * kHeadDim)});
    run.out = test::to_host<float>(backend, out.as<void>(), query_size);
    run.q.clear();
    if (form.query == QueryScheme::kNone) {
      for (const float x : test::to_host<float>(backend, q.as<void>(), query_size))
        run.q.push_back(double(x));
      continue;
    }
    run.codes = test::to_host<uint8_t>(backend, codes.as<void>(), query_size);
    const auto host_scales =
        test::to_host<float>(backend, scales.as<void>(), query_size / kHeadDim);
    for (size_t i = 0; i < query_size; ++i) {
      const uint8_t code = run.codes[i];
      const double value =
          form.query == QueryScheme::kFp8Head ? double(fp8_decode(code)) : double(int8_t(code));
      run.q.push_back(value * double(host_scales[i / kHeadDim]));
    }
  }
  return run;
}

// The value of a code of four or eight bits, by the words of ops/kv_cache.h.
double value_of(KvScheme scheme, int code, const void* scales, int64_t index) {
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
std::vector<double> stored(const KvLayer& cache, const void* data, const void* scales, int64_t head,
                           int64_t position) {
  std::vector<double> x;
  const int64_t index = head * cache.capacity + position;
  for (int64_t c = 0; c < kHeadDim; ++c) {
    const int64_t at = index * kHeadDim + c;
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
Stored stored_heads(const KvLayer& cache, const void* data, const void* scales, int64_t tokens) {
  Stored all(kKvHeads);
  for (int64_t h = 0; h < kKvHeads; ++h)
    for (int64_t t = 0; t < tokens; ++t)
      all[size_t(h)].push_back(stored(cache, data, scales, h, t));
  return all;
}

double rounded(double e, ProbabilityScheme scheme) {
  if (scheme == ProbabilityScheme::kFp8) return double(fp8_round(448 * e)) / 448;
  if (scheme == ProbabilityScheme::kFp16)
    return double(fp16::from_float(round_to_odd(e)).to_float());
  return e;
}

class AttentionTest : public testing::TestWithParam<Form> {};

TEST_P(AttentionTest, IsSoftmaxOverTheStoredKeysAndValues) {
  const Form& form = GetParam();
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(150, 0);
  const Chunks run = run_chunks(*backend, in, form);
  const KvLayer& cache = run.cache.layer(0);
  const Stored keys = stored_heads(cache, cache.key, cache.key_scale, in.tokens),
               values = stored_heads(cache, cache.value, cache.value_scale, in.tokens);
  const int64_t last = std::min(form.chunk, in.tokens),
                first = in.tokens - (in.tokens % form.chunk ? in.tokens % form.chunk : last);
  // Scores reach about 30: their float rounding is a relative error of 30 * 2^-23 in each weight.
  constexpr double kRelative = 64 * 0x1p-23;
  for (int64_t t = first; t < in.tokens; ++t)
    for (int64_t h = 0; h < kHeads; ++h) {
      const double* q = run.q.data() + ((t - first) * kHeads + h) * kHeadDim;
      const size_t kv_head = size_t(h / kGroup);
      const size_t begin = size_t(form.window > 0 ? std::max<int64_t>(0, t + 1 - form.window) : 0);
      std::vector<double> score;
      for (size_t i = begin; i <= size_t(t); ++i) {
        score.push_back(0);
        for (size_t c = 0; c < size_t(kHeadDim); ++c)
          score.back() += q[c] * keys[kv_head][i][c] / std::sqrt(double(kHeadDim));
      }
      const double largest = *std::max_element(score.begin(), score.end());
      double total = 0;
      for (double& s : score) total += std::exp(s - largest);
      std::vector<double> out(kHeadDim);
      double largest_v = 0, moved = 0;  // by weights whose rounding an error in them may turn
      for (size_t i = begin; i <= size_t(t); ++i) {
        const double e = std::exp(score[i - begin] - largest);
        double magnitude = 0;
        for (size_t c = 0; c < out.size(); ++c) {
          const double v = values[kv_head][i][c];
          out[c] += rounded(e, form.probability) / total * v;
          magnitude = std::max(magnitude, std::abs(v));
        }
        largest_v = std::max(largest_v, magnitude);
        if (form.probability != ProbabilityScheme::kNone)
          moved += (rounded(e * (1 + kRelative), form.probability) -
                    rounded(e * (1 - kRelative), form.probability)) /
                   total * magnitude;
      }
      for (size_t c = 0; c < out.size(); ++c) {
        const double mean =
            form.means ? double(in.value_mean[kv_head * size_t(kHeadDim) + c]) : 0.0;
        ASSERT_NEAR(run.out[size_t(((t - first) * kHeads + h) * kHeadDim) + c], out[c] + mean,
                    kRelative * (largest_v + std::abs(mean)) + moved)
            << "token " << t << " head " << h << " channel " << c;
      }
    }
}

std::string text_of(const Form& form) {
  std::string text(name(form.kv));
  if (form.query != QueryScheme::kNone) text += "_q_" + std::string(name(form.query));
  if (form.probability != ProbabilityScheme::kNone)
    text += "_p_" + std::string(name(form.probability));
  if (form.means) text += "_means";
  if (form.hadamard) text += "_hadamard";
  text += "_chunk" + std::to_string(form.chunk) + "_window" + std::to_string(form.window);
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}
std::string name_of(const testing::TestParamInfo<Form>& info) { return text_of(info.param); }

constexpr std::array kKvSchemes = {KvScheme::kFp, KvScheme::kInt4Head, KvScheme::kInt4Zero,
                                   KvScheme::kLut4Head, KvScheme::kInt8Head};

std::vector<Form> forms_of_storage() {
  std::vector<Form> forms;
  for (const KvScheme kv : kKvSchemes)
    for (const QueryScheme query :
         {QueryScheme::kNone, QueryScheme::kFp8Head, QueryScheme::kInt8Head})
      for (const int64_t chunk : {1, 7, 150})
        for (const int64_t window : {0, 1, 16}) forms.push_back({kv, query, chunk, window});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Storage, AttentionTest, testing::ValuesIn(forms_of_storage()), name_of);

std::vector<Form> forms_of_steps() {
  std::vector<Form> forms;
  for (const KvScheme kv : {KvScheme::kFp, KvScheme::kLut4Head})
    for (const ProbabilityScheme probability :
         {ProbabilityScheme::kNone, ProbabilityScheme::kFp8, ProbabilityScheme::kFp16})
      for (const bool means : {false, true})
        for (const int64_t window : {0, 16})
          forms.push_back({.kv = kv,
                           .chunk = 40,
                           .window = window,
                           .probability = probability,
                           .means = means,
                           .hadamard = true});
  return forms;
}
INSTANTIATE_TEST_SUITE_P(Steps, AttentionTest, testing::ValuesIn(forms_of_steps()), name_of);

// Largest |a - b| of two runs' outputs.
double distance(const Chunks& a, const Chunks& b) {
  double largest = 0;
  for (size_t i = 0; i < a.out.size(); ++i)
    largest = std::max(largest, std::abs(double(a.out[i]) - double(b.out[i])));
  return largest;
}

double largest_norm(const std::vector<double>& heads) {
  double largest = 0;
  for (size_t i = 0; i < heads.size(); i += kHeadDim)
    largest =
        std::max(largest, std::sqrt(std::inner_product(heads.begin() + std::ptrdiff_t(i),
                                                       heads.begin() + std::ptrdiff_t(i + kHeadDim),
                                                       heads.begin() + std::ptrdiff_t(i), 0.0)));
  return largest;
}

// How far apart the outputs of two runs may be that differ by float rounding alone, where `steps`
// roundings and the product and the sum over a head befall each score.
double float_bound(const Chunks& run, int steps, double largest_key, double largest_value) {
  const double magnitude = largest_norm(run.q) * largest_key / std::sqrt(double(kHeadDim));
  const double score = test::float_sum(magnitude, steps + kHeadDim + 2);
  // A weight and the sum of weights, each with its exp of two units; then 150 terms are summed.
  const double relative = 2 * (score + 2 * 0x1p-23) + test::float_sum(1, 150 + 3);
  return 2 * relative * largest_value;
}

double largest_key_norm(const Chunks& run, int64_t tokens) {
  const KvLayer& cache = run.cache.layer(0);
  double largest = 0;
  for (const auto& head : stored_heads(cache, cache.key, cache.key_scale, tokens))
    for (const auto& key : head) largest = std::max(largest, largest_norm(key));
  return largest;
}

TEST(RopeAppend, TakesMeansOffThatAttentionDoesNotSee) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(150, 0);
  const Chunks without = run_chunks(*backend, in, {}),
               with = run_chunks(*backend, in, {.means = true});
  const double key =
      std::max(largest_key_norm(without, in.tokens), largest_key_norm(with, in.tokens));
  EXPECT_LE(distance(with, without), float_bound(without, 2, key, 15));
  EXPECT_LT(float_bound(without, 2, key, 15), 0.01);  // a bound that says something
  EXPECT_NE(with.out, without.out);
}

TEST(RopeAppend, TurnsQueriesAndKeysByHadamardsMatrixWhichTheirProductsDoNotSee) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(150, 0);
  const Chunks without = run_chunks(*backend, in, {}),
               with = run_chunks(*backend, in, {.hadamard = true});
  // Three additions and a product by a rounded root, for a query and for a key.
  const double bound = float_bound(without, 2 * 5, largest_key_norm(without, in.tokens), 5);
  EXPECT_LE(distance(with, without), bound);
  EXPECT_LT(bound, 0.01);
  EXPECT_NE(with.q, without.q);
}

TEST(RopeAppend, TurnsNormalizesShiftsScalesAndTransformsEachHead) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(5, 0);
  for (const bool means : {false, true})
    for (const bool transformed : {false, true}) {
      const Chunks run =
          run_chunks(*backend, in, {.chunk = 5, .means = means, .hadamard = transformed});
      const KvLayer& cache = run.cache.layer(0);
      for (int64_t t = 0; t < in.tokens; ++t) {
        const float *cos = in.cos.data() + t * kHalf, *sin = in.sin.data() + t * kHalf;
        for (int64_t h = 0; h < kHeads; ++h) {
          const auto expected =
              turned(in.q.data() + (t * kHeads + h) * kHeadDim, in.q_norm, cos, sin, nullptr,
                     in.query_scale.data() + h / kGroup * kHeadDim, transformed);
          for (size_t c = 0; c < expected.size(); ++c)
            ASSERT_NEAR(run.q[size_t((t * kHeads + h) * kHeadDim) + c], expected[c], 1e-5);
        }
        for (int64_t h = 0; h < kKvHeads; ++h) {
          const int64_t row = (t * kKvHeads + h) * kHeadDim;
          const auto expected = turned(in.k.data() + row, in.k_norm, cos, sin,
                                       means ? in.key_mean.data() + h * kHeadDim : nullptr,
                                       in.key_scale.data() + h * kHeadDim, transformed);
          const auto key = stored(cache, cache.key, nullptr, h, t),
                     value = stored(cache, cache.value, nullptr, h, t);
          for (int64_t c = 0; c < kHeadDim; ++c) {
            const float mean = means ? in.value_mean[size_t(h * kHeadDim + c)] : 0.0f;
            ASSERT_NEAR(key[size_t(c)], expected[size_t(c)], 1e-5);
            ASSERT_EQ(value[size_t(c)], double(in.v[size_t(row + c)] - mean));
          }
        }
      }
    }
}

TEST(RopeAppend, StoresTheCodesOfWhatItWouldStoreAsComputed) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(9, 0);
  for (const KvScheme kv : kKvSchemes) {
    if (kv == KvScheme::kFp) continue;
    const Chunks plain = run_chunks(*backend, in, {.chunk = 4, .means = true, .hadamard = true});
    const Chunks coded =
        run_chunks(*backend, in, {.kv = kv, .chunk = 4, .means = true, .hadamard = true});
    const KvLayer &from = plain.cache.layer(0), &to = coded.cache.layer(0);
    const auto expect_codes = [&](const void* values, const void* codes, const void* scales) {
      with_kv_code(kv, [&]<class Code>(Code) {
        using Scale = typename Code::Scale;
        constexpr int64_t kBytes = kHeadDim * Code::kBits / 8;
        for (int64_t h = 0; h < kKvHeads; ++h)
          for (int64_t i = h * to.capacity; i < h * to.capacity + in.tokens; ++i) {
            std::array<uint8_t, kBytes> expected;
            const Scale scale = kv_encode<Code>(
                {static_cast<const float*>(values) + i * kHeadDim, size_t(kHeadDim)},
                expected.data());
            EXPECT_EQ(std::memcmp(static_cast<const uint8_t*>(codes) + i * kBytes, expected.data(),
                                  kBytes),
                      0);
            EXPECT_EQ(std::memcmp(static_cast<const Scale*>(scales) + i, &scale, sizeof(Scale)), 0);
          }
      });
    };
    expect_codes(from.key, to.key, to.key_scale);
    expect_codes(from.value, to.value, to.value_scale);
  }
}

TEST(RopeAppend, RoundsEachHeadOfAQueryByItsLargestMagnitude) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(9, 0);
  const Chunks plain = run_chunks(*backend, in, {.chunk = 9});
  for (const QueryScheme scheme : {QueryScheme::kFp8Head, QueryScheme::kInt8Head}) {
    const Chunks coded = run_chunks(*backend, in, {.query = scheme, .chunk = 9});
    for (size_t head = 0; head < plain.q.size(); head += kHeadDim) {
      float absmax = 0;
      for (size_t i = head; i < head + kHeadDim; ++i)
        absmax = std::max(absmax, std::abs(float(plain.q[i])));
      for (size_t i = head; i < head + kHeadDim; ++i) {
        const float x = float(plain.q[i]);
        EXPECT_EQ(coded.codes[i], scheme == QueryScheme::kFp8Head
                                      ? fp8_encode(x / (absmax / 448))
                                      : uint8_t(int8_t(std::nearbyint(x / (absmax / 127)))));
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
  const Chunks run = run_chunks(*backend, in, {.kv = KvScheme::kInt4Head, .chunk = 3});
  const KvLayer& cache = run.cache.layer(0);
  // 3.3 / 7 = 0.4714 rounds to 0.46875, through which 3.3 is 7.04.
  const auto scales = static_cast<const uint8_t*>(cache.value_scale);
  EXPECT_EQ(fp8_decode(scales[0]), 0.46875f);
  const std::vector<double> expected = {7, -7, 2, 1, 0, 4, -4, 0};
  const auto first = stored(cache, cache.value, cache.value_scale, 0, 0);
  for (size_t c = 0; c < expected.size(); ++c) EXPECT_EQ(first[c], expected[c] * 0.46875) << c;
  for (const int64_t t : {1, 2}) {
    EXPECT_EQ(fp8_decode(scales[t]), 0x1p-9f);
    for (const double x : stored(cache, cache.value, cache.value_scale, 0, t)) EXPECT_EQ(x, 0);
  }
}

TEST(RopeAppend, RefusesAHadamardTransformOfHeadsThatAreNoPowerOfTwo) {
  const Activations q{DType::kF32, nullptr, nullptr, 1, 24},
      query{DType::kF32, nullptr, nullptr, 1, 24};
  const KvLayer cache{.kv_heads = 1, .capacity = 1, .head_dim = 24};
  try {
    check(RopeAppend{.q = q, .k = q, .v = q, .hadamard = true, .query = query, .cache = cache});
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("a Hadamard transform of heads of 24"), std::string::npos)
        << e.what();
  }
}

TEST(KvCache, TakesTheBitsOfItsCodesAndTheBytesOfItsScales) {
  const auto bytes = [](KvScheme kv, DType type) {
    return KvCacheShape{kv, 6, 2, 128}.bytes_per_token(type);
  };
  const size_t vectors = 6 * 2 * 2;
  EXPECT_EQ(bytes(KvScheme::kFp, DType::kF32), vectors * 512);
  EXPECT_EQ(bytes(KvScheme::kFp, DType::kBF16), vectors * 256);
  EXPECT_EQ(bytes(KvScheme::kInt4Head, DType::kF32), vectors * (64 + 1));
  EXPECT_EQ(bytes(KvScheme::kInt4Zero, DType::kF32), vectors * (64 + 4));
  EXPECT_EQ(bytes(KvScheme::kLut4Head, DType::kF32), vectors * (64 + 2));
  EXPECT_EQ(bytes(KvScheme::kInt8Head, DType::kBF16), vectors * (128 + 2));
}

}  // namespace
}  // namespace emberq
