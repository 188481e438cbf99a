// Linears that read one input, run together, against each alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "format/bf16.h"
#include "ops/linear.h"
#include "support/backends.h"
#include "support/buffers.h"
#include "support/own_type.h"
#include "support/quantized_weight.h"
#include "support/random.h"

namespace emberq::linear_together_test {
namespace {

constexpr int64_t kInputs = 1024;

// Of a scheme, or plain where it has no name.
Weight random_weight(Backend& backend, int64_t n, const std::string& scheme) {
  std::mt19937_64 random(uint64_t(n) + scheme.size());
  if (scheme.empty()) {
    std::vector<float> values = test::normal_floats(size_t(n * kInputs), uint64_t(n));
    return backend.prepare(Tensor::of({n, kInputs}, values));
  }
  const WeightScheme form = *weight_scheme_from_name(scheme);
  return backend.prepare(test::assemble(
      n, kInputs, form,
      {.code = [&](int64_t, int64_t) { return int(random() % ((1u << (form.bits - 1)) - 1)); },
       .scale = [&](int64_t, int64_t) { return std::ldexp(float(128 + random() % 128), -14); },
       .zero_point = [](int64_t, int64_t) { return int8_t(0); },
       .scale_type = DType::kBF16}));
}

class LinearsTogetherTest : public testing::TestWithParam<std::string> {};

// By each kernel of few and of many tokens, several times: the input is written by the operation
// just before, and differs from the last one's, so that one read too early shows.
TEST_P(LinearsTogetherTest, GiveWhatEachGivesAlone) {
  const auto backend = test::make_backend(GetParam());
  if (!backend) GTEST_SKIP() << "no CUDA device";
  const std::vector<std::vector<std::pair<int64_t, std::string>>> sets = {
      {{640, "lut4-g128"}, {128, "fp6e2m3-g32"}},
      {{512, "int4-g128"}, {256, "int4-g128"}, {128, "fp8-channel"}},
      {{256, "lut4-g128-e4m3"}, {16, "int6-g128"}, {384, ""}},
      {{384, ""}, {256, "lut4-g128"}}};
  for (const auto& set : sets)
    for (const int64_t m : {1, 9, 33, 64, 200, 300}) {
      std::vector<Weight> weights;
      for (const auto& [n, scheme] : set) weights.push_back(random_weight(*backend, n, scheme));
      const test::E4m3Rows x(*backend, m, kInputs);
      for (int repeat = 0; repeat < 4; ++repeat) {
        const std::vector<float> values =
            test::normal_floats(size_t(m * kInputs), uint64_t(repeat));
        const Buffer input = test::upload_own(*backend, values);
        std::vector<Buffer> together, alone;
        std::vector<Linear> linears;
        const auto add = [&](std::vector<Buffer>& to) {
          linears.clear();
          for (size_t i = 0; i < weights.size(); ++i) {
            const int64_t n = weights[i].n;
            to.push_back(test::upload_own(*backend, std::vector<float>(size_t(m * n), NAN)));
            linears.push_back({.x = x.activations(),
                               .weight = &weights[i],
                               .out = test::own(*backend, to.back(), m, n)});
          }
        };
        add(together);
        backend->run(
            PerTokenQuantize{.x = test::own(*backend, input, m, kInputs), .out = x.activations()});
        backend->run_together(linears);
        add(alone);
        backend->synchronize();
        for (const Linear& op : linears) backend->run(op), backend->synchronize();
        for (size_t i = 0; i < weights.size(); ++i)
          ASSERT_EQ(test::download_own(*backend, together[i], size_t(m * weights[i].n)),
                    test::download_own(*backend, alone[i], size_t(m * weights[i].n)))
              << set[i].second << " " << m << " tokens";
      }
    }
}
INSTANTIATE_TEST_SUITE_P(Backends, LinearsTogetherTest,
                         testing::Values("cpu", "cuda", "cuda-batch-invariant"), [](const auto& p) {
                           std::string name = p.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace emberq::linear_together_test
