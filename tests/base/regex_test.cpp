#include "base/regex.h"

#include <gtest/gtest.h>

#include "base/parallel.h"
#include "support/refusal.h"

namespace emberq::regex_test {
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

TEST(Regex, NamesThePatternItCannotCompileAndWhatIsWrong) {
  EXPECT_REFUSED(Regex("a(b"), "cannot compile the regular expression 'a(b': ",
                 "end pattern with unmatched parenthesis");
  EXPECT_REFUSED(Regex("\\p{Nope}"), "invalid character property name {Nope}");
}

TEST(Regex, GivesUpOnAMatchWithoutEnd) {
  EXPECT_REFUSED(Regex("(a|aa)+$").find(std::string(200, 'a') + "b"),
                 "cannot match a regular expression: retry-limit-in-match over");
}

TEST(Regex, ReadsOnigurumasSyntax) {
  EXPECT_EQ(found(Regex("[a-z&&[^aeiou]]+"), "aeibcd"), "bcd");
  EXPECT_EQ(found(Regex("[[a-c][x-z]]+"), "[mxa]"), "xa");
  EXPECT_EQ(found(Regex("\\h+"), "xyz 1aF g"), "1aF");  // hexadecimal digits
  EXPECT_EQ(found(Regex("^b"), "a\nb"), "b");
  EXPECT_EQ(found(Regex("a$"), "a\nb"), "a");
  EXPECT_EQ(found(Regex("(?m)a.*b"), "xa\nb"), "a\nb");
  EXPECT_EQ(found(Regex("a{,2}b"), "aaab"), "aab");
  EXPECT_EQ(found(Regex("[\\u4e00-\\u9fff]+"), "ab漢字c"), "漢字");
}

TEST(Regex, ReadsPosixBracketsAsTheNewestOnigurumaDoes) {
  EXPECT_EQ(found(Regex("[[:punct:]]+"), "a€+→…b"), "€+→…");
  EXPECT_EQ(found(Regex("[[:^punct:]]+"), "€a1 →"), "a1 ");
  EXPECT_EQ(found(Regex("[[:^alpha:]]+"), "alph:^1"), ":^1");
  EXPECT_EQ(found(Regex("[^[:alpha:]_]+"), "a_1€b"), "1€");
  EXPECT_EQ(found(Regex("\\[:punct:]"), "[:punct:]"), "[:punct:]");  // no set
  EXPECT_EQ(found(Regex("[:punct:]+"), "€punct:"), "punct:");        // a set of letters
}

TEST(Regex, ReadsPythonsSyntaxWhereAskedTo) {
  const auto matches = [](std::string_view pattern, std::string_view text) {
    return Regex(pattern, Regex::Syntax::kPython).matches_start(text);
  };
  EXPECT_TRUE(matches("model\\.layers\\.(0|1)\\..*", "model.layers.1.mlp"));
  EXPECT_FALSE(matches("layers", "model.layers"));
  EXPECT_TRUE(matches("^(?!.*(lm_head|router)).*$", "model.layers.0.mlp.gate_proj"));
  EXPECT_FALSE(matches("^(?!.*(lm_head|router)).*$", "model.lm_head"));
  EXPECT_TRUE(matches("(?P<kind>q|k)_proj$", "q_proj"));
  EXPECT_TRUE(matches("(?P<a>x)(?P=a)", "xx"));
  EXPECT_TRUE(matches("a.*\\Z", "ab"));
  EXPECT_FALSE(matches("a\\Z", "a\n"));     // the very end
  EXPECT_FALSE(matches("ab$.c", "ab\nc"));  // $ is no end of a line, . no newline
  EXPECT_TRUE(matches("(?s)a.b", "a\nb"));
  EXPECT_TRUE(matches("(?i)Q_PROJ", "q_proj"));
  EXPECT_TRUE(matches("[[a&&]+$", "[a&&"));  // sets do not nest
  EXPECT_TRUE(matches("[&&]+$", "&&"));
  EXPECT_TRUE(matches("[[:alpha:]+$", "[:alph"));  // nor are there POSIX brackets
  EXPECT_TRUE(matches("a{,2}b", "aab"));
}

TEST(Regex, ServesSeveralThreads) {
  const Regex regex("[0-9]+");
  parallel_for(0, 200, [&](int64_t i) {
    const std::string text = "number " + std::to_string(i);
    EXPECT_EQ(found(regex, text), std::to_string(i));
  });
}

}  // namespace
}  // namespace emberq::regex_test
