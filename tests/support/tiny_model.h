#pragma once

#include <cmath>
#include <map>
#include <string>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/shard_writer.h"
#include "format/bf16.h"
#include "model/parameters.h"
#include "support/random.h"
#include "support/shared.h"
#include "support/test_folder.h"

namespace emberq::test {

// config.json of a small model with the bundled tokenizer's vocabulary.
inline Json tiny_config(const std::string& model_type) {
  const std::map<std::string, std::string> architectures = {{"llama", "LlamaForCausalLM"},
                                                            {"mistral", "MistralForCausalLM"},
                                                            {"qwen2", "Qwen2ForCausalLM"},
                                                            {"qwen3", "Qwen3ForCausalLM"}};
  Json config = {{"architectures", {architectures.at(model_type)}},
                 {"model_type", model_type},
                 {"vocab_size", 8192},
                 {"hidden_size", 128},
                 {"intermediate_size", 256},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"head_dim", 32},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", 256},
                 {"rms_norm_eps", 1e-6},
                 {"rope_theta", 10000.0},
                 {"tie_word_embeddings", false},
                 {"torch_dtype", "bfloat16"},
                 {"bos_token_id", 0},
                 {"eos_token_id", 1}};
  if (model_type == "mistral") config["sliding_window"] = 24;
  if (model_type == "llama") config["attention_bias"] = true, config["mlp_bias"] = true;
  return config;
}

// A model of that configuration with random BF16 weights, and the bundled model's tokenizer.
inline void write_tiny_model(const fs::path& folder, const Json& config) {
  fs::create_directories(folder);
  write_text(folder / "config.json", config.dump(1));
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "generation_config.json"})
    fs::copy_file(source_folder() / "models/nano-wiki" / file, folder / file);

  const ModelConfig c = parse_config(config, "config.json");
  SafetensorsWriter writer(folder);
  uint64_t seed = 1;
  const auto add = [&](const Parameter& parameter, const std::string& name, float mean,
                       float sigma) {
    if (!parameter.present(c)) return;
    const std::vector<int64_t> shape = parameter.shape(c);
    int64_t size = 1;
    for (const int64_t extent : shape) size *= extent;
    std::vector<bf16> values;
    for (const float x : normal_floats(size_t(size), seed++, sigma))
      values.push_back(bf16::from_float(mean + x));
    writer.add(name, Tensor::copy_of(DType::kBF16, shape, std::span<const bf16>(values)));
  };
  add(kEmbedding, std::string(kEmbedding.name), 0, 1);
  for (int64_t layer = 0; layer < c.num_layers; ++layer)
    for (const Parameter& parameter : layer_parameters()) {
      const std::string name = layer_tensor(layer, parameter.name);
      if (parameter.kind == ParameterKind::kWeight)
        add(parameter, name, 0, 1 / std::sqrt(float(parameter.columns(c))));
      else if (parameter.kind == ParameterKind::kBias)
        add(parameter, name, 0, 0.5f);
      else
        add(parameter, name, 1, 0.2f);
    }
  add(kFinalNorm, std::string(kFinalNorm.name), 1, 0.2f);
  add(kHead, std::string(kHead.name), 0, 0.1f);
  writer.finish();
}

}  // namespace emberq::test
