#include "checkpoint/side_file.h"

#include <bit>
#include <cmath>
#include <random>

#include "base/json.h"
#include "checkpoint/support.h"

namespace emberq {
namespace {

SideFile parse(std::string_view text) {
  return parse_side_file(OrderedJson::parse(text), "emberq.json");
}

// Written to text and read again, as through a file.
SideFile round_trip(const SideFile& side_file) { return parse(to_json(side_file).dump(2)); }

TEST(SideFile, ReadsWhatItWrites) {
  SideFile written;
  written.recipe = R"({"z":1,"a":[2.5,"x"]})";
  written.product = WeightProduct::kE4m3;
  written.per_tensor_scale = {{"model.layers.0.mlp.up_proj", 16.0f}, {"b", 0.25f}};
  written.attention = {.kv = KvScheme::kInt4Head,
                       .query = QueryScheme::kFp8Head,
                       .probability = ProbabilityScheme::kFp8,
                       .post_rope = {{{{3, 67}, {0.25f, 0.1f}}, {}}, {{}, {{0}, {3.0f}}}},
                       .hadamard = true,
                       .key_mean = {{0.1f, -0.25f}, {0, 3e-41f}},
                       .value_mean = {{1, 2}, {-3, 1e30f}}};
  written.down_hadamard = 512;
  const SideFile read = round_trip(written);
  EXPECT_EQ(read.recipe, written.recipe);
  EXPECT_EQ(read.product, written.product);
  EXPECT_EQ(read.per_tensor_scale, written.per_tensor_scale);
  EXPECT_EQ(read.attention, written.attention);
  EXPECT_EQ(read.down_hadamard, 512);
}

TEST(SideFile, SaysNothingWhereThereIsNothing) {
  const SideFile read = round_trip({});
  EXPECT_EQ(read.product, WeightProduct::kExact);
  EXPECT_EQ(read.attention, AttentionScheme());
  EXPECT_EQ(read.down_hadamard, 0);
  EXPECT_EQ(to_json(SideFile{}).dump(),
            R"({"format_version":1,"recipe":null,"attention":{"kv":"fp","query":"none"}})");
}

TEST(SideFile, KeepsEveryBitOfAScale) {
  std::mt19937 random(1);
  PostRopeScale head;
  for (int i = 0; i < 20000; ++i) {
    const float value = std::bit_cast<float>(uint32_t(random() & 0x7fffffff));
    if (!(value > 0) || !std::isfinite(value)) continue;
    head.channels.push_back(i);
    head.scale.push_back(value);
  }
  const SideFile written{.attention = {.post_rope = {{head}}}};
  EXPECT_EQ(round_trip(written).attention.post_rope[0][0].scale, head.scale);
}

TEST(SideFile, KeepsEveryBitOfAMean) {
  std::mt19937 random(2);
  std::vector<float> mean;
  for (int i = 0; i < 20000; ++i)
    if (const float value = std::bit_cast<float>(uint32_t(random())); std::isfinite(value))
      mean.push_back(value);
  const SideFile written{.attention = {.key_mean = {mean}, .value_mean = {{-0.0f}}}};
  const AttentionScheme read = round_trip(written).attention;
  EXPECT_EQ(read.key_mean[0], mean);
  EXPECT_TRUE(std::signbit(read.value_mean[0][0]));
}

TEST(SideFile, WritesTheShortestDecimal) {
  const SideFile written{.attention = {.post_rope = {{{{0}, {0.1f}}}}}};
  EXPECT_TRUE(contains(to_json(written).dump(), "\"scale\":[0.1]"));
}

TEST(SideFile, RefusesAnotherVersion) {
  EXPECT_REFUSED(parse(R"({"format_version":2})"), "emberq.json: format_version", "2");
  EXPECT_REFUSED(parse("{}"), "emberq.json: format_version is missing");
}

TEST(SideFile, RefusesUnknownKeys) {
  EXPECT_REFUSED(parse(R"({"format_version":1,"attentions":{}})"), "emberq.json: attentions");
  EXPECT_REFUSED(
      parse(R"({"format_version":1,"attention":{"kv":"fp","query":"none","post_rope":[]}})"),
      "emberq.json: attention.post_rope");
}

TEST(SideFile, RefusesUnknownSchemes) {
  EXPECT_REFUSED(parse(R"({"format_version":1,"weight_product":"e5m2"})"),
                 "emberq.json: weight_product", "e5m2");
  EXPECT_REFUSED(parse(R"({"format_version":1,"attention":{"kv":"kv3","query":"none"}})"),
                 "emberq.json: attention.kv", "kv3");
}

SideFile parse_attention(const std::string& more) {
  return parse(R"({"format_version":1,"attention":{"kv":"fp","query":"none",)" + more + "}}");
}

TEST(SideFile, RefusesAnUnknownProbability) {
  EXPECT_REFUSED(parse_attention(R"("probability":"bf16")"), "emberq.json: attention.probability",
                 "bf16");
}

TEST(SideFile, RefusesAHadamardThatIsNeitherTrueNorFalse) {
  EXPECT_REFUSED(parse_attention(R"("hadamard":1)"), "emberq.json: attention.hadamard");
}

TEST(SideFile, RefusesMeansThatAreNoFiniteNumbers) {
  for (const char* key : {"key_mean", "value_mean"})
    for (const char* layer : {"1", "[\"a\"]", "[1e300]", "[null]"})
      EXPECT_REFUSED(parse_attention(std::string("\"") + key + "\":[[0]," + layer + "]"),
                     std::string("emberq.json: attention.") + key + "[1] must be");
  EXPECT_REFUSED(parse_attention(R"("key_mean":{})"), "emberq.json: attention.key_mean");
}

TEST(SideFile, RefusesABlockOfTheHadamardThatIsNoPowerOfTwo) {
  for (const char* block : {"0", "1", "-2", "384", "\"512\"", "1.5"})
    EXPECT_REFUSED(parse(std::string(R"({"format_version":1,"down_hadamard":)") + block + "}"),
                   "emberq.json: down_hadamard");
}

TEST(SideFile, RefusesAPerTensorScaleThatIsNoPowerOfTwo) {
  for (const char* p : {"3", "0", "-2", "1e300", "\"2\""})
    EXPECT_REFUSED(parse(std::string(R"({"format_version":1,"weight_product":"e4m3",)") +
                         R"("per_tensor_scale":{"a.b":)" + p + "}}"),
                   "emberq.json: per_tensor_scale.a.b");
}

TEST(SideFile, RefusesAPerTensorScaleOfExactProducts) {
  EXPECT_REFUSED(parse(R"({"format_version":1,"per_tensor_scale":{"a":2}})"),
                 "emberq.json: per_tensor_scale");
}

SideFile parse_head(const std::string& head) {
  return parse(R"({"format_version":1,"attention":{"kv":"fp","query":"none",)"
               R"("post_rope_scale":[[{"channels":[],"scale":[]},)" +
               head + "]]}}");
}

TEST(SideFile, RefusesScalesThatAreNotOnePerChannel) {
  EXPECT_REFUSED(parse_head(R"({"channels":[1,2],"scale":[0.5]})"),
                 "emberq.json: attention.post_rope_scale[0][1]: scale must hold 2 numbers");
}

TEST(SideFile, RefusesChannelsThatRepeat) {
  EXPECT_REFUSED(parse_head(R"({"channels":[1,1],"scale":[0.5,0.5]})"),
                 "emberq.json: attention.post_rope_scale[0][1]: channels", "[1,1]");
}

TEST(SideFile, RefusesChannelsBelowZero) {
  EXPECT_REFUSED(parse_head(R"({"channels":[-1],"scale":[0.5]})"),
                 "emberq.json: attention.post_rope_scale[0][1]: channels");
}

TEST(SideFile, RefusesScalesThatAreNotPositive) {
  for (const char* scale : {"0", "-1", "1e300", "null"})
    EXPECT_REFUSED(parse_head(std::string(R"({"channels":[1],"scale":[)") + scale + "]}"),
                   "emberq.json: attention.post_rope_scale[0][1]: scale");
}

TEST(SideFile, RefusesHeadsThatAreNoObjects) {
  EXPECT_REFUSED(parse_head("3"), "emberq.json: attention.post_rope_scale[0][1]", "object");
}

}  // namespace
}  // namespace emberq
