#include "model/block_runner.h"

#include <cmath>

#include "base/check.h"
#include "model/rope.h"
#include "model/token_ids.h"

namespace emberq {

BlockRunner::BlockRunner(Backend& backend, const ModelConfig& config)
    : backend_(&backend),
      config_(&config),
      rope_frequencies_(emberq::rope_frequencies(config.rope, config.head_dim)),
      workspace_(backend, config) {}

void BlockRunner::set_rope_frequencies(std::vector<double> frequencies) {
  EMBERQ_CHECK(frequencies.size() == rope_frequencies_.size(), "{} frequencies for heads of {}",
               frequencies.size(), config_->head_dim);
  rope_frequencies_ = std::move(frequencies);
  position_ = -1;
}

void BlockRunner::begin(int64_t tokens, int64_t position) {
  if (tokens == workspace_.tokens() && position == position_) return;  // the angles are there
  position_ = position;
  workspace_.resize(tokens);
  const size_t angles = size_t(tokens) * rope_frequencies_.size();
  std::vector<float> cos(angles), sin(angles);
  rope_angles(rope_frequencies_, position, tokens, cos.data(), sin.data());
  backend_->upload(workspace_.cos(), cos.data(), angles * sizeof(float));
  backend_->upload(workspace_.sin(), sin.data(), angles * sizeof(float));
  backend_->synchronize();  // the angles go when this returns
}

void BlockRunner::embed(const Weight& table, std::span<const int> ids) {
  EMBERQ_CHECK(int64_t(ids.size()) == workspace_.tokens(), "{} ids for {} tokens", ids.size(),
               workspace_.tokens());
  require_in_vocabulary(ids, table.n, "the model's input", position_);
  backend_->upload(workspace_.ids(), ids.data(), ids.size_bytes());
  backend_->run(Embed{.table = &table, .ids = workspace_.ids(), .out = hidden()});
}

// Linears that share an input but not its scheme, which only studies of single linears have, get it
// as computed and round it here.
void BlockRunner::run(const LinearLayer& linear, const Activations& x, const Activations& out,
                      const Activations& residual) {
  Activations input = x;
  if (!x.quantized() && linear.input != ActivationScheme::kNone) {
    input = workspace_.input(x.dim, linear.input);
    backend_->run(QuantizeRows{.x = x, .out = input});
  }
  backend_->run(Linear{.x = input,
                       .weight = &linear.weight,
                       .bias = linear.bias.as<float>(),
                       .residual = residual,
                       .out = out});
}

void BlockRunner::add(const LinearLayer& linear, const Activations& x) {
  run(linear, x, workspace_.hidden(), workspace_.hidden());
}

Activations BlockRunner::normalized(const Activations& x, const Buffer& weight,
                                    ActivationScheme scheme) {
  const Activations out = workspace_.input(config_->hidden_size, scheme);
  backend_->run(RmsNorm{
      .x = x, .weight = weight.as<float>(), .out = out, .eps = float(config_->rms_norm_eps)});
  return out;
}

namespace {

// What a site's input is rounded to: what all its readers ask for, or else nothing.
ActivationScheme shared_scheme(const Layer& layer, Site site) {
  const ActivationScheme first = layer[readers(site).front()].input;
  for (const Module module : readers(site))
    if (layer[module].input != first) return ActivationScheme::kNone;
  return first;
}

}  // namespace

Activations BlockRunner::qkv_input(const Layer& layer) {
  return normalized(hidden(), layer.input_layernorm, shared_scheme(layer, Site::kQkv));
}

Activations BlockRunner::o_input(const Layer& layer, const Activations& x, const KvLayer& cache) {
  const Workspace& w = workspace_;
  run(layer[Module::kQ], x, w.q());
  run(layer[Module::kK], x, w.k());
  run(layer[Module::kV], x, w.v());

  const Activations query = w.query(layer.query);
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
                           .key_mean = layer.key_mean.as<float>(),
                           .value_mean = layer.value_mean.as<float>(),
                           .hadamard = layer.hadamard,
                           .position = position_,
                           .query = query,
                           .cache = cache});

  const Activations attended = w.input(w.q().dim, ActivationScheme::kNone);
  backend_->run(Attention{.query = query,
                          .cache = cache,
                          .position = position_,
                          .window = layer.sliding_window,
                          .scale = float(1 / std::sqrt(double(config_->head_dim))),
                          .probability = layer.probability,
                          .value_mean = layer.value_mean.as<float>(),
                          .out = attended});
  const Activations out = w.input(attended.dim, layer[Module::kO].input);
  if (out.quantized()) backend_->run(QuantizeRows{.x = attended, .out = out});
  return out;
}

Activations BlockRunner::gate_up_input(const Layer& layer) {
  return normalized(hidden(), layer.post_attention_layernorm, shared_scheme(layer, Site::kGateUp));
}

Activations BlockRunner::down_input(const Layer& layer, const Activations& x) {
  const Workspace& w = workspace_;
  run(layer[Module::kGate], x, w.gate());
  run(layer[Module::kUp], x, w.up());
  const Activations out = w.input(config_->intermediate_size, layer[Module::kDown].input);
  backend_->run(
      SiluMul{.gate = w.gate(), .up = w.up(), .out = out, .hadamard = layer.down_hadamard});
  return out;
}

void BlockRunner::run(const Layer& layer, const KvLayer& cache) {
  add_o(layer, o_input(layer, qkv_input(layer), cache));
  add_down(layer, down_input(layer, gate_up_input(layer)));
}

}  // namespace emberq
