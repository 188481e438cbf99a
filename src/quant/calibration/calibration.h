#pragma once

#include <array>
#include <span>
#include <vector>

#include "model/layer_runner.h"
#include "quant/rounding/gptq.h"

namespace emberq {

// What the original model's activations in one block reached and held over calibration tokens.
struct KeyStatistics {
  int64_t kv_heads = 0, head_dim = 0;
  // After RoPE and before any scale:
  std::vector<float> channel_absmax;  // [kv_heads, head_dim]: max_t |k[c]|
  std::vector<float> pair_radius;   // [kv_heads, head_dim / 2]: max_t sqrt(k[j]^2 + k[j + d/2]^2),
                                    // which the rotation leaves as it was before
  std::vector<double> key_power;    // [kv_heads, head_dim / 2]: sum_t of that squared
  std::vector<double> query_power;  // the same sum over the query heads that read a KV head
  std::vector<double> key_sum, value_sum;  // [kv_heads, head_dim]: sum_t k[c], v[c]
  int64_t tokens = 0;
};

struct LinearInputStatistics {
  std::vector<double> gram;   // [k, k]: sum_t x x^T; empty where it was not asked for
  std::vector<float> absmax;  // [k]: max_t |x[j]|
};

struct LayerStatistics {
  KeyStatistics keys;
  std::array<LinearInputStatistics, kLinearInputs.size()> sites;  // by LinearInput
};

// The calibration text in windows, each run alone and with no BOS.
struct CalibrationWindows {
  int64_t length = 0;
  std::vector<std::vector<int>> ids;
  int64_t tokens() const { return length * int64_t(ids.size()); }
};

// The windows' residual streams through a model, one block at a time. Floats of F32 backends.
class CalibrationStream {
 public:
  // `embedding` [vocab, hidden]; `kv` is what the blocks' caches store. InputError for an id that
  // the embedding has no row for.
  CalibrationStream(Backend& backend, const ModelConfig& config, const CalibrationWindows& windows,
                    const Weight& embedding, KvScheme kv);

  int64_t windows() const { return int64_t(hidden_.size()); }
  int64_t length() const { return length_; }
  // The residual stream in one window where it is now, [length, hidden].
  const std::vector<float>& hidden(int64_t window) const { return hidden_[size_t(window)]; }

  // A site's input in one window: [length, k], codes times scales; valid until the next call. The
  // stream must be where the block begins for kQkv and kO, past its attention for kGateUp and
  // kDown.
  const std::vector<float>& input(const DecoderLayer& layer, int64_t window, LinearInput site);
  // Keeps that input, of kO or kDown, in the bytes it has, for when the linear is there.
  void keep();
  // Adds what kO's or kDown's linear makes of its input, the one just taken or one kept: the stream
  // is past it in this window.
  void add(const DecoderLayer& layer, int64_t window, LinearInput site);
  // Past the whole block in all windows.
  void advance(const DecoderLayer& layer);

  // Of every `stride`th window; the stream stays at the block's beginning. The grams, which cost as
  // much as the block, are of `grams` alone.
  LayerStatistics statistics(const DecoderLayer& layer, int64_t stride,
                             const std::vector<LinearInput>& grams);
  // Its keys alone.
  KeyStatistics keys(const DecoderLayer& layer, int64_t stride);
  // |x - x'| / |x| of the stream past the attention, where x' comes from this stream's cache and x
  // from one that keeps what it is given.
  double cache_error(const DecoderLayer& layer, int64_t stride);

 private:
  // A site's input as it is, [length, k]: numbers, or codes and scales.
  struct Input {
    int64_t window = -1;
    Activations at;             // where the runner's workspace has it
    std::vector<float> values;  // or scales
    std::vector<uint8_t> codes;
  };
  Activations run_to(const DecoderLayer& layer, LinearInput site);
  void load(int64_t window);
  void store(int64_t window);
  template <class T>
  void download(std::vector<T>& to, const void* from, size_t count);
  const std::vector<float>& take(const Activations& x);
  void add_site(const Activations& x, LinearInput site, LayerStatistics& statistics);
  void add_keys(KeyStatistics& statistics);  // of the attention that has just run

  Backend* backend_;
  const ModelConfig* config_;
  int64_t length_;
  LayerRunner runner_;
  KvPool pool_;
  KvSequence sequence_;                     // that each window in turn is
  std::vector<std::vector<float>> hidden_;  // [windows][length * hidden]
  Input taken_;                             // last
  std::vector<Input> kept_;                 // [windows]
  std::vector<float> decoded_;              // taken_, where it is in codes
};

}  // namespace emberq
