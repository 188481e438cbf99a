#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/block_runner.h"
#include "ops/backend.h"

namespace emberq {

// A decoder of the Llama family on a backend.
class Model {
 public:
  // Weights are prepared as they are read: the CPU backend leaves them in the mapped file. `kv`
  // overrides what the checkpoint says of its cache: kFp turns off what surrounds a quantized one
  // (S, means, Hadamard, the rounding of queries and probabilities); the others keep it.
  // `after_block` is called after each block that is loaded or run, for who cannot have all of a
  // large model's pages in memory (Checkpoint::forget_pages).
  static Model load(const Checkpoint& checkpoint, Backend& backend,
                    std::optional<KvScheme> kv = std::nullopt,
                    std::function<void()> after_block = {});

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
  const std::vector<double>& rope_frequencies() const { return runner_.rope_frequencies(); }
  void set_rope_frequencies(std::vector<double> frequencies) {
    runner_.set_rope_frequencies(std::move(frequencies));
  }

  // A block, to study it with other weights. The new ones must fit the model.
  Layer& layer(int64_t i) { return layers_[size_t(i)]; }

  size_t weight_bytes() const;  // that one token's forward pass reads

 private:
  Model(const ModelConfig& config, Backend& backend);

  std::unique_ptr<const ModelConfig> config_;  // where it stays: the runner points to it
  Backend* backend_;
  KvScheme kv_ = KvScheme::kFp;
  Weight embedding_, head_;
  Buffer final_norm_;
  std::vector<Layer> layers_;
  std::function<void()> after_block_;
  BlockRunner runner_;
};

}  // namespace emberq
