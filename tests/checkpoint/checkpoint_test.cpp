#include "checkpoint/checkpoint.h"

#include <cmath>
#include <limits>

#include "base/json.h"
#include "checkpoint/compressed_tensors/write.h"
#include "checkpoint/shard_writer.h"
#include "checkpoint/support.h"
#include "format/bf16.h"
#include "support/quantized_weight.h"
#include "support/shared.h"

namespace emberq::checkpoint_test {
namespace {

const std::string kQ = "model.layers.0.self_attn.q_proj";
const std::string kO = "model.layers.0.self_attn.o_proj";
const std::string kDown = "model.layers.0.mlp.down_proj";

const std::string kUp = "model.layers.0.mlp.up_proj";

// The codes, as stored, and scales of the goldens: tools/interop.py has the same formulas.
int golden_code(int64_t n, int64_t k, const WeightScheme& scheme) {
  const int u = int((37 * n + 11 * k + n * k) % (1 << scheme.bits));
  return scheme.code == WeightCode::kFloat && u % 128 == 127 ? u - 1 : u;
}
float golden_scale(int64_t n, int64_t group) { return float(8 + (3 * n + group) % 8) / 512; }
int8_t golden_zero_point(int64_t n, int64_t group) { return int8_t((5 * n + 3 * group) % 16 - 8); }

QuantizedWeight golden_weight(int64_t n, int64_t k, const WeightScheme& scheme) {
  return test::assemble(
      n, k, scheme,
      {.code = [&](int64_t row, int64_t column) { return golden_code(row, column, scheme); },
       .scale = golden_scale,
       .zero_point = golden_zero_point,
       .scale_type = DType::kBF16});
}

void expect_same(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(bool(a), bool(b));
  if (!a) return;
  EXPECT_EQ(a.dtype(), b.dtype());
  EXPECT_EQ(a.shape(), b.shape());
  EXPECT_TRUE(std::ranges::equal(a.bytes(), b.bytes()));
}

void expect_golden(const Checkpoint& checkpoint, const std::string& module, int64_t n, int64_t k,
                   const WeightScheme& scheme) {
  const auto linear = checkpoint.linear(module, n, k);
  ASSERT_TRUE(linear.has_value());
  const QuantizedWeight* read = &linear->weight;
  const QuantizedWeight expected = golden_weight(n, k, scheme);
  EXPECT_EQ(read->scheme, scheme);
  EXPECT_EQ(read->n, n);
  EXPECT_EQ(read->k, k);
  EXPECT_EQ(read->global_scale, 1);
  expect_same(read->packed, expected.packed);
  expect_same(read->scale, expected.scale);
  expect_same(read->zero_point, expected.zero_point);
}

fs::path golden_folder(const char* name) {
  return test::source_folder() / "tests/golden/checkpoint" / name;
}

// A small model that can be opened: `more` adds keys to its config.json, or replaces them.
Json small_config(const Json& more = {}) {
  Json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"vocab_size", 8},
                 {"hidden_size", 128},
                 {"intermediate_size", 128},
                 {"num_hidden_layers", 1},
                 {"num_attention_heads", 2}};
  if (more.is_object()) config.update(more);
  return config;
}

// A folder with one linear of 3 x 128 in codes; each test breaks one thing.
struct QuantizedFolder {
  TestFolder folder;
  WeightScheme scheme = {.bits = 4, .group_size = 128};
  std::vector<std::pair<std::string, Tensor>> tensors;

  explicit QuantizedFolder(int bits = 4) {
    scheme.bits = bits;
    const QuantizedWeight weight = golden_weight(3, 128, scheme);
    const std::array<int64_t, 2> shape = {3, 128};
    tensors = {
        {kQ + ".weight_packed", weight.packed},
        {kQ + ".weight_scale", weight.scale},
        {kQ + ".weight_shape", Tensor::copy_of(DType::kI64, {2}, std::span<const int64_t>(shape))}};
  }
  void replace(const std::string& suffix, const Tensor& tensor) {
    for (auto& [name, old] : tensors)
      if (name == kQ + suffix) old = tensor;
  }
  Checkpoint open() const {
    const Json config = small_config(
        {{"quantization_config", Json(quantization_config({{kQ, {.weight = scheme}}}, {}))}});
    folder.write("config.json", config.dump());
    write_safetensors(folder.path() / "model.safetensors", tensors);
    return Checkpoint::open(folder.path());
  }
  std::optional<QuantizedLinear> read() const { return open().linear(kQ, 3, 128); }
};

