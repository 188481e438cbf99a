#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "model/decoder_layer.h"

// The tensors of a model as a table. What loads, transforms, writes or makes up a model walks it.
namespace emberq {

enum class ParameterKind {
  kTable,   // [vocab, hidden]: the embedding, the head
  kNorm,    // the factors of an RMSNorm
  kWeight,  // of a linear, [outputs, inputs]
  kBias,    // of a linear, [outputs]
};

// The norms of a decoder layer. The last two are over a head's channels (ModelConfig::qk_norm).
enum class Norm { kInput, kPostAttention, kQ, kK };

// The site of a linear's parameter is where the linear reads its input; that of a norm is the first
// whose input depends on it: kAttentionOut for kQ and kK, which attention reads.
struct Parameter {
  std::string_view name;  // a layer's without "model.layers.3."
  ParameterKind kind;
  int64_t (*rows)(const ModelConfig&);
  int64_t (*columns)(const ModelConfig&) = nullptr;  // null: a vector
  bool (*present_if)(const ModelConfig&) = nullptr;  // null: every model has it
  std::optional<LinearInput> site = std::nullopt;    // of a layer's parameter
  Projection module = Projection::kQ;                // of kWeight and kBias
  Norm norm = Norm::kInput;                          // of a layer's kNorm

  std::vector<int64_t> shape(const ModelConfig& config) const;
  bool present(const ModelConfig& config) const { return !present_if || present_if(config); }
};

// Of a decoder layer: the norms, then each linear's weight and bias in the order of kProjections.
std::span<const Parameter> layer_parameters();
const Parameter& weight_of(Projection module);
const Parameter& bias_of(Projection module);

inline constexpr std::string_view kFinalNormName = "model.norm.weight";

extern const Parameter kEmbedding, kFinalNorm;
extern const Parameter kHead;  // not present where the embedding is the head too

}  // namespace emberq
