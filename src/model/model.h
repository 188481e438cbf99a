#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/layer_runner.h"
#include "ops/backend.h"

namespace emberq {

// What a model's KV cache holds in all layers.
KvCacheShape kv_cache_shape(const ModelConfig& config, KvScheme kv);

// A decoder of the Llama family on a backend.
class Model {
 public:
  // Weights are prepared as they are read: the CPU backend leaves them in the mapped file. `kv`
  // overrides what the checkpoint says of its cache: kFp turns off what surrounds a quantized one
  // (S, means, Hadamard, the rounding of queries and probabilities); the others keep it.
  // `after_block` is called after each block that is loaded or run, for who cannot have all of a
  // large model's pages in memory (Checkpoint::forget_pages).
  static Model load(const WeightSource& source, Backend& backend,
                    std::optional<KvScheme> kv = std::nullopt,
                    std::function<void()> after_block = {});

  const ModelConfig& config() const { return *config_; }
  Backend& backend() const { return *backend_; }
  KvCacheShape cache_shape() const;
  // A pool of `pages` pages; or of one page, for a single sequence of at most `tokens` tokens.
  KvPool make_pool(int64_t page_tokens, int64_t pages) const {
    return {*backend_, cache_shape(), page_tokens, pages};
  }
  // The page is of whole tiles of keys, as the kernels of a GPU want it.
  KvPool make_pool(int64_t tokens) const { return make_pool((tokens + 63) / 64 * 64, 1); }

  // New tokens of one sequence.
  struct NewTokens {
    std::span<const int> ids;  // at least one
    KvSequence* sequence;
  };
  // Runs the tokens, which follow those that their sequences hold, through all blocks and the last
  // norm. A sequence stands in a batch once, all are of `pool`. The hidden states, [tokens, hidden]
  // in the batch's order, are valid until the next call. With nothing changed: InputError for an id
  // outside the vocabulary or a position outside the model's, KvPoolFull where the pool has too few
  // pages.
  Activations forward(std::span<const NewTokens> batch, KvPool& pool);
  // A batch of one.
  Activations forward(std::span<const int> ids, KvSequence& sequence);

  // Logits, F32 [m, vocab], of m rows of hidden states; of all where `rows`, in the backend's
  // memory, is null. model/logit_rows.h has memory for them.
  void logits(const Activations& hidden, const int32_t* rows, const Activations& out);

  // Radians per position of each channel pair, [head_dim / 2]; settable, to study other precisions.
  const std::vector<double>& rope_frequencies() const { return runner_.rope_frequencies(); }
  void set_rope_frequencies(std::vector<double> frequencies) {
    runner_.set_rope_frequencies(std::move(frequencies));
  }

  // A block, to study it with other weights. The new ones must fit the model.
  DecoderLayer& layer(int64_t i) { return layers_[size_t(i)]; }

  size_t weight_bytes() const;  // that one token's forward pass reads

 private:
  // A step of single tokens, recorded for one number of rows; valid as long as its memory stays.
  struct RecordedStep {
    uint64_t pool;  // KvPool::id()
    int64_t rows, max_pages;
    int64_t moves;  // LayerRunner::moves()
    Activations hidden;
    std::unique_ptr<Recording> recording;
  };

  Model(const ModelConfig& config, Backend& backend);
  Activations run_layers(KvPool& pool);
  Activations run_recorded(std::span<const BatchEntry> entries, KvPool& pool);

  std::unique_ptr<const ModelConfig> config_;  // where it stays: the runner points to it
  Backend* backend_;
  KvScheme kv_ = KvScheme::kFp;
  Weight embedding_, head_;
  Buffer final_norm_;
  std::vector<DecoderLayer> layers_;
  std::function<void()> after_block_;
  std::vector<int> ids_;  // of the last batch; they live until its upload is done
  LayerRunner runner_;
  std::vector<RecordedStep> steps_;
};

}  // namespace emberq