Tensor row_of(std::vector<float> values) {
  const auto size = int64_t(values.size());
  return Tensor::of({size, 1}, values);
}

TEST(Checkpoint, ReadsWhatCompressedTensorsWroteAsW4A8) {
  const Checkpoint checkpoint = Checkpoint::open(golden_folder("ct_w4afp8"));
  const WeightScheme scheme = {.bits = 4, .group_size = 128};
  EXPECT_EQ(checkpoint.linear_scheme(kQ),
            (LinearScheme{.weight = scheme, .activation = ActivationScheme::kFp8Token}));
  expect_golden(checkpoint, kQ, 5, 128, scheme);
  expect_golden(checkpoint, kO, 3, 256, scheme);
  expect_golden(checkpoint, kDown, 7, 384, scheme);
  EXPECT_EQ(checkpoint.linear("lm_head", 2, 128), std::nullopt);
  EXPECT_EQ(checkpoint.get("lm_head.weight", {2, 128}).dtype(), DType::kBF16);
}

TEST(Checkpoint, ReadsWhatCompressedTensorsWroteInMixedPrecision) {
  const Checkpoint checkpoint = Checkpoint::open(golden_folder("ct_mixed"));
  expect_golden(checkpoint, kQ, 5, 128, {.bits = 4, .group_size = 128});
  expect_golden(checkpoint, kO, 3, 256, {.bits = 6, .group_size = 128});
  expect_golden(checkpoint, kDown, 7, 384, {.bits = 8, .group_size = 384});
  EXPECT_EQ(checkpoint.linear_scheme(kO)->activation, ActivationScheme::kNone);
  EXPECT_EQ(checkpoint.linear_scheme("lm_head"), std::nullopt);
}

TEST(Checkpoint, ReadsEveryFormThatCompressedTensorsWrites) {
  const Checkpoint checkpoint = Checkpoint::open(golden_folder("ct_schemes"));
  expect_golden(checkpoint, kQ, 5, 130, {.bits = 8, .group_size = 130});
  expect_golden(checkpoint, kO, 3, 257, {.bits = 8, .group_size = 257, .code = WeightCode::kFloat});
  expect_golden(checkpoint, kDown, 11, 384, {.bits = 4, .group_size = 128, .zero_point = true});
  expect_golden(checkpoint, kUp, 5, 128, {.bits = 6, .group_size = 128});
  EXPECT_EQ(checkpoint.linear_scheme(kQ)->activation, ActivationScheme::kInt8Token);
  EXPECT_EQ(checkpoint.linear_scheme(kO)->activation, ActivationScheme::kFp8Token);
  EXPECT_EQ(checkpoint.linear_scheme(kDown)->activation, ActivationScheme::kNone);
  EXPECT_EQ(checkpoint.linear_scheme(kUp)->activation,
            (ActivationScheme{ActivationCode::kInt6, 128}));
}

// Holds what quantized_tensors() makes to a golden's bytes.
void expect_written(const char* golden,
                    const std::vector<std::pair<std::string, QuantizedWeight>>& weights) {
  const TestFolder folder;
  SafetensorsWriter writer(folder.path());
  for (const auto& [module, weight] : weights)
    for (const auto& [name, tensor] : quantized_tensors(module, weight)) writer.add(name, tensor);
  writer.finish();
  const SafetensorsFile ours(folder.path() / "model.safetensors");
  const SafetensorsFile theirs(golden_folder(golden) / "model.safetensors");
  EXPECT_EQ(ours.names().size() + 1, theirs.names().size());
  for (const std::string& name : theirs.names())
    if (name != "lm_head.weight") expect_same(ours.get(name), theirs.get(name));
}

TEST(QuantizedTensors, WritesTheBytesOfCompressedTensors) {
  const WeightScheme scheme = {.bits = 4, .group_size = 128};
  expect_written("ct_w4afp8", {{kQ, golden_weight(5, 128, scheme)},
                               {kO, golden_weight(3, 256, scheme)},
                               {kDown, golden_weight(7, 384, scheme)}});
  expect_written(
      "ct_schemes",
      {{kQ, golden_weight(5, 130, {.bits = 8, .group_size = 0})},
       {kO, golden_weight(3, 257, {.bits = 8, .group_size = 0, .code = WeightCode::kFloat})},
       {kDown, golden_weight(11, 384, {.bits = 4, .group_size = 128, .zero_point = true})},
       {kUp, golden_weight(5, 128, {.bits = 6, .group_size = 128})}});
}

