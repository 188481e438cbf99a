#include "ops/wrapped_backend.h"

#include <gtest/gtest.h>

#include <vector>

namespace emberq::wrapped_backend_test {
namespace {

TEST(WrappedBackend, RunsWhatTheOtherRunsAndNamesItsKernels) {
  const auto cpu = make_cpu_backend();
  WrappedBackend outer(*cpu);
  std::vector<float> logits = {1, 3, 2};
  int32_t id = -7;
  const Argmax op{.logits = {DType::kF32, logits.data(), nullptr, 1, 3}, .ids = &id};
  EXPECT_EQ(outer.choice(&op).kernel, "loops");
  EXPECT_EQ(id, -7);
  outer.run(op);
  EXPECT_EQ(id, 1);
}

}  // namespace
}  // namespace emberq::wrapped_backend_test
