#include "base/table.h"

#include <gtest/gtest.h>

namespace emberq::table_test {
namespace {

TEST(FormatTable, LinesUpTextToTheLeftAndNumbersToTheRight) {
  EXPECT_EQ(format_table({{"op", "us"}, {"rms_norm", "3.9"}, {"linear", "12.25"}}),
            "| op       |    us |\n"
            "|----------|------:|\n"
            "| rms_norm |   3.9 |\n"
            "| linear   | 12.25 |\n");
}

TEST(FormatTable, SetsSignedNumbersToTheRightAndAColumnWithOneWordToTheLeft) {
  EXPECT_EQ(format_table({{"delta", "mixed"}, {"-0.5", "1"}, {"+10", "none"}}),
            "| delta | mixed |\n"
            "|------:|-------|\n"
            "|  -0.5 | 1     |\n"
            "|   +10 | none  |\n");
}

TEST(FormatTable, CountsCodePointsAndNotBytes) {
  EXPECT_EQ(format_table({{"time", "x"}, {"3 µs", "é"}, {"10 µs", "ab"}}),
            "|  time | x   |\n"
            "|------:|-----|\n"
            "|  3 µs | é   |\n"
            "| 10 µs | ab  |\n");
}

TEST(FormatTable, FillsShortRowsWithEmptyCells) {
  EXPECT_EQ(format_table({{"a", "b"}, {"x"}, {"y", "z"}}),
            "| a   | b   |\n"
            "|-----|-----|\n"
            "| x   |     |\n"
            "| y   | z   |\n");
}

TEST(FormatTable, OfAHeaderAloneIsAMarkdownTable) {
  EXPECT_EQ(format_table({{"a"}}),
            "| a   |\n"
            "|-----|\n");
  EXPECT_EQ(format_table({}), "");
}

}  // namespace
}  // namespace emberq::table_test