TEST(Checkpoint, ReadsPlainWeights) {
  const TestFolder folder;
  folder.write("config.json", small_config().dump());
  write_safetensors(folder.path() / "model.safetensors",
                    {{"b", row_of({1, 2})}, {"a", row_of({3})}});
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_FALSE(checkpoint.is_quantized());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(checkpoint.get("b", {2, 1}).to_float(), (std::vector<float>{1, 2}));
  EXPECT_EQ(checkpoint.file_bytes(), fs::file_size(folder.path() / "model.safetensors"));
  EXPECT_EQ(checkpoint.linear(kQ, 3, 128), std::nullopt);
}

TEST(Checkpoint, ReadsWhatTheWriterShards) {
  const TestFolder folder;
  folder.write("config.json", small_config().dump());
  SafetensorsWriter writer(folder.path(), {.max_shard_bytes = 8});
  for (const char* name : {"a", "b", "c"}) writer.add(name, row_of({1, 2}));
  writer.finish();
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(checkpoint.get("c", {2, 1}).to_float(), (std::vector<float>{1, 2}));
}

// A tied model of these tensors.
Checkpoint open_tied(const TestFolder& folder,
                     const std::vector<std::pair<std::string, Tensor>>& tensors,
                     const Json& more = {{"tie_word_embeddings", true}}) {
  folder.write("config.json", small_config(more).dump());
  write_safetensors(folder.path() / "model.safetensors", tensors);
  return Checkpoint::open(folder.path());
}

TEST(Checkpoint, OfATiedModelLeavesOutAHeadThatIsTheEmbedding) {
  const TestFolder folder;
  const Tensor table = Tensor::of({2, 1}, std::vector<float>{1, -2});
  const std::vector<bf16> narrow = {bf16::from_float(1), bf16::from_float(-2)};
  for (const Tensor& head :
       {table, Tensor::copy_of(DType::kBF16, {2, 1}, std::span<const bf16>(narrow))}) {
    const Checkpoint checkpoint =
        open_tied(folder, {{"model.embed_tokens.weight", table}, {"lm_head.weight", head}});
    EXPECT_FALSE(checkpoint.has_own_head());
    EXPECT_EQ(checkpoint.names(), std::vector<std::string>{"model.embed_tokens.weight"});
  }
}

TEST(Checkpoint, OfATiedModelKeepsAHeadThatDiffersInAValueOrItsShape) {
  const TestFolder folder;
  const Tensor table = Tensor::of({2, 1}, std::vector<float>{1, -2});
  for (const Tensor& head : {Tensor::of({2, 1}, std::vector<float>{1, 2}),
                             Tensor::of({1, 2}, std::vector<float>{1, -2})})
    EXPECT_TRUE(open_tied(folder, {{"model.embed_tokens.weight", table}, {"lm_head.weight", head}})
                    .has_own_head());
}

TEST(Checkpoint, OfAModelThatIsNotTiedNeedsItsHead) {
  const TestFolder folder;
  const Tensor table = Tensor::of({2, 1}, std::vector<float>{1, -2});
  const Checkpoint checkpoint =
      open_tied(folder, {{"model.embed_tokens.weight", table}}, Json::object());
  EXPECT_TRUE(checkpoint.has_own_head());
  EXPECT_REFUSED(checkpoint.get(std::string(kHeadName)), "has no tensor lm_head.weight");
}

TEST(Checkpoint, ReadsTheNamesOfADecoderWithoutAHeadAsThoseOfAModelWithOne) {
  const TestFolder folder;
  const Tensor x = row_of({1});
  const Checkpoint checkpoint = open_tied(
      folder, {{"embed_tokens.weight", x}, {"layers.0.mlp.up_proj.weight", x}, {"norm.weight", x}});
  EXPECT_EQ(checkpoint.names(),
            (std::vector<std::string>{"model.embed_tokens.weight",
                                      "model.layers.0.mlp.up_proj.weight", "model.norm.weight"}));
  EXPECT_EQ(checkpoint.get("model.norm.weight").size(), 1);
  EXPECT_EQ(checkpoint.stored("model.norm.weight").type, "F32");
}

TEST(Checkpoint, RefusesATensorThatIsThereWithThePrefixAndWithout) {
  const TestFolder folder;
  const Tensor x = row_of({1});
  EXPECT_REFUSED(open_tied(folder, {{"norm.weight", x}, {"model.norm.weight", x}}),
                 folder.path().string(), "both the tensor model.norm.weight and norm.weight");
}

