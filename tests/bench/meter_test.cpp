#include "bench/meter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>

namespace emberq::bench::meter_test {
namespace {

TEST(Summary, IsTheMedianAndTheMiddleFourFifths) {
  std::vector<double> seconds;
  for (int i = 24; i >= 0; --i) seconds.push_back(100 + i);
  seconds[0] = 9999;  // an outlier moves neither
  const CallTime time = summary(seconds);
  EXPECT_EQ(time.seconds, 112);
  EXPECT_NEAR(time.spread, (122.0 - 102.0) / 112, 1e-12);
  EXPECT_EQ(summary({3}).seconds, 3);
  EXPECT_EQ(summary({3}).spread, 0);
}

TEST(ShareOfRoof, IsOfTheSlowerOfBytesAndProductsWithoutTheFixedCost) {
  Peaks peaks{.fixed_seconds = 1, .copy_rate = 10, .read_rate = 10, .fp8_rate = 100};
  const CallTime time{.seconds = 5};
  EXPECT_EQ(share_of_roof({.flops = 10, .bytes = 20}, time, peaks), 0.5);
  EXPECT_EQ(share_of_roof({.flops = 300, .bytes = 20}, time, peaks), 0.75);
  EXPECT_EQ(share_of_roof({.flops = 1, .bytes = 1}, {.seconds = 1}, peaks), std::nullopt);
  peaks.fp8_rate.reset();
  EXPECT_EQ(share_of_roof({.flops = 10, .bytes = 20}, time, peaks), std::nullopt);
}

TEST(ShareOfRead, IsUnknownWhereReadsWereNotMeasured) {
  Peaks peaks{.fixed_seconds = 1, .copy_rate = 10, .read_rate = 20};
  EXPECT_EQ(share_of_read(20, {.seconds = 3}, peaks), 0.5);
  peaks.read_rate.reset();
  EXPECT_EQ(share_of_read(20, {.seconds = 3}, peaks), std::nullopt);
}

TEST(ShareOfCopy, IsOfTheTimeWithoutTheFixedCost) {
  const Peaks peaks{.fixed_seconds = 1, .copy_rate = 10};
  EXPECT_EQ(share_of_copy(20, {.seconds = 5}, peaks), 0.5);
  EXPECT_EQ(share_of_copy(20, {.seconds = 1}, peaks), std::nullopt);
}

TEST(CpuMeter, GivesATimeForEachRepeatOfCallsThatCountFromZero) {
  const auto backend = make_cpu_backend();
  const auto meter = make_cpu_meter(*backend);
  std::set<int> seen;
  const std::vector<double> seconds = meter->seconds([&](int i) { seen.insert(i); }, 7);
  EXPECT_EQ(seconds.size(), 7u);
  EXPECT_TRUE(std::ranges::all_of(seconds, [](double s) { return s >= 0; }));
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin() + 1, int(seen.size()));
}

TEST(CpuMeter, TimesOneCallAndNotABatch) {
  const auto backend = make_cpu_backend();
  const auto meter = make_cpu_meter(*backend);
  int calls = 0, repeats = 5;
  const auto begin = std::chrono::steady_clock::now();
  const CallTime time = meter->time([&](int) { ++calls; }, repeats);
  const std::chrono::duration<double> all = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(calls, 10 * repeats);  // a call of no work is repeated in a batch
  EXPECT_LT(time.seconds * calls, 10 * all.count());
}

TEST(CpuMeter, KnowsTheProcessorAndNoDriver) {
  const auto backend = make_cpu_backend();
  const Conditions conditions = make_cpu_meter(*backend)->conditions();
  EXPECT_NE(conditions.device.find("threads"), std::string::npos);
  EXPECT_EQ(conditions.driver, "");
  EXPECT_EQ(conditions.regime, Regime::kContinuous);
}

}  // namespace
}  // namespace emberq::bench::meter_test
