#include "ops/rope_append_kv.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "format/kv_encode.h"
#include "support/attention_case.h"
#include "support/kv_schemes.h"
#include "support/tolerance.h"

namespace emberq::test::rope_append_kv_test {
namespace {

// Largest |a - b| of two runs' outputs.
double distance(const Attended& a, const Attended& b) {
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
double float_bound(const Attended& run, int steps, double largest_key, double largest_value) {
  const double magnitude = largest_norm(run.q) * largest_key / std::sqrt(double(kHeadDim));
  const double score = float_sum(magnitude, steps + kHeadDim + 2);
  // A weight and the sum of weights, each with its exp of two units; then 150 terms are summed.
  const double relative = 2 * (score + 2 * 0x1p-23) + float_sum(1, 150 + 3);
  return 2 * relative * largest_value;
}

double largest_key_norm(const Attended& run) {
  double largest = 0;
  for (const auto& head : run.key)
    for (const auto& key : head) largest = std::max(largest, largest_norm(key));
  return largest;
}

TEST(RopeAppendKv, TakesMeansOffThatAttentionDoesNotSee) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(150);
  const Attended without = run_chunks(*backend, in, {}),
                 with = run_chunks(*backend, in, {.means = true});
  const double key = std::max(largest_key_norm(without), largest_key_norm(with));
  EXPECT_LE(distance(with, without), float_bound(without, 2, key, 15));
  EXPECT_LT(float_bound(without, 2, key, 15), 0.01);  // a bound that says something
  EXPECT_NE(with.out, without.out);
}

TEST(RopeAppendKv, TurnsQueriesAndKeysByHadamardsMatrixWhichTheirProductsDoNotSee) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(150);
  const Attended without = run_chunks(*backend, in, {}),
                 with = run_chunks(*backend, in, {.hadamard = true});
  // Three additions and a product by a rounded root, for a query and for a key.
  const double bound = float_bound(without, 2 * 5, largest_key_norm(without), 5);
  EXPECT_LE(distance(with, without), bound);
  EXPECT_LT(bound, 0.01);
  EXPECT_NE(with.q, without.q);
}

class RopeAppendKvTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    backend_ = make_backend(GetParam());
    if (!backend_) GTEST_SKIP() << "no CUDA device";
  }

  std::unique_ptr<Backend> backend_;
};

// Heads of head_dim channels against the definition, with and without means and `transform`.
void expect_heads(Backend& backend, int64_t head_dim, const HeadTransform& transform) {
  const Inputs in = in_own_type(backend, make_inputs(5, 0, head_dim));
  const auto stored = [&](double x) {
    return own_bits(backend) < 24 ? rounding(x, own_bits(backend)) : 0.0;
  };
  for (const bool means : {false, true})
    for (const HeadTransform& by : {HeadTransform(), transform}) {
      const Attended run =
          run_chunks(backend, in, {.chunk = 5, .means = means, .hadamard = by.paley > 0});
      const auto expect_near = [&](const double* head, const std::vector<double>& plain,
                                   const std::vector<double>& expected) {
        double bound = 1e-5;  // a few roundings of numbers up to 20
        if (by.paley > 0) {
          const double root = std::sqrt(double(by.paley * by.width));
          double sum = 0;
          for (const double x : plain) sum += std::abs(x) / root;
          bound = bound * root + float_sum(sum, int(by.paley * by.width) + 2);
        }
        for (size_t c = 0; c < expected.size(); ++c)
          ASSERT_NEAR(head[c], expected[c], bound + stored(expected[c]))
              << "heads of " << head_dim << ", channel " << c;
      };
      for (int64_t t = 0; t < in.tokens; ++t) {
        const float *cos = in.cos.data() + t * head_dim / 2,
                    *sin = in.sin.data() + t * head_dim / 2;
        for (int64_t h = 0; h < kHeads; ++h) {
          const int64_t row = (t * kHeads + h) * head_dim;
          const auto turned_by = [&](const HeadTransform& last) {
            return turned(in.q.data() + row, in.q_norm, cos, sin, nullptr,
                          in.query_scale.data() + h / kGroup * head_dim, last);
          };
          expect_near(run.q.data() + row, turned_by({}), turned_by(by));
        }
        for (int64_t h = 0; h < kKvHeads; ++h) {
          const int64_t row = (t * kKvHeads + h) * head_dim;
          const auto turned_by = [&](const HeadTransform& last) {
            return turned(in.k.data() + row, in.k_norm, cos, sin,
                          means ? in.key_mean.data() + h * head_dim : nullptr,
                          in.key_scale.data() + h * head_dim, last);
          };
          const auto &key = run.key[size_t(h)][size_t(t)], &value = run.value[size_t(h)][size_t(t)];
          expect_near(key.data(), turned_by({}), turned_by(by));
          for (int64_t c = 0; c < head_dim; ++c) {
            const float mean = means ? in.value_mean[size_t(h * head_dim + c)] : 0.0f;
            const double expected = double(in.v[size_t(row + c)] - mean);
            ASSERT_NEAR(value[size_t(c)], expected, stored(expected));
          }
        }
      }
    }
}

