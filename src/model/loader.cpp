#include <algorithm>

#include "base/check.h"
#include "model/load_layer.h"
#include "model/model.h"
#include "model/parameters.h"
#include "tensor/join_rows.h"

namespace emberq {
namespace {

// S, a dense vector per KV head, and its inverse.
void set_post_rope_scale(DecoderLayer& layer, Backend& backend, const ModelConfig& config,
                         const std::vector<PostRopeScale>& heads) {
  std::vector<float> key(size_t(config.num_kv_heads * config.head_dim), 1.0f), query = key;
  for (size_t h = 0; h < heads.size(); ++h)
    for (size_t i = 0; i < heads[h].channels.size(); ++i) {
      const size_t c = h * size_t(config.head_dim) + size_t(heads[h].channels[i]);
      key[c] = heads[h].scale[i];
      query[c] = 1 / heads[h].scale[i];
    }
  layer.key_scale = upload(backend, key);
  layer.query_scale = upload(backend, query);
}

// What a model takes besides its weights depends on how it is run, and is not counted.
void require_memory(const WeightSource& source, const Backend& backend) {
  const uint64_t least = source.least_device_bytes();
  const std::optional<size_t> free = backend.free_memory();
  EMBERQ_REQUIRE(!free || least <= *free,
                 "{}: the weights take {:.2f} GB of the device's memory, of which {:.2f} GB are "
                 "free",
                 source.where(), double(least) * 1e-9, double(*free) * 1e-9);
}

// Reads a model's tensors onto a backend.
class Loader {
 public:
  Loader(const WeightSource& source, Backend& backend)
      : source_(source), config_(source.config()), backend_(backend) {}

  Buffer vector(const std::string& name, const Parameter& parameter) const {
    return upload(backend_, source_.get(name, parameter.shape(config_)).to_float());
  }

  Weight matrix(const std::string& name, const Parameter& parameter) const {
    return backend_.prepare(source_.get(name, parameter.shape(config_)));
  }

  // The output head: in codes, plain, or the embedding.
  Weight head(const Weight& embedding) const {
    if (!source_.has_own_head()) return embedding;
    const auto quantized =
        source_.linear(std::string(kHeadModule), kHead.rows(config_), kHead.columns(config_));
    if (!quantized) return matrix(std::string(kHead.name), kHead);
    EMBERQ_REQUIRE(quantized->input == ActivationScheme::kNone,
                   "{}: {} reads {} activations; emberq runs a head that reads them as computed",
                   source_.where(), kHeadModule, name(quantized->input));
    return backend_.prepare(quantized->weight);
  }

  DecoderLayer layer(int64_t index) const {
    DecoderLayer layer;
    std::array<StoredLinear, kProjections.size()> stored;
    for (const Parameter& parameter : layer_parameters()) {
      if (!parameter.present(config_)) continue;
      const std::string name = layer_tensor(index, parameter.name);
      if (parameter.kind == ParameterKind::kWeight)
        stored[size_t(parameter.module)] = read_weight(index, parameter);
      else if (parameter.kind == ParameterKind::kBias)
        stored[size_t(parameter.module)].bias =
            source_.get(name, parameter.shape(config_)).to_float();
      else
        norm_of(layer, parameter.norm) = vector(name, parameter);
    }
    for (const LinearInput input : kLinearInputs)
      require_one_input(stored, index, linears_reading(input));
    if (backend_.prefers_joined_linears()) {
      constexpr std::array kQkv = {Projection::kQ, Projection::kK, Projection::kV};
      constexpr std::array kGateUp = {Projection::kGate, Projection::kUp};
      if (!join(stored, kQkv, 0, layer.qkv)) join(stored, std::span(kQkv).first(2), 0, layer.qkv);
      join(stored, kGateUp, SiluAndMul::kInterleaved, layer.gate_up);
    }
    for (const Projection module : kProjections) {
      const StoredLinear& linear = stored[size_t(module)];
      layer[module].input = linear.quantized.input;
      if (!linear.joined) prepare(linear, layer[module]);
    }
    layer.sliding_window = config_.sliding_window[size_t(index)];
    return layer;
  }

 private:
  // A linear on the host: in codes, or a plain weight.
  struct StoredLinear {
    QuantizedLinear quantized;  // its input's scheme also of a plain weight
    Tensor plain;
    std::vector<float> bias;
    bool joined = false;  // with others
  };

  StoredLinear read_weight(int64_t index, const Parameter& parameter) const {
    StoredLinear result;
    auto quantized = source_.linear(linear_name(index, parameter.module), parameter.rows(config_),
                                    parameter.columns(config_));
    if (quantized)
      result.quantized = std::move(*quantized);
    else
      result.plain = source_.get(layer_tensor(index, parameter.name), parameter.shape(config_));
    return result;
  }

  void prepare(const StoredLinear& stored, LinearLayer& linear) const {
    linear.weight =
        stored.plain ? backend_.prepare(stored.plain) : backend_.prepare(stored.quantized.weight);
    linear.input = stored.quantized.input;
    if (!stored.bias.empty()) linear.bias = upload(backend_, stored.bias);
  }

