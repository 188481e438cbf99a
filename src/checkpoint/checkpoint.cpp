#include "checkpoint/checkpoint.h"

#include <algorithm>

#include "base/check.h"
#include "base/json.h"
#include "base/warning.h"
#include "checkpoint/compressed_tensors/read.h"
#include "checkpoint/shard_writer.h"

namespace emberq {
namespace {

// Shards lie in the folder itself: a name that leads elsewhere is refused.
bool is_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && fs::path(name).filename() == name;
}

// `to` is not there.
template <class Map>
void rename_key(Map& map, const std::string& from, const std::string& to) {
  auto node = map.extract(from);
  node.key() = to;
  map.insert(std::move(node));
}

bool is_plain(const StoredTensor& tensor) {
  return std::ranges::find(kPlainTypes, dtype_from_name(tensor.type)) != kPlainTypes.end();
}

// config.json's quantization_config, which compressed-tensors called compression_config until 2024.
std::optional<QuantizationConfig> parse_quantization(const JsonObject& config) {
  for (const std::string_view key : {"quantization_config", "compression_config"})
    if (config.has(key)) return QuantizationConfig::parse(config.object(key));
  return std::nullopt;
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& folder) {
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  const fs::path path = folder / "config.json";
  const Json config = read_json(path);
  checkpoint.config_ = parse_config(config, path.string());
  checkpoint.open_weights();
  checkpoint.add_prefixes();
  checkpoint.settle_head();
  checkpoint.settle_dtype();
  checkpoint.quantization_ = parse_quantization(JsonObject(config, path.string()));
  const fs::path emberq_config = folder / kEmberqConfigName;
  if (file_exists(emberq_config)) {
    checkpoint.emberq_config_ =
        parse_emberq_config(read_ordered_json(emberq_config), emberq_config.string());
    checkpoint.check_emberq_config(emberq_config.string());
  }
  return checkpoint;
}

void Checkpoint::open_weights() {
  const fs::path single = folder_ / "model.safetensors";
  const fs::path index_path = folder_ / kIndexName;
  if (file_exists(single)) {
    files_.emplace_back(single);
    for (const std::string& name : files_[0].names()) place_of_[name] = {0, name};
    return;
  }
  EMBERQ_REQUIRE(file_exists(index_path),
                 "{} holds neither model.safetensors nor model.safetensors.index.json",
                 folder_.string());
  const Json json = read_json(index_path);
  const JsonObject weight_map = JsonObject(json, index_path.string()).object("weight_map");
  std::map<std::string, size_t> opened;
  for (const auto& [tensor, value] : weight_map.json().items()) {
    const std::string name = weight_map.get<std::string>(tensor);
    if (!is_file_name(name)) weight_map.reject(tensor, "must be the name of a file in the folder");
    const auto [file, is_new] = opened.emplace(name, files_.size());
    if (is_new) files_.emplace_back(folder_ / name);
    EMBERQ_REQUIRE(files_[file->second].has(tensor), "{} has no tensor {}, which {} puts there",
                   (folder_ / name).string(), tensor, index_path.string());
    place_of_[tensor] = {file->second, tensor};
  }
}

void Checkpoint::add_prefixes() {
  for (const std::string& name : names()) {
    if (!name.starts_with("embed_tokens.") && !name.starts_with("layers.") &&
        !name.starts_with("norm."))
      continue;
    const std::string full = "model." + name;
    EMBERQ_REQUIRE(!has(full), "{} has both the tensor {} and {}", folder_.string(), full, name);
    rename_key(place_of_, name, full);
  }
}

void Checkpoint::settle_head() {
  const std::string embedding(kEmbeddingName), head(kHeadName);
  if (!config_.tie_word_embeddings || !has(head)) return;
  if (!has(embedding)) {
    rename_key(place_of_, head, embedding);
    return;
  }
  const StoredTensor a = stored(embedding), b = stored(head);
  const bool same_bytes =
      a.type == b.type && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
  if (same_bytes || (a.shape == b.shape && is_plain(a) && is_plain(b) &&
                     get(embedding).to_float() == get(head).to_float())) {
    place_of_.erase(head);
    return;
  }
  warn(fmt::format("{}: tie_word_embeddings is true, but {} and {} differ: both are used as stored",
                   (folder_ / "config.json").string(), embedding, head));
}

void Checkpoint::settle_dtype() {
  if (config_.dtype || !has(std::string(kEmbeddingName))) return;
  const StoredTensor embedding = stored(std::string(kEmbeddingName));
  if (is_plain(embedding)) config_.dtype = dtype_from_name(embedding.type);
}

// What parse_emberq_config() could not know.
void Checkpoint::check_emberq_config(const std::string& where) const {
  const auto with_product = [](const auto& group) {
    return can_dequantize_to_e4m3(group.scheme.weight);
  };
  EMBERQ_REQUIRE(
      emberq_config_.dequant == Dequant::kExact ||
          (quantization_ && std::ranges::any_of(quantization_->groups(), with_product)),
      "{}: dequant_dtype has no meaning where config.json's quantization_config has no INT4 or "
      "LUT4 in groups",
      where);
  for (const auto& [module, p] : emberq_config_.global_scale) {
    const auto scheme = linear_scheme(module);
    EMBERQ_REQUIRE(
        scheme && can_dequantize_to_e4m3(scheme->weight) && has(module + std::string(kScaleSuffix)),
        "{}: global_scale names {}, which is not a linear in INT4 or LUT4 in groups", where,
        module);
  }
  const int block = emberq_config_.down_hadamard;
  EMBERQ_REQUIRE(block == 0 || config_.intermediate_size % block == 0,
                 "{}: down_hadamard is {}, which does not divide the model's intermediate_size {}",
                 where, block, config_.intermediate_size);
  check_attention(where);
}

void Checkpoint::check_attention(const std::string& where) const {
  const AttentionScheme& attention = emberq_config_.attention;
  const auto check_layers = [&](std::string_view key, size_t layers) {
    EMBERQ_REQUIRE(layers == 0 || int64_t(layers) == config_.num_layers,
                   "{}: attention.{} is for {} layers, the model has {}", where, key, layers,
                   config_.num_layers);
  };
  const auto check_mean = [&](std::string_view key, const auto& layers) {
    check_layers(key, layers.size());
    const int64_t size = config_.num_kv_heads * config_.head_dim;
    for (size_t layer = 0; layer < layers.size(); ++layer)
      EMBERQ_REQUIRE(int64_t(layers[layer].size()) == size,
                     "{}: attention.{}[{}] is of {} numbers, the model's KV heads have {} channels",
                     where, key, layer, layers[layer].size(), size);
  };
  check_mean("key_mean", attention.key_mean);
  check_mean("value_mean", attention.value_mean);

  check_layers("post_rope_scale", attention.post_rope.size());
  for (size_t layer = 0; layer < attention.post_rope.size(); ++layer) {
    const auto& heads = attention.post_rope[layer];
    EMBERQ_REQUIRE(int64_t(heads.size()) == config_.num_kv_heads,
                   "{}: attention.post_rope_scale[{}] is for {} KV heads, the model has {}", where,
                   layer, heads.size(), config_.num_kv_heads);
    for (const PostRopeScale& head : heads)
      for (const int channel : head.channels)
        EMBERQ_REQUIRE(channel < config_.head_dim,
                       "{}: attention.post_rope_scale[{}] names channel {} of a head that has {}",
                       where, layer, channel, config_.head_dim);
  }
}

uint64_t Checkpoint::file_bytes() const {
  uint64_t bytes = 0;
  for (const SafetensorsFile& file : files_) bytes += file.file_bytes();
  return bytes;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : place_of_) names.push_back(name);
  return names;
}

