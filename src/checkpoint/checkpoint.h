#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/compressed_tensors/config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/weight_source.h"

namespace emberq {

inline constexpr std::string_view kEmbeddingName = "model.embed_tokens.weight";
inline constexpr std::string_view kHeadName = "lm_head.weight";

// The types of a plain weight.
inline constexpr std::array kPlainTypes = {DType::kBF16, DType::kF16, DType::kF32};

// A Hugging Face model folder, read: config.json; weights in model.safetensors or in the shards
// that model.safetensors.index.json lists; how they are quantized, where they are. Tensors are
// views of the mapped files.
//
// Tensors have the names of a model with a head, as transformers gives them: a checkpoint of the
// decoder alone (LlamaModel), whose names lack the prefix "model.", is read as if they had it.
// Where config.json ties the embedding and the head, and
//   both are stored and equal   the head is left out of names()
//   both are stored and differ  the stored head is used, with a warning
//   the head alone is stored    it is the embedding too, and has its name
class Checkpoint final : public WeightSource {
 public:
  // InputError where anything is missing or contradicts another part.
  static Checkpoint open(const fs::path& folder);

  const fs::path& folder() const { return folder_; }
  std::string where() const override { return folder_.string(); }
  const ModelConfig& config() const override { return config_; }
  const AttentionScheme& attention() const { return emberq_config_.attention; }
  const EmberqConfig& emberq_config() const override { return emberq_config_; }
  uint64_t file_bytes() const;  // of the weights' files

  std::vector<std::string> names() const;  // of the tensors, sorted
  bool has(const std::string& name) const { return place_of_.contains(name); }
  // InputError where it is missing, or of a type that emberq does not read.
  Tensor get(const std::string& name) const;
  StoredTensor stored(const std::string& name) const;  // of any type; InputError where missing
  Tensor get(const std::string& name, const std::vector<int64_t>& shape) const override;
  // Of one of these types and of this shape; or an InputError.
  Tensor get(const std::string& name, std::span<const DType> types,
             const std::vector<int64_t>& shape) const;

  const std::vector<SafetensorsFile>& files() const { return files_; }  // of the weights
  bool has_own_head() const override;

  // For who goes through a model larger than the memory: what was read so far is not kept.
  void forget_pages() const;

  // Devices hold F32 as BF16, and codes in no fewer bits than files do.
  uint64_t least_device_bytes() const override;
  void read_ahead(const std::string& prefix) const override;

  bool is_quantized() const { return quantization_.has_value(); }
  // InputError where weights are in codes, or emberq has been at them otherwise.
  void require_unquantized() const;
  // What the linear `module` ("model.layers.0.self_attn.q_proj") is stored as; nullopt where it has
  // a plain `weight`. A group_size of 0 is one scale per row. A head without scales is plain, also
  // in a group of the class "Linear", which to vLLM does not have the head.
  std::optional<LinearScheme> linear_scheme(const std::string& module) const;
  std::optional<QuantizedLinear> linear(const std::string& module, int64_t n,
                                        int64_t k) const override;

 private:
  // Where a tensor is: the index of its file in files_, and its name there.
  struct Place {
    size_t file;
    std::string name;
  };

  Checkpoint() = default;
  void open_weights();
  void add_prefixes();
  void settle_head();
  void settle_dtype();
  const Place& place(const std::string& name) const;
  void check_emberq_config(const std::string& where) const;
  void check_attention(const std::string& where) const;
  const QuantizationConfig::Group* group_of(const std::string& module) const;
  LinearScheme scheme_of(const QuantizationConfig::Group& group) const;

  fs::path folder_;
  ModelConfig config_;
  std::optional<QuantizationConfig> quantization_;
  EmberqConfig emberq_config_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place> place_of_;  // by the tensor's name
};

}  // namespace emberq
