#include "bench/report.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace emberq::bench::report_test {
namespace {

TEST(Report, BeginsWithWhatRanAndEndsWithTheRows) {
  const OrderedJson json =
      report_json({"0.1.0", "c2a9eed-dirty", "emberq bench ops --json"}, "a GPU",
                  {{"model", "llama-3-8b"}}, OrderedJson::array({1, 2}));
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"version", "commit", "device", "date", "command",
                                            "model", "rows"}));
  EXPECT_EQ(json["commit"], "c2a9eed-dirty");
  EXPECT_EQ(json["date"].get<std::string>().size(), 10u);
  EXPECT_EQ(json["rows"].size(), 2u);
}

TEST(Report, HasNoCommitWhereTheSourcesAreNoCheckout) {
  EXPECT_TRUE(report_json({"0.1.0", "", "emberq"}, "a GPU", OrderedJson::object(),
                          OrderedJson::array())["commit"]
                  .is_null());
}

TEST(Report, GivesNullForWhatWasNotMeasured) {
  const Conditions on_a_cpu{.device = "a CPU", .repeats = 25, .peaks = {.copy_rate = 2e10}};
  const OrderedJson json = json_of(on_a_cpu);
  for (const char* key : {"driver", "read_tb_per_s", "fp8_tflops", "sm_mhz", "watts"})
    EXPECT_TRUE(json[key].is_null()) << key;
  EXPECT_EQ(json["regime"], "continuous");
  EXPECT_EQ(json["copy_tb_per_s"], 0.02);
}

TEST(Report, OfACallIsItsTimeInMicrosecondsAndItsSpread) {
  const OrderedJson json =
      json_of(CallTime{.seconds = 2e-6, .spread = 0.25, .load = GpuLoad{1980, 700}});
  EXPECT_EQ(json["us"], 2);
  EXPECT_EQ(json["spread"], 0.25);
  EXPECT_EQ(json["watts"], 700);
}

TEST(Cell, IsADashWhereThereIsNoNumber) {
  EXPECT_EQ(cell(0.256, 100, 1), "25.6");
  EXPECT_EQ(cell(std::nullopt, 100, 1), "-");
}

}  // namespace
}  // namespace emberq::bench::report_test
