#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "checkpoint/model_config.h"

// The linears of a transformer block, as a table: what loads, quantizes, counts and prints them
// walks it.
namespace emberq {

enum class Module { kQ, kK, kV, kO, kGate, kUp, kDown };

inline constexpr std::array kModules = {Module::kQ,    Module::kK,  Module::kV,   Module::kO,
                                        Module::kGate, Module::kUp, Module::kDown};

// The places where a block's linears read their input; what shares one is rounded in one way.
enum class Site { kQkv, kO, kGateUp, kDown };

inline constexpr std::array kSites = {Site::kQkv, Site::kO, Site::kGateUp, Site::kDown};

Site site_of(Module module);
std::span<const Module> readers(Site site);  // of a table that stays
int64_t inputs(const ModelConfig& config, Site site);

std::string_view name(Module module);        // "self_attn.q_proj", ...
std::string_view short_name(Module module);  // "q_proj", ...

// "model.layers.3.self_attn.q_proj"
std::string linear_name(int64_t layer, Module module);
// "model.layers.3.input_layernorm.weight"
std::string layer_tensor(int64_t layer, std::string_view tensor);

int64_t outputs(const ModelConfig& config, Module module);
int64_t inputs(const ModelConfig& config, Module module);
bool has_bias(const ModelConfig& config, Module module);

}  // namespace emberq
