#include "base/json.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/refusal.h"
#include "support/test_folder.h"

namespace emberq::json_test {
namespace {

TEST(ParseJson, NamesTheTextAndThePlaceOfAnError) {
  EXPECT_REFUSED(parse_json("{\"a\": }", "config.json"),
                 "config.json is not valid JSON: parse error at line 1, column 7");
  EXPECT_REFUSED(parse_json("", "config.json"), "config.json is not valid JSON: ");
  EXPECT_REFUSED(parse_json("{} x", "config.json"), "config.json is not valid JSON: ");
  EXPECT_REFUSED(parse_json("[1e999]", "config.json"), "config.json is not valid JSON: ");
  EXPECT_REFUSED(parse_json("\"\xff\"", "config.json"), "config.json is not valid JSON: ");
}

TEST(ParseJson, RefusesAKeyThatComesTwiceInOneObjectOnly) {
  EXPECT_EQ(
      refusal([] { parse_json(R"({"a": {"b": 1, "a": 2}, "c": [{"b": 1}, {"b": 2}]})", "f"); }),
      "");
  EXPECT_EQ(refusal([] { parse_json(R"({"a": {"b": 1, "c": {"b": 2}, "b": 3}})", "f"); }),
            "f has the key \"b\" twice");
}

TEST(ParseJson, RefusesNestingWithoutEnd) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_EQ(refusal([&] { parse_json(nested(100), "f"); }), "");
  EXPECT_EQ(refusal([&] { parse_json(nested(101), "f"); }), "f is nested deeper than 100 levels");
  EXPECT_EQ(refusal([&] { parse_json(nested(1'000'000), "f"); }),
            "f is nested deeper than 100 levels");
}

TEST(ReadJson, NamesTheFile) {
  const TestFolder folder;
  EXPECT_REFUSED(read_json(folder.write("a.json", "{")), "a.json is not valid JSON");
  EXPECT_REFUSED(read_json(folder.path() / "none.json"), "cannot open ", "none.json");
}

TEST(ReadOrderedJson, KeepsTheOrderOfKeys) {
  const TestFolder folder;
  EXPECT_EQ(read_ordered_json(folder.write("a.json", R"({"b":1,"a":2})")).dump(),
            R"({"b":1,"a":2})");
}

class JsonObjectTest : public testing::Test {
 protected:
  const Json json_ = parse_json(R"({
    "flag": true, "n": 7, "big": 9223372036854775807, "huge": 9223372036854775808,
    "min": -9223372036854775808, "x": 0.5, "python": 1e5, "word": "eight", "nothing": null,
    "list": [1, 2, 3], "reals": [1, 0.5], "words": ["a", "b"], "mixed": [1, "a"], "empty": [],
    "rope": {"factor": "eight", "deep": {"n": 1.5}}})",
                                "config.json");
  const JsonObject object_{json_, "config.json"};
};

TEST_F(JsonObjectTest, GivesEachTypeAsItIs) {
  EXPECT_EQ(object_.get<bool>("flag"), true);
  EXPECT_EQ(object_.get<int>("n"), 7);
  EXPECT_EQ(object_.get<int64_t>("big"), INT64_MAX);
  EXPECT_EQ(object_.get<int64_t>("min"), INT64_MIN);
  EXPECT_EQ(object_.get<double>("x"), 0.5);
  EXPECT_EQ(object_.get<double>("n"), 7.0);
  EXPECT_EQ(object_.get<float>("x"), 0.5f);
  EXPECT_EQ(object_.get<std::string>("word"), "eight");
  EXPECT_EQ(object_.get<std::vector<int>>("list"), (std::vector{1, 2, 3}));
  EXPECT_EQ(object_.get<std::vector<int64_t>>("empty"), std::vector<int64_t>{});
  EXPECT_EQ(object_.get<std::vector<float>>("reals"), (std::vector{1.0f, 0.5f}));
  EXPECT_EQ(object_.get<std::vector<std::string>>("words"), (std::vector<std::string>{"a", "b"}));
}

TEST_F(JsonObjectTest, TakesAFloatForAnIntegerOnlyWhereItIsIntegral) {
  EXPECT_EQ(object_.get<int>("python"), 100000);
  EXPECT_EQ(refusal([&] { object_.get<int64_t>("x"); }),
            "config.json: x must be an integer, got 0.5");
}

