#include "base/check.h"
#include "model/load_layer.h"
#include "model/model.h"
#include "model/parameters.h"

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

// Reads a checkpoint's tensors onto a backend.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, Backend& backend)
      : checkpoint_(checkpoint), config_(checkpoint.config()), backend_(backend) {}

  Buffer vector(const std::string& name, const Parameter& parameter) const {
    return upload(backend_, checkpoint_.get(name, parameter.shape(config_)).to_float());
  }

  Weight matrix(const std::string& name, const Parameter& parameter) const {
    return backend_.prepare(checkpoint_.get(name, parameter.shape(config_)));
  }

  DecoderLayer layer(int64_t index) const {
    DecoderLayer layer;
    for (const Parameter& parameter : layer_parameters()) {
      if (!parameter.present(config_)) continue;
      const std::string name = layer_tensor(index, parameter.name);
      if (parameter.kind == ParameterKind::kWeight)
        read_weight(index, parameter, layer[parameter.module]);
      else if (parameter.kind == ParameterKind::kBias)
        layer[parameter.module].bias = vector(name, parameter);
      else
        norm_of(layer, parameter.norm) = vector(name, parameter);
    }
    for (const LinearInput input : kLinearInputs)
      require_one_input(layer, index, linears_reading(input));
    layer.sliding_window = config_.sliding_window[size_t(index)];
    return layer;
  }

 private:
  void read_weight(int64_t index, const Parameter& parameter, LinearLayer& linear) const {
    const auto quantized = checkpoint_.linear(linear_name(index, parameter.module),
                                              parameter.rows(config_), parameter.columns(config_));
    if (quantized) {
      linear.weight = backend_.prepare(quantized->weight);
      linear.input = quantized->input;
    } else {
      linear.weight = matrix(layer_tensor(index, parameter.name), parameter);
    }
  }

  // Linears that read one input must have it rounded in one way.
  void require_one_input(const DecoderLayer& layer, int64_t index,
                         std::span<const Projection> modules) const {
    for (const Projection module : modules)
      EMBERQ_REQUIRE(layer[module].input == layer[modules.front()].input,
                     "{}: {} reads {} activations but {}, which has the same input, reads {}",
                     checkpoint_.folder().string(), linear_name(index, module),
                     name(layer[module].input), linear_name(index, modules.front()),
                     name(layer[modules.front()].input));
  }

  const Checkpoint& checkpoint_;
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

DecoderLayer load_layer(const Checkpoint& checkpoint, Backend& backend, int64_t index) {
  DecoderLayer layer = Loader(checkpoint, backend).layer(index);
  layer.down_hadamard = checkpoint.emberq_config().down_hadamard;
  set_attention(layer, backend, checkpoint.config(), checkpoint.attention(), index);
  return layer;
}

Model::Model(const ModelConfig& config, Backend& backend)
    : config_(std::make_unique<const ModelConfig>(config)),
      backend_(&backend),
      runner_(backend, *config_) {}

Model Model::load(const Checkpoint& checkpoint, Backend& backend, std::optional<KvScheme> kv,
                  std::function<void()> after_block) {
  const ModelConfig& config = checkpoint.config();
  Model model(config, backend);
  model.kv_ = kv.value_or(checkpoint.attention().kv);
  const AttentionScheme attention =
      kv == KvScheme::kFp ? AttentionScheme() : checkpoint.attention();

  const Loader loader(checkpoint, backend);
  const auto table = [&](const Parameter& parameter) {
    return loader.matrix(std::string(parameter.name), parameter);
  };
  model.embedding_ = table(kEmbedding);
  model.head_ = checkpoint.has_own_head() ? table(kHead) : model.embedding_;
  model.final_norm_ = loader.vector(std::string(kFinalNorm.name), kFinalNorm);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    model.layers_.push_back(loader.layer(i));
    model.layers_.back().down_hadamard = checkpoint.emberq_config().down_hadamard;
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
  for (const DecoderLayer& layer : layers_)
    for (const Projection module : kProjections) bytes += layer[module].weight.bytes;
  return bytes;
}

}  // namespace emberq
