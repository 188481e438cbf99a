#include "checkpoint/side_file.h"

#include <bit>
#include <cmath>
#include <random>

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
  written.recipe = OrderedJson::parse(R"({"z":1,"a":[2.5,"x"]})");
  written.product = WeightProduct::kE4m3;
  written.per_tensor_scale = {{"model.layers.0.mlp.up_proj", 16.0f}, {"b", 0.25f}};
  written.attention = {.kv = KvScheme::kInt4Head,
                       .query = QueryScheme::kFp8Head,
                       .post_rope = {{{{3, 67}, {0.25f, 0.1f}}, {}}, {{}, {{0}, {3.0f}}}}};
  const SideFile read = round_trip(written);
  EXPECT_EQ(read.recipe.dump(), written.recipe.dump());
  EXPECT_EQ(read.product, written.product);
  EXPECT_EQ(read.per_tensor_scale, written.per_tensor_scale);
  EXPECT_EQ(read.attention, written.attention);
}

TEST(SideFile, SaysNothingWhereThereIsNothing) {
  const SideFile read = round_trip({});
  EXPECT_EQ(read.product, WeightProduct::kExact);
  EXPECT_EQ(read.attention, AttentionScheme());
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
