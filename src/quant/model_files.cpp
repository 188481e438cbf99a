#include "quant/model_files.h"

#include <functional>
#include <limits>
#include <set>

#include "base/check.h"
#include "checkpoint/output_folder.h"
#include "quant/merged_tensors.h"

namespace emberq {
namespace {

constexpr std::string_view kAboutFile = "quantize.json";
constexpr std::string_view kWorkFolder = "shard";
constexpr SafetensorsWriterOptions kOneShard = {
    .max_shard_bytes = std::numeric_limits<uint64_t>::max(), .header_bytes = 64 << 10};

void add_block(SafetensorsWriter& writer, const Checkpoint& original, int64_t layer,
               const QuantizedBlock& block) {
  for_each_parameter(block.dense, layer,
                     [&](const std::string& name, const std::vector<double>& values) {
                       for (const Module module : kModules) {
                         const auto& weight = block.weights[size_t(module)];
                         if (weight && name == linear_name(layer, module) + ".weight")
                           return add_quantized_weight(writer, linear_name(layer, module), *weight);
                       }
                       writer.add(name, merged_tensor(original.get(name), values));
                     });
}

// The names that write_block() has written of the original's, whatever they are called now.
std::set<std::string> block_parameters(const ModelConfig& config) {
  std::set<std::string> names;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    for (const std::string_view norm : {"input_layernorm.weight", "post_attention_layernorm.weight",
                                        "self_attn.q_norm.weight", "self_attn.k_norm.weight"})
      names.insert(layer_tensor(layer, norm));
    for (const Module module : kModules)
      for (const std::string_view part : {".weight", ".bias"})
        names.insert(linear_name(layer, module) + std::string(part));
  }
  return names;
}

}  // namespace

ModelFiles::ModelFiles(const Checkpoint& original, const fs::path& folder, const Recipe& recipe,
                       const Plan& plan, int64_t down_hadamard)
    : original_(original),
      folder_(folder),
      recipe_(recipe),
      plan_(plan),
      down_hadamard_(down_hadamard) {}

fs::path ModelFiles::shard(int64_t index) const {
  return folder_ / fmt::format("model-{:05}-of-{:05}.safetensors", index + 1,
                               original_.config().num_layers + 1);
}
fs::path ModelFiles::block_file(int64_t layer) const {
  return folder_ / fmt::format("block-{:05}.json", layer + 1);
}

int64_t ModelFiles::resume(const OrderedJson& about) {
  const fs::path file = folder_ / kAboutFile;
  if (!fs::exists(file)) {
    write_file_atomically(file, about.dump(1) + "\n");
    return 0;
  }
  const std::string before = Json(read_json(file)).dump(), now = Json(about).dump();
  EMBERQ_REQUIRE(before == now, "{} was made with {}, not with {}", folder_.string(), before, now);
  fs::remove_all(folder_ / kWorkFolder);
  int64_t layer = 0;
  for (; layer < original_.config().num_layers && fs::exists(shard(layer)); ++layer)
    blocks_.push_back(
        parse_side_file(read_ordered_json(block_file(layer)), block_file(layer).string()));
  return layer;
}

Checkpoint ModelFiles::finished() const {
  write_index(int64_t(blocks_.size()));
  write_around(false);
  return Checkpoint::open(folder_);
}

void ModelFiles::write_shard(int64_t index,
                             const std::function<void(SafetensorsWriter&)>& fill) const {
  const fs::path work = folder_ / kWorkFolder;
  fs::create_directory(work);
  SafetensorsWriter writer(work, kOneShard);
  fill(writer);
  writer.finish();
  rename_file(work / "model.safetensors", shard(index));
  fs::remove(work);
}

void ModelFiles::write_block(int64_t layer, const QuantizedBlock& block) {
  SideFile part{.attention = attention_scheme(recipe_)};
  append_attention(block, part.attention);
  for (const Module module : kModules) {
    const auto& weight = block.weights[size_t(module)];
    if (!weight) continue;
    if (weight->scheme.product != WeightProduct::kExact) part.product = weight->scheme.product;
    if (weight->per_tensor_scale != 1)
      part.per_tensor_scale[linear_name(layer, module)] = weight->per_tensor_scale;
  }
  write_file_atomically(block_file(layer), to_json(part).dump() + "\n");
  write_shard(layer,
              [&](SafetensorsWriter& writer) { add_block(writer, original_, layer, block); });
  blocks_.push_back(std::move(part));
}

