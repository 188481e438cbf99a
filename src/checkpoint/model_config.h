#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "format/dtype.h"

// What config.json says of a decoder-only model, with what transformers assumes where a key is
// absent.
namespace emberq {

enum class RopeType {
  kDefault,
  kLinear,  // positions divided by `factor`
  kLlama3,  // frequencies divided by `factor`, by wavelength, with a ramp between
};

struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;
  double factor = 1;
  // kLlama3: wavelengths above original / low_freq_factor are divided by `factor`, those below
  // original / high_freq_factor are kept.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  int64_t original_max_position_embeddings = 0;
};

struct ModelConfig {
  std::string model_type;    // "llama"
  std::string architecture;  // "LlamaForCausalLM"
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;      // even
  int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool tie_word_embeddings = false;  // lm_head is the embedding
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;                 // RMS norm of each query and key head before RoPE
  std::vector<int64_t> sliding_window;  // per layer: tokens seen, itself included; 0 = all
  // Of the weights as published: config.json's, or the embedding's where it names none.
  std::optional<DType> dtype;
  std::optional<int> bos_id;
  std::vector<int> eos_ids;
};

// InputError names `where` and the key: a model, or a variant of one, that emberq does not run is
// refused by name. Both generations of config.json are read (rope_theta, rope_scaling and
// torch_dtype; rope_parameters and dtype). Keys that transformers does not read, or that change
// nothing, are passed over.
ModelConfig parse_config(const Json& config, const std::string& where);

}  // namespace emberq
