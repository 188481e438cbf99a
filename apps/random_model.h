#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/file.h"
#include "base/json_fwd.h"
#include "checkpoint/compressed_tensors/config.h"
#include "checkpoint/weight_source.h"
#include "quant/recipe/recipe.h"

namespace emberq {

// config.json of a published shape ("llama-3-8b"), or of a file. InputError names what there is.
OrderedJson published_config(const std::string& name_or_file);
std::vector<std::string> published_configs();

// A model of random numbers in the formats of a recipe: to measure how fast a shape runs without
// its weights. Matrices of one shape share their numbers on the host, so that a model needs the
// memory of few of them there.
class RandomModel final : public WeightSource {
 public:
  // `config` is a config.json.
  RandomModel(const OrderedJson& config, const Recipe& recipe);

  std::string where() const override { return "a random model"; }
  const ModelConfig& config() const override { return config_; }
  const EmberqConfig& emberq_config() const override { return emberq_config_; }
  bool has_own_head() const override { return !config_.tie_word_embeddings || recipe_.lm_head; }
  Tensor get(const std::string& name, const std::vector<int64_t>& shape) const override;
  std::optional<QuantizedLinear> linear(const std::string& module, int64_t n,
                                        int64_t k) const override;

  // Writes it as a checkpoint without a tokenizer. InputError where the folder exists.
  void save(const fs::path& folder) const;

 private:
  // What a linear is in; nullopt where it is plain.
  std::optional<LinearScheme> scheme(Projection projection) const;
  const QuantizedWeight& codes(int64_t n, int64_t k, const WeightScheme& scheme) const;

  std::string config_json_;
  ModelConfig config_;
  Recipe recipe_;
  EmberqConfig emberq_config_;
  mutable std::map<std::vector<int64_t>, Tensor> plain_;  // by shape
  mutable std::map<std::tuple<std::string, int64_t, int64_t>, QuantizedWeight> codes_;
};

}  // namespace emberq
