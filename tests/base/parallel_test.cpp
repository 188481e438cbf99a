#include "base/parallel.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"

namespace emberq::parallel_test {
namespace {

TEST(ParallelFor, RunsEachIndexOnce) {
  for (const int64_t count : {0, 1, 2, 7, 1000}) {
    std::vector<std::atomic<int>> visits(size_t(count) + 2);
    parallel_for(1, count + 1, [&](int64_t i) { ++visits[size_t(i)]; });
    EXPECT_EQ(visits.front(), 0);
    for (int64_t i = 1; i <= count; ++i) ASSERT_EQ(visits[size_t(i)], 1) << i << " of " << count;
    EXPECT_EQ(visits.back(), 0);
  }
}

TEST(ParallelFor, OfAnEmptyOrReversedRangeRunsNothing) {
  parallel_for(5, 5, [](int64_t) { FAIL(); });
  parallel_for(5, 3, [](int64_t) { FAIL(); });
}

TEST(ParallelFor, ThrowsWhatABodyThrew) {
  try {
    parallel_for(0, 1000, [](int64_t i) {
      if (i == 500) throw InputError("at " + std::to_string(i));
    });
    FAIL() << "did not throw";
  } catch (const InputError& e) {
    EXPECT_STREQ(e.what(), "at 500");
  }
}

TEST(ParallelFor, ThrowsOneOfManyExceptions) {
  EXPECT_THROW(parallel_for(0, 1000, [](int64_t) { throw Error("each"); }), Error);
  EXPECT_THROW(parallel_for(0, 1, [](int64_t) { throw Error("alone"); }), Error);
}

TEST(ParallelFor, StaysOnTheCallingThreadUpToTheGrain) {
  parallel_for(
      0, 8, [](int64_t) { EXPECT_FALSE(omp_in_parallel()); }, 8);
}

TEST(ParallelFor, NestsInItself) {
  std::atomic<int64_t> sum = 0;
  parallel_for(0, 10,
               [&](int64_t i) { parallel_for(0, 10, [&](int64_t j) { sum += i * 10 + j; }); });
  EXPECT_EQ(sum, 99 * 100 / 2);
}

TEST(ParallelFor, UsesAsManyThreadsAsAreSet) {
  const int before = threads();
  set_threads(1);
  EXPECT_EQ(threads(), 1);
  parallel_for(0, 100, [](int64_t) { EXPECT_EQ(omp_get_num_threads(), 1); });
  set_threads(before);
}

}  // namespace
}  // namespace emberq::parallel_test
