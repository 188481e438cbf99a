#include "base/regex.h"

#include <gtest/gtest.h>

#include "base/parallel.h"
#include "support/refusal.h"

namespace emberq {
namespace {

std::string found(const Regex& regex, std::string_view text, size_t from = 0) {
  const auto span = regex.find(text, from);
  return span ? std::string(text.substr(span->begin, span->end - span->begin)) : "(none)";
}

TEST(Regex, FindsTheFirstMatchAtOrAfterAnOffset) {
  const Regex digits("[0-9]+");
  EXPECT_EQ(found(digits, "ab12cd345"), "12");
  EXPECT_EQ(found(digits, "ab12cd345", 3), "2");
  EXPECT_EQ(found(digits, "ab12cd345", 4), "345");
  EXPECT_EQ(found(digits, "ab12cd345", 9), "(none)");
}

TEST(Regex, ReportsOffsetsInBytes) {
  const auto span = Regex("ü+").find("aüüb");
  ASSERT_TRUE(span);
  EXPECT_EQ(span->begin, 1u);
  EXPECT_EQ(span->end, 5u);
}

TEST(Regex, KnowsUnicodeClasses) {
  EXPECT_EQ(found(Regex("\\p{L}+"), "1Łódź2"), "Łódź");
  EXPECT_EQ(found(Regex("\\p{N}+"), "a٣٤b"), "٣٤");
  EXPECT_EQ(found(Regex("(?i:É)"), "é"), "é");
}

TEST(Regex, LooksAhead) { EXPECT_EQ(found(Regex("\\s+(?!\\S)"), "a   b"), "  "); }

TEST(Regex, FindsAnEmptyMatchAndAnEmptyText) {
  EXPECT_EQ(found(Regex("x*"), "ab"), "");
  EXPECT_EQ(found(Regex("x"), ""), "(none)");
}

TEST(Regex, MatchesStartOnlyAtTheStart) {
  const Regex regex("model\\.layers\\.");
  EXPECT_TRUE(regex.matches_start("model.layers.0"));
  EXPECT_FALSE(regex.matches_start("a.model.layers.0"));
}

TEST(Regex, NamesThePatternItCannotCompileAndThePlace) {
  EXPECT_REFUSED(Regex("a(b"), "cannot compile the regular expression 'a(b' at 3: ",
                 "missing closing parenthesis");
}

TEST(Regex, RefusesAnOffsetPastTheEnd) {
  EXPECT_REFUSED(Regex("a").find("abc", 4), "cannot match a regular expression: ");
}

TEST(Regex, GivesUpOnAMatchWithoutEnd) {
  EXPECT_REFUSED(Regex("(a|aa)+$").find(std::string(200, 'a') + "b"),
                 "cannot match a regular expression: match limit exceeded");
}

TEST(Regex, ServesSeveralThreads) {
  const Regex regex("[0-9]+");
  parallel_for(0, 200, [&](int64_t i) {
    const std::string text = "number " + std::to_string(i);
    EXPECT_EQ(found(regex, text), std::to_string(i));
  });
}

}  // namespace
}  // namespace emberq
