#include <cmath>

#include "base/check.h"
#include "base/interrupt.h"
#include "model/model.h"
#include "model/rope.h"

namespace emberq {

void Model::run(const LinearLayer& linear, const Activations& x, const Activations& out,
                const Activations& residual) {
  backend_->run(Linear{.x = x,
                       .weight = &linear.weight,
                       .bias = linear.bias.as<float>(),
                       .residual = residual,
                       .out = out});
}

void Model::run_norm(const Activations& x, const Buffer& weight, const Activations& out) {
  backend_->run(RmsNorm{
      .x = x, .weight = weight.as<float>(), .out = out, .eps = float(config_->rms_norm_eps)});
}

// hidden += o_proj(attention(norm(hidden)))
void Model::attend(const Layer& layer, const KvLayer& cache, int64_t position) {
  const Workspace& w = workspace_;
  const Activations x = w.input(config_->hidden_size, layer[Module::kQ].input);
  run_norm(w.hidden(), layer.input_layernorm, x);
  run(layer[Module::kQ], x, w.q());
  run(layer[Module::kK], x, w.k());
  run(layer[Module::kV], x, w.v());

  const Activations query = w.query(attention_.query);
  backend_->run(RopeAppend{.q = w.q(),
                           .k = w.k(),
                           .v = w.v(),
                           .q_norm = layer.q_norm.as<float>(),
                           .k_norm = layer.k_norm.as<float>(),
                           .eps = float(config_->rms_norm_eps),
                           .cos = w.cos(),
                           .sin = w.sin(),
                           .query_scale = layer.query_scale.as<float>(),
                           .key_scale = layer.key_scale.as<float>(),
                           .position = position,
                           .query = query,
                           .cache = cache});

  const Activations attended = w.input(w.q().dim, ActivationScheme::kNone);
  backend_->run(Attention{.query = query,
                          .cache = cache,
                          .position = position,
                          .window = layer.sliding_window,
                          .scale = float(1 / std::sqrt(double(config_->head_dim))),
                          .out = attended});
  const LinearLayer& o = layer[Module::kO];
  const Activations o_input = w.input(attended.dim, o.input);
  if (o_input.quantized()) backend_->run(QuantizeRows{.x = attended, .out = o_input});
  run(o, o_input, w.hidden(), w.hidden());
}

// hidden += down_proj(silu(gate_proj(x)) * up_proj(x)), x = norm(hidden)
void Model::feed_forward(const Layer& layer) {
  const Workspace& w = workspace_;
  const Activations x = w.input(config_->hidden_size, layer[Module::kGate].input);
  run_norm(w.hidden(), layer.post_attention_layernorm, x);
  run(layer[Module::kGate], x, w.gate());
  run(layer[Module::kUp], x, w.up());

  const LinearLayer& down = layer[Module::kDown];
  const Activations product = w.input(config_->intermediate_size, down.input);
  backend_->run(SiluMul{.gate = w.gate(), .up = w.up(), .out = product});
  run(down, product, w.hidden(), w.hidden());
}

Activations Model::forward(std::span<const int> ids, KvCache& cache) {
  const int64_t tokens = int64_t(ids.size()), position = cache.length();
  EMBERQ_CHECK(tokens > 0, "forward: no tokens");
  EMBERQ_REQUIRE(position + tokens <= config_->max_positions,
                 "position {} is past the model's last, {}", position + tokens - 1,
                 config_->max_positions - 1);
  for (const int id : ids)
    EMBERQ_REQUIRE(id >= 0 && id < config_->vocab_size,
                   "token id {} is outside the vocabulary of {}", id, config_->vocab_size);

  workspace_.resize(tokens);
  const Workspace& w = workspace_;
  const size_t half = rope_frequencies_.size();
  std::vector<float> cos(ids.size() * half), sin(ids.size() * half);
  rope_angles(rope_frequencies_, position, tokens, cos.data(), sin.data());
  backend_->upload(w.ids(), ids.data(), ids.size_bytes());
  backend_->upload(w.cos(), cos.data(), cos.size() * sizeof(float));
  backend_->upload(w.sin(), sin.data(), sin.size() * sizeof(float));

  backend_->run(Embed{.table = &embedding_, .ids = w.ids(), .out = w.hidden()});
  for (size_t i = 0; i < layers_.size(); ++i) {
    check_interrupt();
    attend(layers_[i], cache.layer(int64_t(i)), position);
    feed_forward(layers_[i]);
  }
  cache.set_length(position + tokens);
  const Activations out = w.input(config_->hidden_size, ActivationScheme::kNone);
  run_norm(w.hidden(), final_norm_, out);
  return out;
}

void Model::logits(const Activations& hidden, const Activations& out) {
  backend_->run(Linear{.x = hidden, .weight = &head_, .out = out});
}

std::vector<float> Model::logits(const Activations& hidden) {
  const int64_t vocab = config_->vocab_size;
  Buffer buffer(*backend_, size_t(hidden.rows * vocab) * sizeof(float));
  logits(hidden, {DType::kF32, buffer.as<void>(), nullptr, hidden.rows, vocab});
  std::vector<float> host(size_t(hidden.rows * vocab));
  backend_->download(host.data(), buffer.as<void>(), host.size() * sizeof(float));
  backend_->synchronize();
  return host;
}

}  // namespace emberq
