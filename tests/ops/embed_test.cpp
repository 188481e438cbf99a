#include "ops/embed.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <random>
#include <tuple>

#include "format/fp16.h"
#include "format/fp8.h"
#include "format/pack.h"
#include "format/weight_code.h"
#include "ops/linear.h"
#include "support/backends.h"
#include "support/own_type.h"
#include "support/quantized_weight.h"
#include "support/random.h"
#include "support/refusal.h"

namespace emberq::embed_test {
namespace {

constexpr int64_t kVocabulary = 300;

// Random numbers in a type, and what they are then.
template <class Stored, class Round>
std::pair<Tensor, std::vector<float>> table_of(DType type, int64_t dim, const Round& round) {
  std::vector<Stored> stored;
  std::vector<float> values;
  for (const float x : test::normal_floats(size_t(kVocabulary * dim), 3)) {
    stored.push_back(round(x));
    if constexpr (std::is_same_v<Stored, float>)
      values.push_back(stored.back());
    else
      values.push_back(stored.back().to_float());
  }
  return {Tensor::copy_of(type, {kVocabulary, dim}, std::span<const Stored>(stored)), values};
}

std::pair<Tensor, std::vector<float>> table_of(DType type, int64_t dim) {
  if (type == DType::kF16) return table_of<fp16>(type, dim, fp16::from_float);
  if (type == DType::kBF16) return table_of<bf16>(type, dim, bf16::from_float);
  return table_of<float>(type, dim, [](float x) { return x; });
}

class EmbedTest : public testing::TestWithParam<std::tuple<std::string, DType, int>> {};

TEST_P(EmbedTest, CopiesTheRowsThatTheIdsName) {
  const auto& [name, type, dim] = GetParam();
  if (name == "cuda" && !cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = name == "cuda" ? make_cuda_backend() : make_cpu_backend();
  const auto [tensor, values] = table_of(type, dim);
  const Weight table = backend->prepare(tensor);
  const std::vector<float> rounded = test::in_own_type(*backend, values);
  for (const std::vector<int32_t>& ids :
       {std::vector<int32_t>{}, {kVocabulary - 1}, {7, 0, 7, 299, 1, 150, 2, 3, 4}}) {
    const auto tokens = int64_t(ids.size());
    const Buffer id_memory = test::to_backend(*backend, ids);
    // Poisoned: every element must be written, and nothing behind them.
    const size_t count = size_t((tokens + 1) * dim);
    const Buffer out = test::upload_own(*backend, std::vector<float>(count, NAN));
    backend->run(Embed{.table = &table,
                       .ids = id_memory.as<int32_t>(),
                       .out = test::own(*backend, out, tokens, dim)});
    const std::vector<float> got = test::download_own(*backend, out, count);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t c = 0; c < dim; ++c)
        ASSERT_EQ(got[size_t(t * dim + c)], rounded[size_t(ids[size_t(t)] * dim + c)])
            << "token " << t << " column " << c;
    for (int64_t c = 0; c < dim; ++c) ASSERT_TRUE(std::isnan(got[size_t(tokens * dim + c)]));
  }
}

struct CodesCase {
  std::string backend, scheme;
  int64_t dim;
  DType scale_type;
};

class EmbedOfCodes : public testing::TestWithParam<CodesCase> {};

// What stands in a table of codes, by tensor/quantized_weight.h.
float value_in(const QuantizedWeight& w, int64_t row, int64_t column) {
  const int64_t group = w.scheme.group_size ? column / w.scheme.group_size : 0;
  const int64_t at = row * w.scale.shape()[1] + group;
  const auto* words = w.packed.data<uint32_t>() + row * w.packed.shape()[1];
  const int u = packed_code(words, size_t(column), w.scheme.bits) + (1 << (w.scheme.bits - 1));
  const float scale = w.scale.to_float()[size_t(at)], code = weight_code_value(w.scheme, u),
              zero = w.scheme.zero_point ? float(w.zero_point.data<int8_t>()[at]) : 0;
  if (w.scheme.dequant == Dequant::kE4m3)
    return fp8_round(code * scale * w.global_scale) / w.global_scale;
  return (code - zero) * scale;
}

TEST_P(EmbedOfCodes, GivesTheValuesOfTheRowsThatTheIdsName) {
  const CodesCase& one = GetParam();
  const auto backend = test::make_backend(one.backend);
  if (!backend) GTEST_SKIP() << "no CUDA device";
  const WeightScheme scheme = *weight_scheme_from_name(one.scheme);
  const bool e4m3 = scheme.code == WeightCode::kFloat && scheme.bits == 8;
  std::mt19937_64 random(3);
  QuantizedWeight codes =
      test::assemble(kVocabulary, one.dim, scheme,
                     {.code =
                          [&](int64_t, int64_t) {
                            const int u = int(random() % (1u << scheme.bits));
                            return e4m3 && (u & 0x7f) == 0x7f ? 0 : u;  // no NaN
                          },
                      .scale = [&](int64_t, int64_t) { return float(8 + random() % 8) / 512; },
                      .zero_point = [&](int64_t, int64_t) { return int8_t(random() % 16 - 8); },
                      .scale_type = one.scale_type});
  if (scheme.dequant == Dequant::kE4m3) codes.global_scale = 64;
  const Weight table = backend->prepare(codes);
  const std::vector<int32_t> ids = {299, 7, 0, 8, 15, 16, 127, 128, 7, 150};
  const Buffer id_memory = test::to_backend(*backend, ids);
  const auto tokens = int64_t(ids.size());
  const size_t count = size_t((tokens + 1) * one.dim);  // poisoned, with a row behind
  const Buffer out = test::upload_own(*backend, std::vector<float>(count, NAN));
  backend->run(Embed{.table = &table,
                     .ids = id_memory.as<int32_t>(),
                     .out = test::own(*backend, out, tokens, one.dim)});
  std::vector<float> want;
  for (const int32_t id : ids)
    for (int64_t c = 0; c < one.dim; ++c) want.push_back(value_in(codes, id, c));
  want = test::in_own_type(*backend, want);
  std::vector<float> got = test::download_own(*backend, out, count);
  for (size_t i = want.size(); i < count; ++i) ASSERT_TRUE(std::isnan(got[i]));
  got.resize(want.size());
  EXPECT_EQ(got, want);
}

INSTANTIATE_TEST_SUITE_P(
    Schemes, EmbedOfCodes,
    testing::ValuesIn(test::on_backends<CodesCase>({"cpu", "cuda", "cuda-naive"},
                                                   {{"", "lut4-g128", 384, DType::kBF16},
                                                    {"", "lut4-g32", 256, DType::kBF16},
                                                    {"", "int4-g64", 256, DType::kBF16},
                                                    {"", "int4-g128-asym", 256, DType::kBF16},
                                                    {"", "lut4-g128-e4m3", 256, DType::kBF16},
                                                    {"", "int4-g64-e4m3", 256, DType::kBF16},
                                                    {"", "fp6e2m3-g128", 256, DType::kBF16},
                                                    {"", "fp8e4m3-channel", 256, DType::kBF16},
                                                    {"", "fp8e4m3-channel", 136, DType::kF32},
                                                    {"", "int8-channel", 136, DType::kF32},
                                                    {"", "int6-g128", 256, DType::kF32},
                                                    {"", "int3-g128", 256, DType::kF32}})),
    [](const auto& test_info) {
      const CodesCase& one = test_info.param;
      std::string text = one.backend + "_" + one.scheme + "_" + std::to_string(one.dim);
      std::ranges::replace(text, '-', '_');
      return text;
    });

// Of the ids that lie just outside the table and far from it.
class EmbedIdOutsideTheTable : public testing::TestWithParam<std::tuple<std::string, int>> {};

TEST_P(EmbedIdOutsideTheTable, IsAnErrorAndReadsNothing) {
  const auto& [name, id] = GetParam();
  if (name == "cuda" && !cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto run = [&, id = id] {
    const auto backend = name == "cuda" ? make_cuda_backend() : make_cpu_backend();
    const Weight table = backend->prepare(table_of(DType::kBF16, 8).first);
    const Buffer ids = test::to_backend(*backend, std::vector<int32_t>{3, id});
    const Buffer out = test::upload_own(*backend, std::vector<float>(16));
    backend->run(
        Embed{.table = &table, .ids = ids.as<int32_t>(), .out = test::own(*backend, out, 2, 8)});
    backend->synchronize();
  };
  if (name == "cpu") {
    EXPECT_TRUE(contains(error_of(run), "embed: token 1 has the id " + std::to_string(id) +
                                            ", the table has 300 rows"));
    return;
  }
  // In a process of its own, whose device is lost.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(std::_Exit(error_of(run).empty() ? 0 : 3), testing::ExitedWithCode(3), "");
}

INSTANTIATE_TEST_SUITE_P(Ids, EmbedIdOutsideTheTable,
                         testing::Combine(testing::Values("cpu", "cuda"),
                                          testing::Values(-1, int(kVocabulary),
                                                          std::numeric_limits<int>::min(),
                                                          std::numeric_limits<int>::max())));

std::string name_of(const testing::TestParamInfo<EmbedTest::ParamType>& info) {
  const auto& [backend, type, dim] = info.param;
  return backend + "_" + std::string(name(type)) + "_" + std::to_string(dim);
}

INSTANTIATE_TEST_SUITE_P(Tables, EmbedTest,
                         testing::Combine(testing::Values("cpu", "cuda"),
                                          testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                                          testing::Values(8, 2056, 4096)),
                         name_of);

TEST(EmbedCuda, RefusesTablesThatItCannotRead) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const auto backend = make_cuda_backend();
  const Weight odd = backend->prepare(table_of(DType::kF32, 12).first);
  const Activations odd_rows{DType::kBF16, nullptr, nullptr, 1, 12};
  EXPECT_TRUE(contains(error_of([&] { backend->run(Embed{.table = &odd, .out = odd_rows}); }),
                       "rows of multiples of 8, got 12"));
  EXPECT_TRUE(contains(error_of([&] {
                         backend->prepare(Tensor::copy_of(DType::kI32, {1, 1},
                                                          std::span<const int32_t>(std::array{1})));
                       }),
                       "a weight of I32"));
}

}  // namespace
}  // namespace emberq::embed_test
