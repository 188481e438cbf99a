#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/model_config.h"

// The linears of a transformer block, as a table: what loads, quantizes, counts and prints them
// walks it.
namespace emberq {

enum class Projection { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr std::array kProjections = {Projection::kQ,   Projection::kK,    Projection::kV,
                                            Projection::kO,   Projection::kGate, Projection::kUp,
                                            Projection::kDown};

// The places where a block's linears read their input; what shares one is rounded in one way.
enum class LinearInput { kAttention, kAttentionOut, kMlp, kMlpDown };

inline constexpr std::array kLinearInputs = {LinearInput::kAttention, LinearInput::kAttentionOut,
                                             LinearInput::kMlp, LinearInput::kMlpDown};

LinearInput input_of(Projection module);
std::span<const Projection> linears_reading(LinearInput site);  // of a table that stays
int64_t inputs(const ModelConfig& config, LinearInput site);

std::string_view name(Projection module);        // "self_attn.q_proj", ...
std::string_view short_name(Projection module);  // "q_proj", ...

// "model.layers.3.self_attn.q_proj"
std::string linear_name(int64_t layer, Projection module);
// "model.layers.3.input_layernorm.weight"
std::string layer_tensor(int64_t layer, std::string_view tensor);

int64_t outputs(const ModelConfig& config, Projection module);
int64_t inputs(const ModelConfig& config, Projection module);
bool has_bias(const ModelConfig& config, Projection module);

}  // namespace emberq
