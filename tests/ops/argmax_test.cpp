#include "ops/argmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "support/backends.h"
#include "support/buffers.h"
#include "support/random.h"

namespace emberq::argmax_test {
namespace {

class ArgmaxTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    backend_ = test::make_backend(GetParam());
    if (!backend_) GTEST_SKIP() << "no CUDA device";
  }

  std::vector<int32_t> run(const std::vector<float>& logits, int64_t columns) {
    const int64_t rows = int64_t(logits.size()) / columns;
    const Buffer x = test::to_backend(*backend_, logits),
                 ids = test::to_backend(*backend_, std::vector<int32_t>(size_t(rows), 77));
    backend_->run(Argmax{.logits = test::plain(x, rows, columns), .ids = ids.as<int32_t>()});
    return test::to_host<int32_t>(*backend_, ids.as<void>(), size_t(rows));
  }

  std::unique_ptr<Backend> backend_;
};

TEST_P(ArgmaxTest, FindsTheLargestLogitOfEachRow) {
  for (const int64_t columns : {1, 31, 1025, 128256}) {
    const std::vector<float> logits = test::normal_floats(size_t(5 * columns), 3);
    const std::vector<int32_t> ids = run(logits, columns);
    for (int64_t r = 0; r < 5; ++r) {
      const auto row = logits.begin() + r * columns;
      EXPECT_EQ(ids[size_t(r)], std::max_element(row, row + columns) - row) << columns;
    }
  }
}

TEST_P(ArgmaxTest, TakesTheFirstOfEqualsAlsoOfZerosOfEitherSign) {
  EXPECT_EQ(run({-1, 2, 2, 0, /**/ -0.0f, 0, -3, 0}, 4), (std::vector<int32_t>{1, 0}));
}

TEST_P(ArgmaxTest, OrdersNegativeAndInfiniteLogits) {
  EXPECT_EQ(run({-INFINITY, -3, -2, /**/ 1, INFINITY, 5, /**/ -INFINITY, -INFINITY, -INFINITY}, 3),
            (std::vector<int32_t>{2, 1, 0}));
}

TEST_P(ArgmaxTest, SaysThatARowHasNaN) {
  EXPECT_EQ(run({1, NAN, INFINITY, /**/ 0, 1, 2}, 3), (std::vector<int32_t>{-1, 2}));
}

INSTANTIATE_TEST_SUITE_P(Backends, ArgmaxTest, testing::Values("cpu", "cuda"),
                         [](const auto& p) { return p.param; });

}  // namespace
}  // namespace emberq::argmax_test
