#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <vector>

#include "model/decoder_layer.h"
#include "model/rope.h"
#include "model/workspace.h"
#include "ops/backend.h"
#include "ops/batch_memory.h"

namespace emberq {

// y = x * W^T + bias, with what x is rounded to first.
struct LinearLayer {
  Weight weight;
  Buffer bias;  // F32 [n], or none
  ActivationScheme input = ActivationScheme::kNone;
};

// One block on the backend, its weights named as in the checkpoint.
struct DecoderLayer {
  Buffer input_layernorm, post_attention_layernorm;     // F32 [hidden]
  Buffer q_norm, k_norm;                                // F32 [head_dim], or none
  std::array<LinearLayer, kProjections.size()> linear;  // by Projection
  // Where the backend prefers it and their codes allow it, one linear for several that read one
  // input, whose own weights are absent then: q, k and v, or q and k, one behind the other; gate
  // and up with rows as SiluAndMul takes them.
  LinearLayer qkv, gate_up;
  int64_t sliding_window = 0;

  // What surrounds a quantized cache (ops/rope_append_kv.h).
  QueryScheme query = QueryScheme::kNone;
  ProbabilityScheme probability = ProbabilityScheme::kNone;
  Buffer query_scale, key_scale;  // F32 [kv_heads, head_dim]: S^-1 and S, or none
  Buffer key_mean, value_mean;    // F32 [kv_heads, head_dim], or none
  bool hadamard = false;          // of queries and keys
  int64_t down_hadamard = 0;      // block of down_proj's input; 0: none

  LinearLayer& operator[](Projection module) { return linear[size_t(module)]; }
  const LinearLayer& operator[](Projection module) const { return linear[size_t(module)]; }
};

// Runs blocks one at a time, in steps between which a linear's input is complete: generation takes
// them in order; calibration looks at the inputs, and quantizes what reads one before it goes on.
//
//   x = qkv_input(l);      x = o_input(l, x, cache);  add_o(l, x);
//   x = gate_up_input(l);  x = down_input(l, x);      add_down(l, x);
//
// An input is valid until the next step. The sum of the blocks' outputs is hidden().
class LayerRunner {
 public:
  LayerRunner(Backend& backend, const ModelConfig& config);

  // The tokens that the next steps are about. The caches given to them must be of pools that have
  // the sequences' pages.
  void begin(std::span<const BatchEntry> entries, const BatchPadding& padding = {});
  const Batch& batch() const { return batch_.batch(); }
  // The ids of the batch's tokens, which are rows of the table of embeddings (model/token_ids.h);
  // those of padding are 0.
  void set_ids(std::span<const int> ids);
  // Their embeddings, rows of the table [vocab, hidden], into hidden().
  void embed(const Weight& table);
  // Changes where memory of the steps moves: what was recorded before is void then.
  int64_t moves() const { return rope_.moves() + workspace_.moves() + batch_.moves(); }
  Activations hidden() const { return workspace_.hidden(); }

  Activations qkv_input(const DecoderLayer& layer);
  Activations o_input(const DecoderLayer& layer, const Activations& x, const KvLayer& cache);
  // The queries that attention has just read, where they are not quantized: [tokens, heads *
  // head_dim].
  Activations queries() const { return workspace_.q(); }
  void add_o(const DecoderLayer& layer, const Activations& x) { add(layer[Projection::kO], x); }
  Activations gate_up_input(const DecoderLayer& layer);
  Activations down_input(const DecoderLayer& layer, const Activations& x);
  void add_down(const DecoderLayer& layer, const Activations& x) {
    add(layer[Projection::kDown], x);
  }

  // The whole block.
  void run(const DecoderLayer& layer, const KvLayer& cache);

  Activations normalized(const Activations& x, const Buffer& weight,
                         ActivationScheme scheme = ActivationScheme::kNone);

  // Radians per position of each channel pair, [head_dim / 2].
  const std::vector<double>& rope_frequencies() const { return rope_.frequencies(); }
  void set_rope_frequencies(std::vector<double> frequencies);

 private:
  void add(const LinearLayer& linear, const Activations& x);  // hidden += linear(x)
  void run(const LinearLayer& linear, const Activations& x, const Activations& out,
           const Activations& residual = {});
  struct Product {
    const LinearLayer* linear;
    Activations out;
  };
  void run(std::initializer_list<Product> products, const Activations& x);  // of one input

  Backend* backend_;
  const ModelConfig* config_;
  RopeTable rope_;
  Workspace workspace_;
  BatchMemory batch_;
  std::vector<int> ids_;  // of the last batch
};

}  // namespace emberq
