#include "ops/embed.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <limits>
#include <tuple>

#include "format/fp16.h"
#include "ops/linear.h"
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
  const Activations x{DType::kBF16, nullptr, nullptr, 1, 128};
  const Weight quantized =
      backend->prepare(test::assemble(8, 128, *weight_scheme_from_name("lut4-g128"),
                                      {.code = [](int64_t, int64_t) { return 0; },
                                       .scale = [](int64_t, int64_t) { return 1.0f; },
                                       .zero_point = [](int64_t, int64_t) { return int8_t(0); },
                                       .scale_type = DType::kBF16}));
  EXPECT_EQ(error_of([&] { backend->run(Embed{.table = &quantized, .out = x}); }),
            "the cuda backend has no embed of a quantized table operation");
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