const Checkpoint::Place& Checkpoint::place(const std::string& name) const {
  const auto found = place_of_.find(name);
  EMBERQ_REQUIRE(found != place_of_.end(), "{} has no tensor {}", folder_.string(), name);
  return found->second;
}

Tensor Checkpoint::get(const std::string& name) const {
  const Place& found = place(name);
  return files_[found.file].get(found.name);
}

StoredTensor Checkpoint::stored(const std::string& name) const {
  const Place& found = place(name);
  return files_[found.file].stored(found.name);
}

Tensor Checkpoint::get(const std::string& name, std::span<const DType> types,
                       const std::vector<int64_t>& shape) const {
  Tensor tensor = get(name);
  std::vector<std::string_view> type_names;
  for (const DType type : types) type_names.push_back(emberq::name(type));
  EMBERQ_REQUIRE(std::ranges::find(types, tensor.dtype()) != types.end() && tensor.shape() == shape,
                 "{}: {} must be {} {}, got {} {}", folder_.string(), name,
                 fmt::join(type_names, " or "), shape_text(shape), emberq::name(tensor.dtype()),
                 shape_text(tensor.shape()));
  return tensor;
}

Tensor Checkpoint::get(const std::string& name, const std::vector<int64_t>& shape) const {
  Tensor tensor = get(name, kPlainTypes, shape);
  const int64_t bad = tensor.find_non_finite();
  EMBERQ_REQUIRE(bad < 0, "{}: {} is NaN or infinite at element {}", folder_.string(), name, bad);
  return tensor;
}

