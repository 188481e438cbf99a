#pragma once

#include <array>
#include <optional>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "quant/calibration/calibration.h"
#include "quant/layer_result.h"
#include "quant/recipe/recipe.h"

namespace emberq {

// What each block's linears become, by layer.
struct Plan {
  std::vector<ModuleSchemes> weights;
  std::vector<std::array<ActivationScheme, kLinearInputs.size()>> activations;
};

// A block after everything a recipe does to it.
struct QuantizedBlock {
  F64Layer dense;  // transformed; its weights are what `weights` rounds
  std::array<std::optional<QuantizedWeight>, kProjections.size()> weights;
  std::array<ActivationScheme, kProjections.size()> activations = {};
  std::vector<PostRopeScale> post_rope;     // S, per KV head; or empty
  std::vector<float> key_mean, value_mean;  // [kv_heads * head_dim], or empty
};

// What attention does in a recipe's models, but for what is each block's own; and one more block's.
AttentionScheme attention_scheme(const Recipe& recipe);
void append_attention(const QuantizedBlock& block, AttentionScheme& attention);

// Takes a model's blocks in order from the original to the quantized ones. Where a recipe asks for
// calibration, two residual streams go along: the original model's, and that of the model quantized
// so far, as its kernels compute it.
class LayerQuantizer {
 public:
  // `examine`: as in QuantizeOptions (quant/pipeline.h).
  LayerQuantizer(const Checkpoint& checkpoint, Backend& backend, const Recipe& recipe,
                 const Plan& plan, const CalibrationWindows& windows, bool examine);

  // The next block, `layer`.
  QuantizedBlock quantize(int64_t layer, LayerResult& report);
  // Goes past a block that was quantized before and is `quantized` now.
  void skip(int64_t layer, const DecoderLayer& quantized);

  // The embedding table and the head in the basis of the quantized model, in their stored types;
  // as they are where the recipe does not rotate the residual stream.
  Tensor embedding() const;
  Tensor head() const;
  // That head in the recipe's scheme for it, which it must have.
  QuantizedWeight quantized_head() const;
  int64_t down_hadamard() const { return down_hadamard_; }

 private:
  F64Layer original_block(int64_t layer) const;
  QuantizedBlock transformed(int64_t layer, LayerStatistics& statistics);
  void transform(int64_t layer, F64Layer& block, const LayerStatistics& statistics,
                 std::vector<PostRopeScale>& post_rope) const;
  DecoderLayer original_layer(int64_t layer, const F64Layer& block) const;
  void center(int64_t layer, QuantizedBlock& block);
  KeyStatistics smoothed_keys(int64_t layer, const QuantizedBlock& block);
  void round(int64_t layer, QuantizedBlock& block, LayerResult& report);
  void round_by_gptq(int64_t layer, QuantizedBlock& block, LayerResult& report);
  // And the original's stream goes past the site. `bias`: of the site's linear, where it adds to
  // the residual stream; both models add it, so the outputs are without it.
  InputStatistics input_statistics(const DecoderLayer& original, const DecoderLayer& quantized,
                                   LinearInput site, const std::vector<double>& bias);
  double stream_error() const;
  Tensor rotated(const std::string& name, const std::vector<double>& norm) const;

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  Backend& backend_;
  const Recipe& recipe_;
  const Plan& plan_;
  const bool examine_;
  int64_t stride_ = 1;    // of the windows that statistics look at
  int64_t distinct_ = 0;  // different tokens in the windows
  int64_t down_hadamard_ = 0;
  std::vector<double> rotation_;  // of the residual stream, or empty
  std::optional<CalibrationStream> original_, quantized_;
};

}  // namespace emberq
