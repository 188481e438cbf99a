#include "checkpoint/emberq_config.h"

#include <bit>
#include <cmath>
#include <random>

#include "base/json.h"
#include "checkpoint/support.h"

namespace emberq::emberq_config_test {
namespace {

EmberqConfig parse(std::string_view text) {
  return parse_emberq_config(OrderedJson::parse(text), "emberq.json");
}

// Written to text and read again, as through a file.
EmberqConfig round_trip(const EmberqConfig& emberq_config) {
  return parse(to_json(emberq_config).dump(2));
}

TEST(EmberqConfig, ReadsWhatItWrites) {
  EmberqConfig written;
  written.recipe = R"({"z":1,"a":[2.5,"x"]})";
  written.dequant = Dequant::kE4m3;
  written.global_scale = {{"model.layers.0.mlp.up_proj", 16.0f}, {"b", 0.25f}};
  written.attention = {.kv = KvScheme::kInt4Head,
                       .query = QueryScheme::kFp8Head,
                       .probability = ProbabilityScheme::kFp8,
                       .post_rope = {{{{3, 67}, {0.25f, 0.1f}}, {}}, {{}, {{0}, {3.0f}}}},
                       .hadamard = true,
                       .key_mean = {{0.1f, -0.25f}, {0, 3e-41f}},
                       .value_mean = {{1, 2}, {-3, 1e30f}}};
  written.down_hadamard = 512;
  const EmberqConfig read = round_trip(written);
  EXPECT_EQ(read.recipe, written.recipe);
  EXPECT_EQ(read.dequant, written.dequant);
  EXPECT_EQ(read.global_scale, written.global_scale);
  EXPECT_EQ(read.attention, written.attention);
  EXPECT_EQ(read.down_hadamard, 512);
}

TEST(EmberqConfig, SaysNothingWhereThereIsNothing) {
  const EmberqConfig read = round_trip({});
  EXPECT_EQ(read.dequant, Dequant::kExact);
  EXPECT_EQ(read.attention, AttentionScheme());
  EXPECT_EQ(read.down_hadamard, 0);
  EXPECT_EQ(to_json(EmberqConfig{}).dump(),
            R"({"format_version":1,"recipe":null,"attention":{"kv":"fp","query":"none"}})");
}

TEST(EmberqConfig, KeepsEveryBitOfAScale) {
  std::mt19937 random(1);
  PostRopeScale head;
  for (int i = 0; i < 20000; ++i) {
    const float value = std::bit_cast<float>(uint32_t(random() & 0x7fffffff));
    if (!(value > 0) || !std::isfinite(value)) continue;
    head.channels.push_back(i);
    head.scale.push_back(value);
  }
  const EmberqConfig written{.attention = {.post_rope = {{head}}}};
  EXPECT_EQ(round_trip(written).attention.post_rope[0][0].scale, head.scale);
}

TEST(EmberqConfig, KeepsEveryBitOfAMean) {
  std::mt19937 random(2);
  std::vector<float> mean;
  for (int i = 0; i < 20000; ++i)
    if (const float value = std::bit_cast<float>(uint32_t(random())); std::isfinite(value))
      mean.push_back(value);
  const EmberqConfig written{.attention = {.key_mean = {mean}, .value_mean = {{-0.0f}}}};
  const AttentionScheme read = round_trip(written).attention;
  EXPECT_EQ(read.key_mean[0], mean);
  EXPECT_TRUE(std::signbit(read.value_mean[0][0]));
}

TEST(EmberqConfig, WritesTheShortestDecimal) {
  const EmberqConfig written{.attention = {.post_rope = {{{{0}, {0.1f}}}}}};
  EXPECT_TRUE(contains(to_json(written).dump(), "\"scale\":[0.1]"));
}

TEST(EmberqConfig, RefusesAnotherVersion) {
  EXPECT_REFUSED(parse(R"({"format_version":2})"), "emberq.json: format_version", "2");
  EXPECT_REFUSED(parse("{}"), "emberq.json: format_version is missing");
}

TEST(EmberqConfig, RefusesUnknownKeys) {
  EXPECT_REFUSED(parse(R"({"format_version":1,"attentions":{}})"), "emberq.json: attentions");
  EXPECT_REFUSED(
      parse(R"({"format_version":1,"attention":{"kv":"fp","query":"none","post_rope":[]}})"),
      "emberq.json: attention.post_rope");
}

TEST(EmberqConfig, RefusesUnknownSchemes) {
  EXPECT_REFUSED(parse(R"({"format_version":1,"dequant_dtype":"e5m2"})"),
                 "emberq.json: dequant_dtype", "e5m2");
  EXPECT_REFUSED(parse(R"({"format_version":1,"attention":{"kv":"kv3","query":"none"}})"),
                 "emberq.json: attention.kv", "kv3");
}

EmberqConfig parse_attention(const std::string& more) {
  return parse(R"({"format_version":1,"attention":{"kv":"fp","query":"none",)" + more + "}}");
}

TEST(EmberqConfig, RefusesAnUnknownProbability) {
  EXPECT_REFUSED(parse_attention(R"("probability":"bf16")"), "emberq.json: attention.probability",
                 "bf16");
}

TEST(EmberqConfig, RefusesAHadamardThatIsNeitherTrueNorFalse) {
  EXPECT_REFUSED(parse_attention(R"("hadamard":1)"), "emberq.json: attention.hadamard");
}

TEST(EmberqConfig, RefusesMeansThatAreNoFiniteNumbers) {
  for (const char* key : {"key_mean", "value_mean"})
    for (const char* layer : {"1", "[\"a\"]", "[1e300]", "[null]"})
      EXPECT_REFUSED(parse_attention(std::string("\"") + key + "\":[[0]," + layer + "]"),
                     std::string("emberq.json: attention.") + key + "[1] must be");
  EXPECT_REFUSED(parse_attention(R"("key_mean":{})"), "emberq.json: attention.key_mean");
}

TEST(EmberqConfig, RefusesABlockOfTheHadamardThatIsNoPowerOfTwo) {
  for (const char* block : {"0", "1", "-2", "384", "\"512\"", "1.5"})
    EXPECT_REFUSED(parse(std::string(R"({"format_version":1,"down_hadamard":)") + block + "}"),
                   "emberq.json: down_hadamard");
}

TEST(EmberqConfig, RefusesAPerTensorScaleThatIsNoPowerOfTwo) {
  for (const char* p : {"3", "0", "-2", "1e300", "\"2\""})
    EXPECT_REFUSED(parse(std::string(R"({"format_version":1,"dequant_dtype":"e4m3",)") +
                         R"("global_scale":{"a.b":)" + p + "}}"),
                   "emberq.json: global_scale.a.b");
}

TEST(EmberqConfig, RefusesAPerTensorScaleOfExactProducts) {
  EXPECT_REFUSED(parse(R"({"format_version":1,"global_scale":{"a":2}})"),
                 "emberq.json: global_scale");
}

EmberqConfig parse_head(const std::string& head) {
  return parse(R"({"format_version":1,"attention":{"kv":"fp","query":"none",)"
               R"("post_rope_scale":[[{"channels":[],"scale":[]},)" +
               head + "]]}}");
}

TEST(EmberqConfig, RefusesScalesThatAreNotOnePerChannel) {
  EXPECT_REFUSED(parse_head(R"({"channels":[1,2],"scale":[0.5]})"),
                 "emberq.json: attention.post_rope_scale[0][1]: scale must hold 2 numbers");
}

TEST(EmberqConfig, RefusesChannelsThatRepeat) {
  EXPECT_REFUSED(parse_head(R"({"channels":[1,1],"scale":[0.5,0.5]})"),
                 "emberq.json: attention.post_rope_scale[0][1]: channels", "[1,1]");
}

TEST(EmberqConfig, RefusesChannelsBelowZero) {
  EXPECT_REFUSED(parse_head(R"({"channels":[-1],"scale":[0.5]})"),
                 "emberq.json: attention.post_rope_scale[0][1]: channels");
}

TEST(EmberqConfig, RefusesScalesThatAreNotPositive) {
  for (const char* scale : {"0", "-1", "1e300", "null"})
    EXPECT_REFUSED(parse_head(std::string(R"({"channels":[1],"scale":[)") + scale + "]}"),
                   "emberq.json: attention.post_rope_scale[0][1]: scale");
}

TEST(EmberqConfig, RefusesHeadsThatAreNoObjects) {
  EXPECT_REFUSED(parse_head("3"), "emberq.json: attention.post_rope_scale[0][1]", "object");
}

}  // namespace
}  // namespace emberq::emberq_config_test
