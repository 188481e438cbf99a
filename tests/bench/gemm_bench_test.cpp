#include "bench/gemm_bench.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace emberq::bench::gemm_bench_test {
namespace {

TEST(GemmShapes, AreTheFourProductsOfAModelsBlock) {
  const std::vector<GemmShape> expected = {
      {"qkv", 10240, 8192}, {"o", 8192, 8192}, {"gate_up", 57344, 8192}, {"down", 8192, 28672}};
  EXPECT_EQ(gemm_shapes("llama-2-70b"), expected);
  EXPECT_EQ(gemm_shapes("llama-3-8b")[0], (GemmShape{"qkv", 6144, 4096}));
  EXPECT_EQ(gemm_shapes("llama-2-7b")[3], (GemmShape{"down", 4096, 11008}));
}

TEST(GemmShapes, AreReadFromOutputsByInputs) {
  EXPECT_EQ(gemm_shapes("28672x4096"), (std::vector<GemmShape>{{"", 28672, 4096}}));
  EXPECT_EQ(gemm_shapes("1x128"), (std::vector<GemmShape>{{"", 1, 128}}));
}

TEST(GemmShapes, RefuseWhatIsNeitherAModelNorAShape) {
  for (const char* text : {"", "x", "llama-3-70b", "4096", "4096x", "x4096", "0x4096", "4096x0",
                           "-1x128", "+1x128", "4096x4096x1", "4096 x 4096", "4096X4096", "1e3x128",
                           "99999999999999999999x128", "1048577x128"})
    EXPECT_THROW(gemm_shapes(text), InputError) << text;
}

TEST(GemmShapes, RefuseInputsThatHaveNoWholeGroups) {
  EXPECT_THROW(gemm_shapes("4096x4000"), InputError);
  EXPECT_THROW(gemm_shapes("128x64"), InputError);
}

}  // namespace
}  // namespace emberq::bench::gemm_bench_test