TEST_F(JsonObjectTest, RefusesAnIntegerOutOfRange) {
  EXPECT_EQ(refusal([&] { object_.get<int64_t>("huge"); }),
            "config.json: huge must be an integer, got 9223372036854775808");
  EXPECT_EQ(refusal([&] { object_.get<int>("big"); }),
            "config.json: big must be a 32-bit integer, got 9223372036854775807");
}

TEST_F(JsonObjectTest, SaysWhatAValueMustBeAndIs) {
  EXPECT_EQ(refusal([&] { object_.get<bool>("n"); }),
            "config.json: n must be true or false, got 7");
  EXPECT_EQ(refusal([&] { object_.get<int>("word"); }),
            "config.json: word must be a 32-bit integer, got \"eight\"");
  EXPECT_EQ(refusal([&] { object_.get<int>("flag"); }),
            "config.json: flag must be a 32-bit integer, got true");
  EXPECT_EQ(refusal([&] { object_.get<float>("word"); }),
            "config.json: word must be a number, got \"eight\"");
  EXPECT_EQ(refusal([&] { object_.get<std::string>("n"); }),
            "config.json: n must be a string, got 7");
  EXPECT_EQ(refusal([&] { object_.get<std::vector<int>>("mixed"); }),
            "config.json: mixed must be a list of integers, got [1,\"a\"]");
  EXPECT_EQ(refusal([&] { object_.get<std::vector<float>>("words"); }),
            "config.json: words must be a list of numbers, got [\"a\",\"b\"]");
  EXPECT_EQ(refusal([&] { object_.get<std::vector<std::string>>("word"); }),
            "config.json: word must be a list of strings, got \"eight\"");
}

TEST_F(JsonObjectTest, NamesANestedKeyByItsWholePath) {
  const JsonObject rope = object_.object("rope");
  EXPECT_EQ(refusal([&] { rope.get<double>("factor"); }),
            "config.json: rope.factor must be a number, got \"eight\"");
  EXPECT_EQ(refusal([&] { rope.object("deep").get<int>("n"); }),
            "config.json: rope.deep.n must be a 32-bit integer, got 1.5");
  EXPECT_EQ(refusal([&] { rope.at("none"); }), "config.json: rope.none is missing");
}

TEST_F(JsonObjectTest, CountsNullAsAbsent) {
  EXPECT_FALSE(object_.has("nothing"));
  EXPECT_EQ(object_.get_or("nothing", 3), 3);
  EXPECT_EQ(object_.get_or("n", 3), 7);
  EXPECT_EQ(refusal([&] { object_.get<int>("nothing"); }), "config.json: nothing is missing");
}

TEST_F(JsonObjectTest, DoesNotTakeAFallbackForAValueOfAnotherType) {
  EXPECT_REFUSED(object_.get_or("word", 3), "word must be a 32-bit integer");
}

TEST_F(JsonObjectTest, RefusesAValueForAnObjectOrAnArray) {
  EXPECT_EQ(refusal([&] { object_.object("n"); }), "config.json: n must be an object, got 7");
  EXPECT_EQ(refusal([&] { object_.array("rope"); }).substr(0, 42),
            "config.json: rope must be an array, got {\"");
  EXPECT_EQ(refusal([&] { JsonObject(json_["list"], "list.json"); }),
            "list.json must hold a JSON object, got [1,2,3]");
}

TEST_F(JsonObjectTest, AllowsOnlyTheKeysNamed) {
  const JsonObject rope = object_.object("rope");
  EXPECT_EQ(refusal([&] { rope.allow_only({"factor", "deep", "other"}); }), "");
  EXPECT_EQ(refusal([&] { rope.allow_only({"factor"}); }),
            "config.json: rope.deep is not a known key");
}

TEST_F(JsonObjectTest, CutsALongValueInAMessage) {
  const Json json = {{"long", std::string(1000, 'x')}};
  EXPECT_EQ(refusal([&] { JsonObject(json, "f").get<int>("long"); }),
            "f: long must be a 32-bit integer, got \"" + std::string(56, 'x') + "...");
}

}  // namespace
}  // namespace emberq::json_test