TEST(Checkpoint, HasTheTypeOfItsEmbeddingWhereItsConfigNamesNone) {
  const TestFolder folder;
  const std::vector<std::pair<std::string, Tensor>> tensors = {
      {"embed_tokens.weight", row_of({1})}};
  EXPECT_EQ(open_tied(folder, tensors, {{"torch_dtype", "auto"}}).config().dtype, DType::kF32);
  EXPECT_EQ(open_tied(folder, tensors, Json::object()).config().dtype, DType::kF32);
  EXPECT_EQ(open_tied(folder, tensors, {{"dtype", "float16"}}).config().dtype, DType::kF16);
}

TEST(Checkpoint, ReadsTheNameThatItsQuantizationHadIn2024) {
  const TestFolder folder;
  fs::copy(golden_folder("ct_w4afp8"), folder.path(), fs::copy_options::recursive);
  Json config = read_json(folder.path() / "config.json");
  config["compression_config"] = config["quantization_config"];
  config["compression_config"]["sparsity_config"] = {{"format", "dense"}};
  config.erase("quantization_config");
  folder.write("config.json", config.dump());
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  EXPECT_TRUE(checkpoint.is_quantized());
  expect_golden(checkpoint, kQ, 5, 128, {.bits = 4, .group_size = 128});
}

TEST(Checkpoint, NamesAGitLfsPointerInPlaceOfAnyOfItsFiles) {
  constexpr std::string_view kPointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
  for (const char* name : {"config.json", "model.safetensors"}) {
    const TestFolder folder;
    open_tied(folder, {{"embed_tokens.weight", row_of({1})}});
    const fs::path path = folder.write(name, kPointer);
    EXPECT_REFUSED(Checkpoint::open(folder.path()), path.string() + " is a Git LFS pointer");
  }
}

TEST(Checkpoint, RefusesAFolderWithoutConfig) {
  EXPECT_REFUSED(Checkpoint::open("/nowhere"), "cannot open /nowhere/config.json");
}

TEST(Checkpoint, RefusesAFolderWithoutWeights) {
  const TestFolder folder;
  folder.write("config.json", small_config().dump());
  EXPECT_REFUSED(Checkpoint::open(folder.path()), folder.path(),
                 "holds neither model.safetensors nor model.safetensors.index.json");
}

// What open() says of an index that puts tensor "a" into `file`; part.safetensors holds "b".
std::string refusal_of_index(const std::string& file) {
  const TestFolder folder;
  folder.write("config.json", small_config().dump());
  folder.write("model.safetensors.index.json", Json{{"weight_map", {{"a", file}}}}.dump());
  write_safetensors(folder.path() / "part.safetensors", {{"b", row_of({1})}});
  return refusal([&] { Checkpoint::open(folder.path()); });
}

TEST(Checkpoint, NamesAMissingShard) {
  EXPECT_TRUE(contains(refusal_of_index("gone.safetensors"), "/gone.safetensors: No such file"));
}

TEST(Checkpoint, NamesATensorThatIsNotInItsShard) {
  const std::string said = refusal_of_index("part.safetensors");
  EXPECT_TRUE(contains(said, "part.safetensors has no tensor a"));
  EXPECT_TRUE(contains(said, "model.safetensors.index.json"));
}

TEST(Checkpoint, RefusesShardsOutsideTheFolder) {
  for (const char* file :
       {"../part.safetensors", "/etc/passwd", "x/../part.safetensors", "..", ".", "", "x/"}) {
    const std::string said = refusal_of_index(file);
    EXPECT_TRUE(contains(said, "model.safetensors.index.json: weight_map.a")) << file;
  }
}

TEST(Checkpoint, NamesAMissingTensor) {
  const QuantizedFolder broken;
  EXPECT_REFUSED(broken.open().get("model.norm.weight"), broken.folder.path(),
                 "has no tensor model.norm.weight");
}

TEST(Checkpoint, NamesTheShapeItExpectsAndTheOneItGot) {
  QuantizedFolder folder;
  folder.tensors.emplace_back("norm", row_of({1, 2}));
  EXPECT_REFUSED(folder.open().get("norm", {3}), "norm must be BF16 or F16 or F32 [3]",
                 "got F32 [2, 1]");
}

TEST(Checkpoint, RefusesAPlainWeightOfAnotherType) {
  QuantizedFolder folder;
  const std::array<int64_t, 2> values = {1, 2};
  folder.tensors.emplace_back("norm",
                              Tensor::copy_of(DType::kI64, {2}, std::span<const int64_t>(values)));
  EXPECT_REFUSED(folder.open().get("norm", {2}), "norm must be BF16 or F16 or F32", "got I64 [2]");
}

