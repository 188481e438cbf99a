#include "base/check.h"
#include "model/load_layer.h"
#include "model/model.h"

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

  Buffer vector(const std::string& name, int64_t size) const {
    return upload(backend_, checkpoint_.get(name, {size}).to_float());
  }

  Weight matrix(const std::string& name, int64_t rows, int64_t cols) const {
    return backend_.prepare(checkpoint_.get(name, {rows, cols}));
  }

  LinearLayer linear(int64_t layer, Projection module) const {
    const std::string name = linear_name(layer, module);
    const int64_t n = outputs(config_, module), k = inputs(config_, module);
    LinearLayer result;
    if (const auto quantized = checkpoint_.linear(name, n, k)) {
      result.weight = backend_.prepare(quantized->weight);
      result.input = quantized->input;
    } else {
      result.weight = matrix(name + ".weight", n, k);
    }
    if (has_bias(config_, module)) result.bias = vector(name + ".bias", n);
    return result;
  }

  DecoderLayer layer(int64_t index) const {
    DecoderLayer layer;
    const auto norm = [&](std::string_view tensor, int64_t size) {
      return vector(layer_tensor(index, tensor), size);
    };
    layer.input_layernorm = norm("input_layernorm.weight", config_.hidden_size);
    layer.post_attention_layernorm = norm("post_attention_layernorm.weight", config_.hidden_size);
    if (config_.qk_norm) {
      layer.q_norm = norm("self_attn.q_norm.weight", config_.head_dim);
      layer.k_norm = norm("self_attn.k_norm.weight", config_.head_dim);
    }
    for (const Projection module : kProjections)
      layer.linear[size_t(module)] = linear(index, module);
    require_one_input(layer, index, {Projection::kQ, Projection::kK, Projection::kV});
    require_one_input(layer, index, {Projection::kGate, Projection::kUp});
    layer.sliding_window = config_.sliding_window[size_t(index)];
    return layer;
  }

 private:
  // Linears that read one input must have it rounded in one way.
  void require_one_input(const DecoderLayer& layer, int64_t index,
                         std::initializer_list<Projection> modules) const {
    for (const Projection module : modules)
      EMBERQ_REQUIRE(layer[module].input == layer[*modules.begin()].input,
                     "{}: {} reads {} activations but {}, which has the same input, reads {}",
                     checkpoint_.folder().string(), linear_name(index, module),
                     name(layer[module].input), linear_name(index, *modules.begin()),
                     name(layer[*modules.begin()].input));
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  Backend& backend_;
};

}  // namespace

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
  const auto table = [&](std::string_view name) {
    return loader.matrix(std::string(name), config.vocab_size, config.hidden_size);
  };
  model.embedding_ = table(kEmbeddingName);
  model.head_ = checkpoint.has_own_head() ? table(kHeadName) : model.embedding_;
  model.final_norm_ = loader.vector("model.norm.weight", config.hidden_size);
  for (int64_t i = 0; i < config.num_layers; ++i) {
    model.layers_.push_back(loader.layer(i));
    model.layers_.back().down_hadamard = checkpoint.emberq_config().down_hadamard;
    set_attention(model.layers_.back(), backend, config, attention, i);
    if (after_block) after_block();
  }
  model.after_block_ = std::move(after_block);
  return model;
}

KvCacheShape Model::cache_shape() const {
  return {kv_, config_->num_layers, config_->num_kv_heads, config_->head_dim};
}

size_t Model::weight_bytes() const {
  size_t bytes = head_.bytes;
  for (const DecoderLayer& layer : layers_)
    for (const Projection module : kProjections) bytes += layer[module].weight.bytes;
  return bytes;
}

}  // namespace emberq