void Checkpoint::forget_pages() const {
  for (const SafetensorsFile& file : files_) file.forget_pages();
}

uint64_t Checkpoint::least_device_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, place] : place_of_) {
    const StoredTensor tensor = files_[place.file].stored(place.name);
    const bool narrows = tensor.type == emberq::name(DType::kF32);
    bytes += tensor.bytes.size() / (narrows ? 2 : 1);
  }
  return bytes;
}

void Checkpoint::read_ahead(const std::string& prefix) const {
  for (auto at = place_of_.lower_bound(prefix);
       at != place_of_.end() && at->first.starts_with(prefix); ++at)
    files_[at->second.file].read_ahead(at->second.name);
}

void Checkpoint::require_unquantized() const {
  EMBERQ_REQUIRE(!is_quantized() && !file_exists(folder_ / kEmberqConfigName),
                 "{} is quantized already", folder_.string());
}

bool Checkpoint::has_own_head() const {
  return !config_.tie_word_embeddings || has(std::string(kHeadName)) ||
         has(std::string(kHeadModule) + std::string(kPackedSuffix));
}

const QuantizationConfig::Group* Checkpoint::group_of(const std::string& module) const {
  if (!quantization_ || (module == kHeadModule && !has(module + std::string(kScaleSuffix))))
    return nullptr;
  return quantization_->find(module);
}

std::optional<LinearScheme> Checkpoint::linear_scheme(const std::string& module) const {
  const auto* group = group_of(module);
  if (!group) return std::nullopt;
  return scheme_of(*group);
}

LinearScheme Checkpoint::scheme_of(const QuantizationConfig::Group& group) const {
  LinearScheme scheme = group.scheme;
  if (can_dequantize_to_e4m3(scheme.weight)) scheme.weight.dequant = emberq_config_.dequant;
  return scheme;
}

std::optional<QuantizedLinear> Checkpoint::linear(const std::string& module, int64_t n,
                                                  int64_t k) const {
  const auto* group = group_of(module);
  if (!group) return std::nullopt;
  const LinearScheme scheme = scheme_of(*group);
  const auto p = emberq_config_.global_scale.find(module);
  return QuantizedLinear{
      .weight = read_quantized_weight(*this, module, {scheme, group->storage}, n, k,
                                      p == emberq_config_.global_scale.end() ? 1.0f : p->second),
      .input = scheme.activation};
}

}  // namespace emberq