TEST(Checkpoint, RefusesWeightsThatAreNotFinite) {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    QuantizedFolder folder;
    folder.tensors.emplace_back("norm", row_of({1, value}));
    EXPECT_REFUSED(folder.open().get("norm", {2, 1}), folder.folder.path(),
                   "norm is NaN or infinite at element 1");
  }
}

TEST(Checkpoint, FindsAnInfinityAtTheEndOfALongTensorOfEachType) {
  const auto refusal_of = [](DType dtype, auto one, auto infinity) {
    std::vector values(10000, one);
    values.back() = infinity;
    QuantizedFolder folder;
    folder.tensors.emplace_back(
        "norm", Tensor::copy_of(dtype, {10000}, std::span<const decltype(one)>(values)));
    return refusal([&] { folder.open().get("norm", {10000}); });
  };
  for (const std::string& said : {refusal_of(DType::kF32, 0x3f800000u, 0x7f800000u),
                                  refusal_of(DType::kF16, uint16_t(0x3c00), uint16_t(0xfc00)),
                                  refusal_of(DType::kBF16, uint16_t(0x3f80), uint16_t(0x7f80))})
    EXPECT_TRUE(contains(said, "norm is NaN or infinite at element 9999"));
}

TEST(QuantizedWeight, RefusesTheShapeOfAnotherLinear) {
  const QuantizedFolder folder;
  EXPECT_REFUSED(folder.open().linear(kQ, 4, 128), "weight_shape must be [4, 128]", "got [3, 128]");
}

TEST(QuantizedWeight, RefusesInputsThatGroupsDoNotDivide) {
  const QuantizedFolder folder;
  EXPECT_REFUSED(folder.open().linear(kQ, 3, 100), kQ, "100 inputs", "group size 128");
}

TEST(QuantizedWeight, RefusesCodesOfAnotherShapeOrType) {
  QuantizedFolder folder;
  folder.replace(".weight_packed", row_of({1, 2, 3}));
  EXPECT_REFUSED(folder.read(), "q_proj.weight_packed must be I32 [3, 16]", "got F32 [3, 1]");
}

TEST(QuantizedWeight, TellsOldSixBitPackingFromTheDense) {
  QuantizedFolder folder(6);
  EXPECT_TRUE(folder.read().has_value());
  const std::vector<int32_t> words(3 * 26);  // ceil(128 / 5)
  folder.replace(".weight_packed",
                 Tensor::copy_of(DType::kI32, {3, 26}, std::span<const int32_t>(words)));
  EXPECT_REFUSED(folder.read(), "q_proj.weight_packed has 5 codes in a word", "before 0.17");
}

TEST(QuantizedWeight, RefusesScalesOfAnotherShape) {
  QuantizedFolder folder;
  folder.replace(".weight_scale", Tensor::of({3, 2}, std::vector<float>(6, 1.0f)));
  EXPECT_REFUSED(folder.read(), "q_proj.weight_scale must be", "[3, 1], got F32 [3, 2]");
}