SideFile ModelFiles::side_file() const {
  SideFile result{.recipe = to_json(recipe_),
                  .attention = attention_scheme(recipe_),
                  .down_hadamard = int(down_hadamard_)};
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (const SideFile& block : blocks_) {
    if (block.product != WeightProduct::kExact) result.product = block.product;
    result.per_tensor_scale.insert(block.per_tensor_scale.begin(), block.per_tensor_scale.end());
    append(result.attention.post_rope, block.attention.post_rope);
    append(result.attention.key_mean, block.attention.key_mean);
    append(result.attention.value_mean, block.attention.value_mean);
  }
  // Until all blocks are there, the first stands in for those that are not.
  const auto fill = [&](auto& lists) {
    if (!lists.empty()) lists.resize(size_t(original_.config().num_layers), lists.front());
  };
  fill(result.attention.post_rope);
  fill(result.attention.key_mean);
  fill(result.attention.value_mean);
  return result;
}

void ModelFiles::write_index(int64_t shards) const {
  Json weight_map;
  uint64_t bytes = 0;
  for (int64_t i = 0; i < shards; ++i) {
    const SafetensorsFile file(shard(i));
    for (const std::string& name : file.names()) {
      weight_map[name] = shard(i).filename().string();
      bytes += file.stored(name).bytes.size();
    }
  }
  const Json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}};
  write_text(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
}

void ModelFiles::write_around(bool untied) const {
  std::vector<std::pair<std::string, LinearScheme>> linears;
  std::vector<std::string> ignored = {"lm_head"};
  for (int64_t layer = 0; layer < original_.config().num_layers; ++layer)
    for (const Module module : kModules) {
      const auto& scheme = plan_.weights[size_t(layer)][size_t(module)];
      if (scheme)
        linears.emplace_back(
            linear_name(layer, module),
            LinearScheme{*scheme, plan_.activations[size_t(layer)][size_t(site_of(module))]});
      else
        ignored.push_back(linear_name(layer, module));
    }
  OrderedJson changes = OrderedJson::object();
  if (untied && original_.config().tie_word_embeddings) changes["tie_word_embeddings"] = false;
  if (!linears.empty())
    changes["quantization_config"] = quantization_config(linears, ignored, down_hadamard_ > 0);
  write_config(original_.folder(), folder_, changes);
  write_text(folder_ / kSideFileName, to_json(side_file()).dump() + "\n");
}

void ModelFiles::finish(const BlockQuantizer& quantizer) {
  const int64_t layers = original_.config().num_layers;
  const bool rotated = recipe_.rotation.residual;
  const std::set<std::string> in_blocks = block_parameters(original_.config());
  write_shard(layers, [&](SafetensorsWriter& writer) {
    for (const std::string& name : original_.names()) {
      if (in_blocks.contains(name)) continue;
      if (rotated && (name == kEmbeddingName || name == kHeadName || name == "model.norm.weight"))
        continue;
      writer.add(name, original_.stored(name));
    }
    if (!rotated) return;
    const int64_t hidden = original_.config().hidden_size;
    writer.add(std::string(kEmbeddingName), quantizer.embedding());
    writer.add(std::string(kHeadName), quantizer.head());
    writer.add("model.norm.weight", Tensor::of({hidden}, std::vector<float>(size_t(hidden), 1.0f)));
  });
  write_index(layers + 1);
  write_around(rotated || original_.has_own_head());
  copy_companion_files(original_.folder(), folder_);
  for (int64_t layer = 0; layer < layers; ++layer) fs::remove(block_file(layer));
  fs::remove(folder_ / kAboutFile);
}

double ModelFiles::bits_per_weight() const {
  const ModelConfig& config = original_.config();
  double bytes = 0, weights = 0;
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const SafetensorsFile file(shard(layer));
    for (const Module module : kModules) {
      const std::string prefix = linear_name(layer, module) + ".weight";
      weights += double(outputs(config, module) * inputs(config, module));
      for (const std::string& name : file.names())
        if (name.starts_with(prefix) && !name.ends_with("_shape"))
          bytes += double(file.get(name).bytes().size());
    }
  }
  return 8 * bytes / weights;
}

std::vector<std::string> ModelFiles::per_tensor_scaled() const {
  std::vector<std::string> names;
  for (const SideFile& block : blocks_)
    for (const auto& [name, p] : block.per_tensor_scale) names.push_back(name);
  return names;
}

}  // namespace emberq
