// A backend runs only weights that it has prepared itself.
#include <gtest/gtest.h>

#include "ops/backend.h"
#include "support/refusal.h"

namespace emberq::device_weight_test {
namespace {

struct OtherWeight final : DeviceWeight {};

std::string error_of_embed(Backend& backend, const Weight& table) {
  const int32_t id = 0;
  std::vector<float> out(8);
  return error_of([&] {
    backend.run(Embed{.table = &table,
                      .ids = &id,
                      .out = {backend.activation_type(), out.data(), nullptr, 1, 8}});
  });
}

TEST(DeviceWeight, OfAnotherBackendIsAnErrorOfTheCpuBackend) {
  const Weight other{8, 8, 0, std::make_shared<const OtherWeight>()};
  EXPECT_TRUE(contains(error_of_embed(*make_cpu_backend(), other),
                       "the cpu backend was given a weight of another backend"));
}

TEST(DeviceWeightCuda, OfAnotherBackendIsAnErrorOfTheCudaBackend) {
  if (!cuda_available()) GTEST_SKIP() << "no CUDA device";
  const Weight other = make_cpu_backend()->prepare(
      Tensor::copy_of(DType::kF32, {8, 8}, std::span<const float>(std::vector<float>(64))));
  EXPECT_TRUE(contains(error_of_embed(*make_cuda_backend(), other),
                       "the cuda backend was given a weight of another backend"));
}

}  // namespace
}  // namespace emberq::device_weight_test
