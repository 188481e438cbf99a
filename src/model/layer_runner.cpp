#include "model/layer_runner.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "model/token_ids.h"

namespace emberq {

LayerRunner::LayerRunner(Backend& backend, const ModelConfig& config)
    : backend_(&backend),
      config_(&config),
      rope_(backend, emberq::rope_frequencies(config.rope, config.head_dim)),
      workspace_(backend, config),
      batch_(backend) {}

void LayerRunner::set_rope_frequencies(std::vector<double> frequencies) {
  EMBERQ_CHECK(frequencies.size() == rope_frequencies().size(), "{} frequencies for heads of {}",
               frequencies.size(), config_->head_dim);
  rope_ = RopeTable(*backend_, std::move(frequencies));
}

void LayerRunner::begin(std::span<const BatchEntry> entries) {
  const Batch& batch = batch_.set(entries);
  int64_t positions = 0;
  for (const BatchSequence& sequence : batch.on_host)
    positions = std::max(positions, sequence.kv_length);
  rope_.reserve(positions);
  workspace_.resize(batch.tokens);
}

void LayerRunner::embed(const Weight& table, std::span<const int> ids) {
  EMBERQ_CHECK(int64_t(ids.size()) == workspace_.tokens(), "{} ids for {} tokens", ids.size(),
               workspace_.tokens());
  size_t first = 0;
  for (const BatchSequence& sequence : batch().on_host) {
    require_in_vocabulary(ids.subspan(first, size_t(sequence.new_tokens)), table.n,
                          "the model's input", sequence.kv_length - sequence.new_tokens);
    first += size_t(sequence.new_tokens);
  }
  backend_->upload(workspace_.ids(), ids.data(), ids.size_bytes());
  backend_->run(Embed{.table = &table, .ids = workspace_.ids(), .out = hidden()});
}

// Linears that share an input but not its scheme, which only studies of single linears have, get it
// as computed and round it here.
void LayerRunner::run(const LinearLayer& linear, const Activations& x, const Activations& out,
                      const Activations& residual) {
  Activations input = x;
  if (!x.quantized() && linear.input != ActivationScheme::kNone) {
    input = workspace_.input(x.dim, linear.input);
    backend_->run(PerTokenQuantize{.x = x, .out = input});
  }
  backend_->run(Linear{.x = input,
                       .weight = &linear.weight,
                       .bias = linear.bias.as<float>(),
                       .residual = residual,
                       .out = out});
}

void LayerRunner::add(const LinearLayer& linear, const Activations& x) {
  run(linear, x, workspace_.hidden(), workspace_.hidden());
}

Activations LayerRunner::normalized(const Activations& x, const Buffer& weight,
                                    ActivationScheme scheme) {
  const Activations out = workspace_.input(config_->hidden_size, scheme);
  backend_->run(RmsNorm{
      .x = x, .weight = weight.as<float>(), .out = out, .eps = float(config_->rms_norm_eps)});
  return out;
}

namespace {

// What a site's input is rounded to: what all its readers ask for, or else nothing.
ActivationScheme shared_scheme(const DecoderLayer& layer, LinearInput site) {
  const ActivationScheme first = layer[linears_reading(site).front()].input;
  for (const Projection module : linears_reading(site))
    if (layer[module].input != first) return ActivationScheme::kNone;
  return first;
}

}  // namespace

Activations LayerRunner::qkv_input(const DecoderLayer& layer) {
  return normalized(hidden(), layer.input_layernorm, shared_scheme(layer, LinearInput::kAttention));
}

Activations LayerRunner::o_input(const DecoderLayer& layer, const Activations& x,
                                 const KvLayer& cache) {
  const Workspace& w = workspace_;
  run(layer[Projection::kQ], x, w.q());
  run(layer[Projection::kK], x, w.k());
  run(layer[Projection::kV], x, w.v());

  const Activations query = w.query(layer.query);
  backend_->run(RopeAppendKv{.q = w.q(),
                             .k = w.k(),
                             .v = w.v(),
                             .q_norm = layer.q_norm.as<float>(),
                             .k_norm = layer.k_norm.as<float>(),
                             .eps = float(config_->rms_norm_eps),
                             .cos = rope_.cos(),
                             .sin = rope_.sin(),
                             .query_scale = layer.query_scale.as<float>(),
                             .key_scale = layer.key_scale.as<float>(),
                             .key_mean = layer.key_mean.as<float>(),
                             .value_mean = layer.value_mean.as<float>(),
                             .hadamard = layer.hadamard,
                             .query = query,
                             .batch = batch(),
                             .cache = cache});

  const Activations attended = w.input(w.q().dim, ActivationScheme::kNone);
  backend_->run(Attention{.query = query,
                          .batch = batch(),
                          .cache = cache,
                          .window = layer.sliding_window,
                          .scale = float(1 / std::sqrt(double(config_->head_dim))),
                          .probability = layer.probability,
                          .value_mean = layer.value_mean.as<float>(),
                          .out = attended});
  const Activations out = w.input(attended.dim, layer[Projection::kO].input);
  if (out.quantized()) backend_->run(PerTokenQuantize{.x = attended, .out = out});
  return out;
}

Activations LayerRunner::gate_up_input(const DecoderLayer& layer) {
  return normalized(hidden(), layer.post_attention_layernorm,
                    shared_scheme(layer, LinearInput::kMlp));
}

Activations LayerRunner::down_input(const DecoderLayer& layer, const Activations& x) {
  const Workspace& w = workspace_;
  run(layer[Projection::kGate], x, w.gate());
  run(layer[Projection::kUp], x, w.up());
  const Activations out = w.input(config_->intermediate_size, layer[Projection::kDown].input);
  backend_->run(
      SiluAndMul{.gate = w.gate(), .up = w.up(), .out = out, .hadamard = layer.down_hadamard});
  return out;
}

void LayerRunner::run(const DecoderLayer& layer, const KvLayer& cache) {
  add_o(layer, o_input(layer, qkv_input(layer), cache));
  add_down(layer, down_input(layer, gate_up_input(layer)));
}

}  // namespace emberq