  // Makes `modules` one linear, where all are plain or in the same codes and all or none have a
  // bias. `block` is that of join_rows().
  bool join(std::span<StoredLinear> stored, std::span<const Projection> modules, int64_t block,
            LinearLayer& linear) const {
    std::vector<Tensor> plain, biases;
    std::vector<QuantizedWeight> codes;
    for (const Projection module : modules) {
      const StoredLinear& one = stored[size_t(module)];
      one.plain ? plain.push_back(one.plain) : codes.push_back(one.quantized.weight);
      if (!one.bias.empty()) biases.push_back(Tensor::of({int64_t(one.bias.size()), 1}, one.bias));
    }
    const StoredLinear& first = stored[size_t(modules.front())];
    const auto same = [&](const Projection module) {
      const StoredLinear& one = stored[size_t(module)];
      return one.bias.empty() == first.bias.empty() && bool(one.plain) == bool(first.plain) &&
             (!one.plain || one.plain.dtype() == first.plain.dtype());
    };
    if (!std::ranges::all_of(modules, same) || (plain.empty() && !can_join_rows(codes)))
      return false;
    if (block > 0) {
      const int64_t rows = first.plain ? first.plain.shape()[0] : first.quantized.weight.n;
      if (rows % block != 0) return false;
    }
    linear.weight = plain.empty() ? backend_.prepare_joined(codes, block)
                                  : backend_.prepare_joined(plain, block);
    linear.input = first.quantized.input;
    if (!biases.empty()) linear.bias = upload(backend_, join_rows(biases, block).bytes());
    for (const Projection module : modules) stored[size_t(module)].joined = true;
    return true;
  }

  // Linears that read one input must have it rounded in one way.
  void require_one_input(std::span<const StoredLinear> stored, int64_t index,
                         std::span<const Projection> modules) const {
    const ActivationScheme first = stored[size_t(modules.front())].quantized.input;
    for (const Projection module : modules)
      EMBERQ_REQUIRE(stored[size_t(module)].quantized.input == first,
                     "{}: {} reads {} activations but {}, which has the same input, reads {}",
                     source_.where(), linear_name(index, module),
                     name(stored[size_t(module)].quantized.input),
                     linear_name(index, modules.front()), name(first));
  }

  const WeightSource& source_;
  const ModelConfig& config_;
  Backend& backend_;
};

}  // namespace

Buffer& norm_of(DecoderLayer& layer, Norm norm) {
  constexpr std::array kNorms = {&DecoderLayer::input_layernorm,
                                 &DecoderLayer::post_attention_layernorm, &DecoderLayer::q_norm,
                                 &DecoderLayer::k_norm};
  return layer.*kNorms[size_t(norm)];
}

void set_attention(DecoderLayer& layer, Backend& backend, const ModelConfig& config,
                   const AttentionScheme& attention, int64_t index) {
  const auto i = size_t(index);
  layer.query = attention.query;
  layer.probability = attention.probability;
  layer.hadamard = attention.hadamard;
  if (!attention.post_rope.empty())
    set_post_rope_scale(layer, backend, config, attention.post_rope[i]);
  if (!attention.key_mean.empty()) layer.key_mean = upload(backend, attention.key_mean[i]);
  if (!attention.value_mean.empty()) layer.value_mean = upload(backend, attention.value_mean[i]);
}

DecoderLayer load_layer(const WeightSource& source, Backend& backend, int64_t index) {
  DecoderLayer layer = Loader(source, backend).layer(index);
  layer.down_hadamard = source.emberq_config().down_hadamard;
  set_attention(layer, backend, source.config(), source.emberq_config().attention, index);
  return layer;
}

Model::Model(const ModelConfig& config, Backend& backend)
    : config_(std::make_unique<const ModelConfig>(config)),
      backend_(&backend),
      runner_(backend, *config_) {}

Model Model::load(const WeightSource& source, Backend& backend, std::optional<KvScheme> kv,
                  std::function<void()> after_block) {
  require_memory(source, backend);
  const ModelConfig& config = source.config();
  Model model(config, backend);
  model.kv_ = kv.value_or(source.emberq_config().attention.kv);
  const AttentionScheme attention =
      kv == KvScheme::kFp ? AttentionScheme() : source.emberq_config().attention;

  const auto read_ahead = [&](int64_t layer) { source.read_ahead(layer_tensor(layer, "")); };
  source.read_ahead(std::string(kEmbedding.name));
  if (source.has_own_head()) source.read_ahead(std::string(kHead.name));
  read_ahead(0);
  const Loader loader(source, backend);
  model.embedding_ = loader.matrix(std::string(kEmbedding.name), kEmbedding);
  model.head_ = loader.head(model.embedding_);
  model.final_norm_ = loader.vector(std::string(kFinalNorm.name), kFinalNorm);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    read_ahead(i + 1);
    model.layers_.push_back(loader.layer(i));
    model.layers_.back().down_hadamard = source.emberq_config().down_hadamard;
    set_attention(model.layers_.back(), backend, config, attention, i);
    if (after_block) after_block();
  }
  model.after_block_ = std::move(after_block);
  return model;
}

KvCacheShape kv_cache_shape(const ModelConfig& config, KvScheme kv) {
  return {kv, config.num_layers, config.num_kv_heads, config.head_dim};
}

KvCacheShape Model::cache_shape() const { return kv_cache_shape(*config_, kv_); }

size_t Model::weight_bytes() const {
  size_t bytes = head_.bytes;
  for (const DecoderLayer& layer : layers_) {
    bytes += layer.qkv.weight.bytes + layer.gate_up.weight.bytes;
    for (const Projection module : kProjections) bytes += layer[module].weight.bytes;
  }
  return bytes;
}

}  // namespace emberq
