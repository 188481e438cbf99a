#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/block.h"
#include "model/workspace.h"
#include "ops/backend.h"

namespace emberq {

// y = x * W^T + bias, with what x is rounded to first.
struct LinearLayer {
  Weight weight;
  Buffer bias;  // F32 [n], or none
  ActivationScheme input = ActivationScheme::kNone;
};

// One block's weights on the backend, named as in the checkpoint.
struct Layer {
  Buffer input_layernorm, post_attention_layernorm;  // F32 [hidden]
  Buffer q_norm, k_norm;                             // F32 [head_dim], or none
  std::array<LinearLayer, kModules.size()> linear;   // by Module
  Buffer query_scale, key_scale;  // F32 [kv_heads, head_dim]: S^-1 and S (fireq.md 3.2), or none
  int64_t sliding_window = 0;

  const LinearLayer& operator[](Module module) const { return linear[size_t(module)]; }
};

// A decoder of the Llama family on a backend.
class Model {
 public:
  // Weights are prepared as they are read: the CPU backend leaves them in the mapped file. `kv`
  // overrides what the checkpoint says of its cache: kFp turns off S and the rounding of queries,
  // keys and values; kInt4Head stores INT4 with the checkpoint's S and query scheme where it has
  // them.
  static Model load(const Checkpoint& checkpoint, Backend& backend,
                    std::optional<KvScheme> kv = std::nullopt);

  const ModelConfig& config() const { return *config_; }
  Backend& backend() const { return *backend_; }
  KvCacheShape cache_shape() const;
  KvCache make_cache(int64_t capacity) const { return {*backend_, cache_shape(), capacity}; }

  // Runs the tokens, which follow those in the cache, through all blocks and the last norm. The
  // hidden states, [tokens, hidden], are valid until the next call. InputError for an id outside
  // the vocabulary or a position outside the model's.
  Activations forward(std::span<const int> ids, KvCache& cache);

  // logits [rows, vocab] of hidden states.
  void logits(const Activations& hidden, const Activations& out);
  // The same on the host, of a few rows.
  std::vector<float> logits(const Activations& hidden);

  // Radians per position of each channel pair, [head_dim / 2]; settable, to study other precisions.
  const std::vector<double>& rope_frequencies() const { return rope_frequencies_; }
  void set_rope_frequencies(std::vector<double> frequencies);

  size_t weight_bytes() const;  // that one token's forward pass reads

 private:
  Model(const ModelConfig& config, Backend& backend);

  void attend(const Layer& layer, const KvLayer& cache, int64_t position);
  void feed_forward(const Layer& layer);
  void run(const LinearLayer& linear, const Activations& x, const Activations& out,
           const Activations& residual = {});
  void run_norm(const Activations& x, const Buffer& weight, const Activations& out);

  std::unique_ptr<const ModelConfig> config_;  // where it stays: the workspace points to it
  Backend* backend_;
  AttentionScheme attention_;
  std::vector<double> rope_frequencies_;
  Weight embedding_, head_;
  Buffer final_norm_;
  std::vector<Layer> layers_;
  Workspace workspace_;
};

}  // namespace emberq
