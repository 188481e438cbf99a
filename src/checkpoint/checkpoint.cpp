#include "checkpoint/checkpoint.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/json.h"
#include "base/parallel.h"
#include "base/warning.h"
#include "format/fp8.h"
#include "format/pack.h"

namespace emberq {
namespace {

constexpr std::array kPlainTypes = {DType::kBF16, DType::kF16, DType::kF32};

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
  const fs::path emberq_config = folder / kSideFileName;
  if (file_exists(emberq_config)) {
    checkpoint.emberq_config_ =
        parse_emberq_config(read_ordered_json(emberq_config), emberq_config.string());
    checkpoint.check_emberq_config(emberq_config.string());
  }
  return checkpoint;
}

void Checkpoint::open_weights() {
  const fs::path single = folder_ / "model.safetensors";
  const fs::path index_path = folder_ / "model.safetensors.index.json";
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
        scheme && can_dequantize_to_e4m3(scheme->weight) && has(module + ".weight_scale"),
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

Tensor Checkpoint::get_as(const std::string& name, std::span<const DType> types,
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
  Tensor tensor = get_as(name, kPlainTypes, shape);
  const int64_t bad = tensor.find_non_finite();
  EMBERQ_REQUIRE(bad < 0, "{}: {} is NaN or infinite at element {}", folder_.string(), name, bad);
  return tensor;
}

void Checkpoint::forget_pages() const {
  for (const SafetensorsFile& file : files_) file.forget_pages();
}

void Checkpoint::require_unquantized() const {
  EMBERQ_REQUIRE(!is_quantized() && !file_exists(folder_ / kSideFileName),
                 "{} is quantized already", folder_.string());
}

std::optional<LinearScheme> Checkpoint::linear_scheme(const std::string& module) const {
  const auto* group = quantization_ ? quantization_->find(module) : nullptr;
  if (!group) return std::nullopt;
  LinearScheme scheme = group->scheme;
  if (can_dequantize_to_e4m3(scheme.weight)) scheme.weight.dequant = emberq_config_.dequant;
  return scheme;
}

std::optional<QuantizedWeight> Checkpoint::quantized_weight(const std::string& module, int64_t n,
                                                            int64_t k) const {
  const auto scheme = linear_scheme(module);
  if (!scheme) return std::nullopt;
  QuantizedWeight weight{.scheme = scheme->weight, .n = n, .k = k};
  if (weight.scheme.group_size == 0) weight.scheme.group_size = int(k);
  EMBERQ_REQUIRE(k % weight.scheme.group_size == 0,
                 "{}: {} has {} inputs, which is not a multiple of the group size {}",
                 folder_.string(), module, k, weight.scheme.group_size);
  const int input_group = scheme->activation.group_size;
  EMBERQ_REQUIRE(input_group == 0 || k % input_group == 0,
                 "{}: {} has {} inputs, which is not a multiple of their group size {}",
                 folder_.string(), module, k, input_group);
  for (const char* suffix : {".weight_zero_point", ".weight_g_idx"})
    EMBERQ_REQUIRE((weight.scheme.zero_point && suffix == std::string_view(".weight_zero_point")) ||
                       !has(module + suffix),
                   "{}: {}{} contradicts config.json", folder_.string(), module, suffix);
  weight.packed = read_codes(module, weight);
  if (weight.scheme.zero_point) weight.zero_point = read_zero_point(module, weight);
  if (const auto p = emberq_config_.global_scale.find(module);
      p != emberq_config_.global_scale.end())
    weight.global_scale = p->second;
  weight.scale = read_scale(module, weight);
  return weight;
}

Tensor Checkpoint::read_codes(const std::string& module, const QuantizedWeight& weight) const {
  switch (quantization_->find(module)->storage) {
    case WeightStorage::kIntQuantized:
      return pack_int8(module, weight);
    case WeightStorage::kFloatQuantized:
      return pack_e4m3(module, weight);
    default:
      return read_packed(module, weight);
  }
}

Tensor Checkpoint::read_packed(const std::string& module, const QuantizedWeight& weight) const {
  const std::string name = module + ".weight_packed";
  const int bits = weight.scheme.bits;
  const std::vector<int64_t> shape = {weight.n, int64_t(packed_words(size_t(weight.k), bits))};
  const int64_t per_word = 32 / bits;
  const std::vector<int64_t> old_shape = {weight.n, (weight.k + per_word - 1) / per_word};
  EMBERQ_REQUIRE(shape == old_shape || get(name).shape() != old_shape,
                 "{}: {} has {} codes in a word, as compressed-tensors before 0.17 packed them; "
                 "pack it again with a newer one",
                 folder_.string(), name, per_word);
  const std::array<int64_t, 2> logical = {weight.n, weight.k};
  const Tensor stored = get_as(module + ".weight_shape", std::array{DType::kI64}, {2});
  EMBERQ_REQUIRE(std::equal(logical.begin(), logical.end(), stored.data<int64_t>()),
                 "{}: {}.weight_shape must be {}, got {}", folder_.string(), module,
                 shape_text(logical), shape_text({stored.data<int64_t>(), 2}));
  return get_as(name, std::array{DType::kI32}, shape);
}

Tensor Checkpoint::pack_int8(const std::string& module, const QuantizedWeight& weight) const {
  const int bits = weight.scheme.bits, max = (1 << (bits - 1)) - 1;
  const size_t words = packed_words(size_t(weight.k), bits);
  const Tensor codes = get_as(module + ".weight", std::array{DType::kI8}, {weight.n, weight.k});
  std::vector<uint32_t> packed(size_t(weight.n) * words);
  parallel_for(0, weight.n, [&](int64_t n) {
    const int8_t* row = codes.data<int8_t>() + n * weight.k;
    uint32_t* to = packed.data() + size_t(n) * words;
    if (bits == 8) {  // every byte is a code: nothing to check or to shift
      std::transform(row, row + weight.k, reinterpret_cast<uint8_t*>(to),
                     [](int8_t code) { return uint8_t(code ^ 0x80); });
      return;
    }
    for (int64_t k = 0; k < weight.k; ++k) {
      EMBERQ_REQUIRE(-max - 1 <= row[k] && row[k] <= max,
                     "{}: {}.weight holds {} at [{}, {}], which {} bits do not", folder_.string(),
                     module, int(row[k]), n, k, bits);
      pack_code(to, size_t(k), bits, row[k]);
    }
  });
  return Tensor::copy_of(DType::kI32, {weight.n, int64_t(words)},
                         std::span<const uint32_t>(packed));
}

Tensor Checkpoint::pack_e4m3(const std::string& module, const QuantizedWeight& weight) const {
  const auto is_nan = [](uint8_t code) { return (code & 0x7f) == 0x7f; };
  const Tensor codes = get_as(module + ".weight", std::array{DType::kF8E4M3}, {weight.n, weight.k});
  const uint8_t* bytes = codes.data<uint8_t>();
  parallel_for(0, weight.n, [&](int64_t n) {
    const uint8_t* row = bytes + n * weight.k;
    bool found = false;  // a loop without an exit is one the compiler vectorizes
    for (int64_t k = 0; k < weight.k; ++k) found |= is_nan(row[k]);
    EMBERQ_REQUIRE(!found, "{}: {}.weight is NaN at [{}, {}]", folder_.string(), module, n,
                   std::find_if(row, row + weight.k, is_nan) - row);
  });
  const auto words = int64_t(packed_words(size_t(weight.k), 8));
  if (weight.k % 4 == 0 && reinterpret_cast<uintptr_t>(bytes) % alignof(uint32_t) == 0) {
    const auto owner = std::make_shared<const Tensor>(codes);  // the file's bytes are in order
    return {DType::kI32, {weight.n, words}, {owner, codes.bytes().data()}, codes.bytes().data()};
  }
  std::vector<uint32_t> packed(size_t(weight.n * words));
  for (int64_t n = 0; n < weight.n; ++n)
    std::memcpy(packed.data() + n * words, bytes + n * weight.k, size_t(weight.k));
  return Tensor::copy_of(DType::kI32, {weight.n, words}, std::span<const uint32_t>(packed));
}

Tensor Checkpoint::read_zero_point(const std::string& module, const QuantizedWeight& weight) const {
  const std::string name = module + ".weight_zero_point";
  const int bits = weight.scheme.bits, max = (1 << (bits - 1)) - 1;
  const int64_t groups = weight.k / weight.scheme.group_size;
  if (quantization_->find(module)->storage == WeightStorage::kIntQuantized) {
    Tensor codes = get_as(name, std::array{DType::kI8}, {weight.n, groups});
    for (int64_t i = 0; i < codes.size(); ++i) {
      const int8_t code = codes.data<int8_t>()[i];
      EMBERQ_REQUIRE(-max - 1 <= code && code <= max,
                     "{}: {} holds {} at [{}, {}], which {} bits do not", folder_.string(), name,
                     int(code), i / groups, i % groups, bits);
    }
    return codes;
  }
  const size_t words = packed_words(size_t(weight.n), bits);
  const Tensor packed = get_as(name, std::array{DType::kI32}, {int64_t(words), groups});
  std::vector<uint32_t> column(words);
  std::vector<int8_t> codes(size_t(weight.n * groups));
  for (int64_t g = 0; g < groups; ++g) {
    for (size_t w = 0; w < words; ++w)
      column[w] = packed.data<uint32_t>()[w * size_t(groups) + size_t(g)];
    for (int64_t n = 0; n < weight.n; ++n)
      codes[size_t(n * groups + g)] = int8_t(packed_code(column.data(), size_t(n), bits));
  }
  return Tensor::copy_of(DType::kI8, {weight.n, groups}, std::span<const int8_t>(codes));
}

Tensor Checkpoint::read_scale(const std::string& module, const QuantizedWeight& weight) const {
  const std::string name = module + ".weight_scale";
  const int64_t groups = weight.k / weight.scheme.group_size;
  Tensor scale = get_as(name, kPlainTypes, {weight.n, groups});
  const std::vector<float> values = scale.to_float();
  const bool fireq =
      weight.scheme.dequant == Dequant::kE4m3 && weight.scheme.code == WeightCode::kInt;
  for (size_t i = 0; i < values.size(); ++i) {
    EMBERQ_REQUIRE(values[i] >= 0 && std::isfinite(values[i]),
                   "{}: {} must hold finite numbers that are not negative, got {} at [{}, {}]",
                   folder_.string(), name, values[i], i / size_t(groups), i % size_t(groups));
    const float scaled = values[i] * weight.global_scale;
    EMBERQ_REQUIRE(!fireq || fp8_round(scaled) == scaled,
                   "{}: {} must hold e4m3 numbers over {}, got {} at [{}, {}]", folder_.string(),
                   name, weight.global_scale, values[i], i / size_t(groups), i % size_t(groups));
  }
  return scale;
}

}  // namespace emberq
