#include "quant/checkpoint_writer.h"

#include <functional>
#include <set>

#include "base/check.h"
#include "base/json.h"
#include "checkpoint/compressed_tensors/write.h"
#include "checkpoint/output_folder.h"
#include "quant/layer/merged_tensors.h"

namespace emberq {
namespace {

constexpr size_t kBlockHeaderBytes = 64 << 10;

void add_block(ShardWriter& writer, const Checkpoint& original, int64_t layer,
               const QuantizedBlock& block) {
  for_each_parameter(
      block.dense, layer,
      [&](const Parameter& parameter, const std::string& name, const std::vector<double>& values) {
        const auto& weight = block.weights[size_t(parameter.module)];
        if (parameter.kind != ParameterKind::kWeight || !weight)
          return writer.add(name, merged_tensor(original.get(name), values));
        for (const auto& [part, tensor] :
             quantized_tensors(linear_name(layer, parameter.module), *weight))
          writer.add(part, tensor);
      });
}

// The names that write_block() has written of the original's, whatever they are called now.
std::set<std::string> block_parameters(const ModelConfig& config) {
  std::set<std::string> names;
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (const Parameter& parameter : layer_parameters())
      names.insert(layer_tensor(layer, parameter.name));
  return names;
}

}  // namespace

CheckpointWriter::CheckpointWriter(const Checkpoint& original, const fs::path& folder,
                                   const Recipe& recipe, const Plan& plan, int64_t down_hadamard,
                                   RunNotes& notes)
    : original_(original),
      folder_(folder),
      recipe_(recipe),
      plan_(plan),
      down_hadamard_(down_hadamard),
      notes_(notes) {
  for (int64_t layer = 0; layer < finished_blocks(); ++layer)
    EMBERQ_REQUIRE(file_exists(shard(layer)),
                   "{} is of a run that finished block {}, but there is no {}", folder_.string(),
                   layer, shard(layer).string());
}

fs::path CheckpointWriter::shard(int64_t index) const {
  return folder_ / shard_name(index, original_.config().num_layers + 1);
}

Checkpoint CheckpointWriter::finished() const {
  index_shards(finished_blocks());
  write_around(false);
  return Checkpoint::open(folder_);
}

void CheckpointWriter::write_shard(int64_t index, size_t header_bytes,
                                   const std::function<void(ShardWriter&)>& fill) const {
  const fs::path partial = shard(index).string() + ".partial";
  ShardWriter writer(partial, header_bytes);
  fill(writer);
  writer.finish();
  rename_file(partial, shard(index));
}

void CheckpointWriter::write_block(int64_t layer, const QuantizedBlock& block) {
  EmberqConfig part{.attention = attention_scheme(recipe_)};
  append_attention(block, part.attention);
  for (const Projection module : kProjections) {
    const auto& weight = block.weights[size_t(module)];
    if (!weight) continue;
    if (weight->scheme.dequant != Dequant::kExact) part.dequant = weight->scheme.dequant;
    if (weight->global_scale != 1)
      part.global_scale[linear_name(layer, module)] = weight->global_scale;
  }
  write_shard(layer, kBlockHeaderBytes,
              [&](ShardWriter& writer) { add_block(writer, original_, layer, block); });
  notes_.add(std::move(part));
}

EmberqConfig CheckpointWriter::emberq_config() const {
  EmberqConfig result{.recipe = to_json(recipe_).dump(),
                      .attention = attention_scheme(recipe_),
                      .down_hadamard = int(down_hadamard_)};
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (const EmberqConfig& block : notes_.blocks()) {
    if (block.dequant != Dequant::kExact) result.dequant = block.dequant;
    result.global_scale.insert(block.global_scale.begin(), block.global_scale.end());
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

void CheckpointWriter::index_shards(int64_t count) const {
  std::vector<std::string> files;
  for (int64_t i = 0; i < count; ++i) files.push_back(shard(i).filename().string());
  write_index(folder_, files);
}

void CheckpointWriter::write_around(bool untied) const {
  std::vector<std::pair<std::string, LinearScheme>> linears;
  std::vector<std::string> ignored;
  for (int64_t layer = 0; layer < original_.config().num_layers; ++layer)
    for (const Projection module : kProjections) {
      const auto& scheme = plan_.weights[size_t(layer)][size_t(module)];
      if (scheme)
        linears.emplace_back(
            linear_name(layer, module),
            LinearScheme{*scheme, plan_.activations[size_t(layer)][size_t(input_of(module))]});
      else
        ignored.push_back(linear_name(layer, module));
    }
  if (recipe_.lm_head)
    linears.emplace_back(kHeadModule, LinearScheme{*recipe_.lm_head});
  else
    ignored.emplace(ignored.begin(), kHeadModule);
  OrderedJson changes = OrderedJson::object();
  if (untied && original_.config().tie_word_embeddings) changes["tie_word_embeddings"] = false;
  if (!linears.empty())
    changes["quantization_config"] = quantization_config(linears, ignored, down_hadamard_ > 0);
  write_config(original_.folder(), folder_, changes);
  write_text(folder_ / kEmberqConfigName, to_json(emberq_config()).dump() + "\n");
}

void CheckpointWriter::write_rest(const LayerQuantizer& quantizer) const {
  const bool rotated = recipe_.rotation.residual, own_head = rotated || recipe_.lm_head;
  const std::set<std::string> in_blocks = block_parameters(original_.config());
  std::vector<std::string> rest;
  size_t header_bytes = kBlockHeaderBytes;
  for (const std::string& name : original_.names()) {
    if (in_blocks.contains(name) || (own_head && name == kHeadName)) continue;
    if (rotated && (name == kEmbeddingName || name == kFinalNormName)) continue;
    rest.push_back(name);
    header_bytes += max_entry_bytes(name, original_.stored(name));
  }
  header_bytes = (header_bytes + 7) / 8 * 8;
  write_shard(original_.config().num_layers, header_bytes, [&](ShardWriter& writer) {
    for (const std::string& name : rest) writer.add(name, original_.stored(name));
    if (recipe_.lm_head)
      for (const auto& [name, tensor] :
           quantized_tensors(std::string(kHeadModule), quantizer.quantized_head()))
        writer.add(name, tensor);
    if (!rotated) return;
    const int64_t hidden = original_.config().hidden_size;
    writer.add(std::string(kEmbeddingName), quantizer.embedding());
    if (!recipe_.lm_head) writer.add(std::string(kHeadName), quantizer.head());
    writer.add(std::string(kFinalNormName),
               Tensor::of({hidden}, std::vector<float>(size_t(hidden), 1.0f)));
  });
}

Checkpoint CheckpointWriter::finish(const LayerQuantizer& quantizer) {
  write_rest(quantizer);
  index_shards(original_.config().num_layers + 1);
  write_around(recipe_.rotation.residual || recipe_.lm_head || original_.has_own_head());
  Checkpoint made = Checkpoint::open(folder_);
  // As a reader sees it, every tensor of the original is there, as it was or in codes.
  const auto in_codes = [&](const std::string& name) {
    return name.ends_with(kWeightSuffix) &&
           made.has(name.substr(0, name.size() - kWeightSuffix.size()) +
                    std::string(kPackedSuffix));
  };
  for (const std::string& name : original_.names())
    EMBERQ_CHECK(made.has(name) || in_codes(name), "{} has no tensor {}", folder_.string(), name);
  return made;
}

std::vector<std::string> CheckpointWriter::global_scaled() const {
  std::vector<std::string> names;
  for (const EmberqConfig& block : notes_.blocks())
    for (const auto& [name, p] : block.global_scale) names.push_back(name);
  return names;
}

}  // namespace emberq