TEST(QuantizedWeight, RefusesScalesThatAreNegativeOrNotFinite) {
  for (const float value :
       {-1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    QuantizedFolder folder;
    folder.replace(".weight_scale", row_of({1, value, 1}));
    EXPECT_REFUSED(folder.read(), folder.folder.path(), "q_proj.weight_scale", "[1, 0]");
  }
}

TEST(QuantizedWeight, RefusesTensorsThatContradictTheConfiguration) {
  for (const char* suffix : {".weight_zero_point", ".weight_g_idx"}) {
    QuantizedFolder folder;
    folder.tensors.emplace_back(kQ + suffix, row_of({0}));
    EXPECT_REFUSED(folder.read(), kQ + suffix, "config.json");
  }
}

TEST(QuantizedWeight, NamesTheTensorItLacks) {
  QuantizedFolder folder;
  folder.tensors.erase(folder.tensors.begin());
  EXPECT_REFUSED(folder.read(), "has no tensor", "q_proj.weight_packed");
}

TEST(QuantizedWeight, RefusesInt8CodesThatDoNotFit) {
  const TestFolder folder;
  Json quantization = quantization_config({{kQ, {}}}, {});
  quantization["config_groups"]["group_0"]["format"] = "int-quantized";
  folder.write("config.json", small_config({{"quantization_config", quantization}}).dump());
  std::vector<int8_t> codes(128, -8);
  codes[5] = 8;
  write_safetensors(
      folder.path() / "model.safetensors",
      {{kQ + ".weight", Tensor::copy_of(DType::kI8, {1, 128}, std::span<const int8_t>(codes))},
       {kQ + ".weight_scale", row_of({1})}});
  EXPECT_REFUSED(Checkpoint::open(folder.path()).linear(kQ, 1, 128),
                 "q_proj.weight holds 8 at [0, 5], which 4 bits do not");
}

// The same folder with an emberq.json.
std::optional<QuantizedLinear> read_with(const QuantizedFolder& folder, const Json& emberq_config) {
  Json json = emberq_config;
  json["format_version"] = 1;
  folder.folder.write("emberq.json", json.dump());
  return folder.read();
}

TEST(CheckpointEmberqConfig, GivesTheProductAndItsScale) {
  QuantizedFolder folder;
  folder.replace(".weight_scale", row_of({1.875f / 16, 448.0f / 16, 0x1p-9f / 16}));
  const auto linear = read_with(folder, {{"dequant_dtype", "e4m3"}, {"global_scale", {{kQ, 16}}}});
  EXPECT_EQ(linear->weight.scheme.dequant, Dequant::kE4m3);
  EXPECT_EQ(linear->weight.global_scale, 16);
  EXPECT_EQ(folder.open().linear_scheme(kQ)->weight.dequant, Dequant::kE4m3);
}

TEST(CheckpointEmberqConfig, RefusesScalesThatAreNoE4m3NumbersOverP) {
  for (const float scaled : {1.0625f, 480.0f, 0x1p-10f}) {
    QuantizedFolder folder;
    folder.replace(".weight_scale", row_of({0.5f, scaled / 2, 0.5f}));
    EXPECT_REFUSED(read_with(folder, {{"dequant_dtype", "e4m3"}, {"global_scale", {{kQ, 2}}}}),
                   "q_proj.weight_scale must hold e4m3 numbers over 2", "[1, 0]");
  }
}

TEST(CheckpointEmberqConfig, RefusesAProductWithoutCodes) {
  const TestFolder folder;
  folder.write("config.json", small_config().dump());
  folder.write("emberq.json", R"({"format_version":1,"dequant_dtype":"e4m3"})");
  write_safetensors(folder.path() / "model.safetensors", {{"a", row_of({1})}});
  EXPECT_REFUSED(Checkpoint::open(folder.path()), "emberq.json: dequant_dtype");
}

TEST(CheckpointEmberqConfig, RefusesAPerTensorScaleOfNoLinear) {
  const QuantizedFolder folder;
  EXPECT_REFUSED(read_with(folder, {{"dequant_dtype", "e4m3"}, {"global_scale", {{kO, 2}}}}),
                 "emberq.json: global_scale names model.layers.0.self_attn.o_proj");
}

Json post_rope(const Json& layers) {
  return {{"attention", {{"kv", "int4-head"}, {"query", "fp8-head"}, {"post_rope_scale", layers}}}};
}
Json head(int channel) { return {{"channels", {channel}}, {"scale", {0.5}}}; }

TEST(CheckpointEmberqConfig, GivesTheAttentionScheme) {
  const QuantizedFolder folder;
  read_with(folder, post_rope(Json::array({Json::array({head(63), head(0)})})));
  const AttentionScheme attention = folder.open().attention();
  EXPECT_EQ(attention.kv, KvScheme::kInt4Head);
  EXPECT_EQ(attention.query, QueryScheme::kFp8Head);
  EXPECT_EQ(attention.post_rope[0][0].channels, (std::vector<int>{63}));
}

TEST(CheckpointEmberqConfig, RefusesScalesForAnotherModelsLayersHeadsOrChannels) {
  const QuantizedFolder folder;
  const Json layer = Json::array({head(1), head(1)});
  EXPECT_REFUSED(read_with(folder, post_rope(Json::array({layer, layer}))),
                 "emberq.json: attention.post_rope_scale is for 2 layers, the model has 1");
  EXPECT_REFUSED(read_with(folder, post_rope(Json::array({Json::array({head(1)})}))),
                 "post_rope_scale[0] is for 1 KV heads, the model has 2");
  EXPECT_REFUSED(read_with(folder, post_rope(Json::array({Json::array({head(64), head(1)})}))),
                 "post_rope_scale[0] names channel 64 of a head that has 64");
}

}  // namespace
}  // namespace emberq::checkpoint_test
