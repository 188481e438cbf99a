#include "model/layer_runner.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

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

void LayerRunner::begin(std::span<const BatchEntry> entries, const BatchPadding& padding) {
  const Batch& batch = batch_.set(entries, padding);
  int64_t positions = 0;
  for (const BatchSequence& sequence : batch.on_host)
    positions = std::max(positions, sequence.kv_length);
  rope_.reserve(positions);
  workspace_.resize(batch.tokens);
}

void LayerRunner::set_ids(std::span<const int> ids) {
  EMBERQ_CHECK(int64_t(ids.size()) <= workspace_.tokens(), "{} ids for {} tokens", ids.size(),
               workspace_.tokens());
  ids_.assign(ids.begin(), ids.end());
  ids_.resize(size_t(workspace_.tokens()));
  backend_->upload(workspace_.ids(), ids_.data(), ids_.size() * sizeof(int));
}

void LayerRunner::embed(const Weight& table) {
  backend_->run(Embed{.table = &table, .ids = workspace_.ids(), .out = hidden()});
}

namespace {

Linear linear_of(const LinearLayer& linear, const Activations& x, const Activations& out,
                 const Activations& residual = {}) {
  return {.x = x,
          .weight = &linear.weight,
          .bias = linear.bias.as<float>(),
          .residual = residual,
          .out = out};
}

}  // namespace

// Linears that share an input but not its scheme, which only studies of single linears have, get it
// as computed and round it here.
void LayerRunner::run(const LinearLayer& linear, const Activations& x, const Activations& out,
                      const Activations& residual) {
  Activations input = x;
  if (!x.quantized() && linear.input != ActivationScheme::kNone) {
    input = workspace_.input(x.dim, linear.input);
    backend_->run(PerTokenQuantize{.x = x, .out = input});
  }
  backend_->run(linear_of(linear, input, out, residual));
}

void LayerRunner::run(std::initializer_list<Product> products, const Activations& x) {
  std::vector<Linear> together;
  for (const auto& [linear, out] : products)
    if (!x.quantized() && linear->input != ActivationScheme::kNone)
      run(*linear, x, out);
    else
      together.push_back(linear_of(*linear, x, out));
  backend_->run_together(together);
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
  // Joined outputs are parts of longer rows.
  const int64_t joined = layer.qkv.weight ? layer.qkv.weight.n : 0;
  const bool value_joined = joined > w.q().dim + w.k().dim;
  Activations q = w.q(), k = w.k(), v = w.v();
  if (joined) {
    const Activations rows = w.joined_qkv(joined);
    const auto part = [&](Activations& of, int64_t column) {
      of.data = static_cast<std::byte*>(rows.data) + size_t(column) * size_bytes(rows.dtype);
    };
    part(q, 0), part(k, q.dim);
    if (value_joined) {
      part(v, q.dim + k.dim);
      run(layer.qkv, x, rows);
    } else {
      run({{&layer.qkv, rows}, {&layer[Projection::kV], v}}, x);
    }
  } else {
    run({{&layer[Projection::kQ], q}, {&layer[Projection::kK], k}, {&layer[Projection::kV], v}}, x);
  }

  const Activations query = w.query(layer.query);
  backend_->run(RopeAppendKv{.q = q,
                             .k = k,
                             .v = v,
                             .q_stride = joined,
                             .k_stride = joined,
                             .v_stride = value_joined ? joined : 0,
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
  SiluAndMul op{.gate = w.gate(),
                .up = w.up(),
                .out = w.input(config_->intermediate_size, layer[Projection::kDown].input),
                .hadamard = layer.down_hadamard};
  if (layer.gate_up.weight) {
    op.gate = w.gate_up(), op.up = {};
    run(layer.gate_up, x, op.gate);
  } else {
    run({{&layer[Projection::kGate], op.gate}, {&layer[Projection::kUp], op.up}}, x);
  }
  const Activations out = op.out;
  backend_->run(op);
  return out;
}

void LayerRunner::run(const DecoderLayer& layer, const KvLayer& cache) {
  add_o(layer, o_input(layer, qkv_input(layer), cache));
  add_down(layer, down_input(layer, gate_up_input(layer)));
}

}  // namespace emberq