TEST_P(RopeAppendKvTest, TurnsNormalizesShiftsScalesAndTransformsEachHead) {
  expect_heads(*backend_, 8, {.paley = 1, .width = 8});
  expect_heads(*backend_, 80, {.paley = 20, .width = 4});
  expect_heads(*backend_, 96, {.paley = 12, .width = 8});
  expect_heads(*backend_, 120, {.paley = 60, .width = 2});
  expect_heads(*backend_, 100, {.paley = 20, .width = 1});  // five blocks
  expect_heads(*backend_, 14, {.paley = 1, .width = 2});    // seven
}

// The steps are rounded in one way on every backend (ops/rope_append_kv.h).
TEST_P(RopeAppendKvTest, GivesTheCodesOfTheCpuBackend) {
  const auto cpu = make_cpu_backend();
  for (const int64_t head_dim : {8, 64, 80, 96, 128, 224, 256})
    for (const KvScheme kv : coded_kv_schemes())
      for (const QueryScheme query : {QueryScheme::kFp8Head, QueryScheme::kInt8Head})
        for (const bool turned : {false, true}) {
          const Inputs in = in_own_type(*backend_, make_inputs(9, 0, head_dim));
          const Form form{
              .kv = kv, .query = query, .chunk = 4, .means = turned, .hadamard = turned};
          const Attended one = run_chunks(*backend_, in, form), other = run_chunks(*cpu, in, form);
          EXPECT_EQ(one.codes, other.codes) << name(kv) << ", heads of " << head_dim;
          EXPECT_EQ(one.q, other.q);
          EXPECT_EQ(one.key, other.key) << name(kv) << ", heads of " << head_dim;
          EXPECT_EQ(one.value, other.value) << name(kv) << ", heads of " << head_dim;
        }
}

INSTANTIATE_TEST_SUITE_P(Backends, RopeAppendKvTest, testing::Values("cpu", "cuda"),
                         [](const auto& p) { return p.param; });

TEST(RopeAppendKv, StoresTheCodesOfWhatItWouldStoreAsComputed) {
  const auto backend = make_cpu_backend();
  for (const int64_t head_dim : {8, 80, 96, 100, 120}) {
    const Inputs in = make_inputs(9, 0, head_dim);
    for (const KvScheme kv : coded_kv_schemes()) {
      const Attended plain =
          run_chunks(*backend, in, {.chunk = 4, .means = true, .hadamard = true});
      const Attended coded =
          run_chunks(*backend, in, {.kv = kv, .chunk = 4, .means = true, .hadamard = true});
      const auto expect_codes = [&](const Stored& numbers, const Stored& stored) {
        with_kv_code(kv, [&]<class Code>(Code) {
          for (size_t h = 0; h < numbers.size(); ++h)
            for (size_t t = 0; t < numbers[h].size(); ++t) {
              const std::vector<float> x(numbers[h][t].begin(), numbers[h][t].end());
              std::vector<uint8_t> codes(x.size() * Code::kBits / 8);
              std::vector<float> value(x.size());
              kv_decode<Code>(codes.data(), kv_encode<Code>(x, codes.data()), value);
              for (size_t c = 0; c < x.size(); ++c)
                EXPECT_EQ(stored[h][t][c], double(value[c])) << "heads of " << head_dim;
            }
        });
      };
      expect_codes(plain.key, coded.key);
      expect_codes(plain.value, coded.value);
    }
  }
}

TEST(RopeAppendKv, RoundsEachHeadOfAQueryByItsLargestMagnitude) {
  const auto backend = make_cpu_backend();
  const Inputs in = make_inputs(9);
  const Attended plain = run_chunks(*backend, in, {.chunk = 9});
  for (const QueryScheme scheme : {QueryScheme::kFp8Head, QueryScheme::kInt8Head}) {
    const Attended coded = run_chunks(*backend, in, {.query = scheme, .chunk = 9});
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

TEST(RopeAppendKv, StoresCodesByTheLargestMagnitudeOfTheHeadAndDividesByTheStoredScale) {
  const auto backend = make_cpu_backend();
  Inputs in = make_inputs(3);
  // Values with known answers: absmax / 7 is no e4m3 number, a tiny head, and a head of zeros.
  const std::vector<float> heads[3] = {
      {3.3f, -3.3f, 1, 0.24f, -0.23f, 2, -2, 0}, {1e-4f, -1e-5f}, {}};
  for (size_t t = 0; t < 3; ++t)
    for (size_t c = 0; c < size_t(kHeadDim); ++c)
      in.v[t * size_t(kKvHeads * kHeadDim) + c] = c < heads[t].size() ? heads[t][c] : 0.0f;
  const Attended run = run_chunks(*backend, in, {.kv = KvScheme::kInt4Head, .chunk = 3});
  // 3.3 / 7 = 0.4714 rounds to 0.46875, through which 3.3 is 7.04.
  const std::vector<double> expected = {7, -7, 2, 1, 0, 4, -4, 0};
  for (size_t c = 0; c < expected.size(); ++c)
    EXPECT_EQ(run.value[0][0][c], expected[c] * 0.46875) << c;
  for (const size_t t : {1u, 2u})
    for (const double x : run.value[0][t]) EXPECT_EQ(x, 0);
}

}  // namespace
}  // namespace emberq::test::rope_append_kv_test
