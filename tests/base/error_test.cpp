#include <gtest/gtest.h>

#include "base/check.h"
#include "support/refusal.h"

namespace emberq::error_test {
namespace {

TEST(Check, SaysTheValuesTheConditionAndThePlace) {
  const int k = 4100;
  try {
    EMBERQ_CHECK(k % 128 == 0, "linear: k must be a multiple of 128, got {}", k);
    FAIL() << "passed";
  } catch (const Error& e) {
    EXPECT_TRUE(
        contains(e.what(), "linear: k must be a multiple of 128, got 4100 [k % 128 == 0 at "));
    EXPECT_TRUE(contains(e.what(), "error_test.cpp:"));
    EXPECT_EQ(dynamic_cast<const InputError*>(&e), nullptr);
  }
}

TEST(Require, SaysTheSentenceAlone) {
  EXPECT_EQ(refusal([] { EMBERQ_REQUIRE(false, "no file {}", "x"); }), "no file x");
}

TEST(Check, MakesNoMessageWhereTheConditionHolds) {
  int made = 0;
  EMBERQ_CHECK(true, "{}", ++made);
  EMBERQ_REQUIRE(true, "{}", ++made);
  EXPECT_EQ(made, 0);
}

TEST(Check, IsOneStatement) {
  if (false)
    EMBERQ_CHECK(false, "not reached");
  else
    SUCCEED();
}

}  // namespace
}  // namespace emberq::error_test
