#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/compressed_tensors.h"
#include "checkpoint/model_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/side_file.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// A Hugging Face model folder, read: config.json; weights in model.safetensors or in the shards
// that model.safetensors.index.json lists; how they are quantized, where they are. Tensors are
// views of the mapped files.
class Checkpoint {
 public:
  // InputError where anything is missing or contradicts another part.
  static Checkpoint open(const fs::path& folder);

  const fs::path& folder() const { return folder_; }
  const ModelConfig& config() const { return config_; }
  const AttentionScheme& attention() const { return side_file_.attention; }
  const SideFile& side_file() const { return side_file_; }
  uint64_t file_bytes() const;  // of the weights' files

  std::vector<std::string> names() const;  // of the tensors, sorted
  bool has(const std::string& name) const { return file_of_.contains(name); }
  // InputError where it is missing.
  Tensor get(const std::string& name) const;
  // A plain weight: F32, F16 or BF16, of this shape, without NaN or infinity; or an InputError.
  Tensor get(const std::string& name, const std::vector<int64_t>& shape) const;

  const std::vector<SafetensorsFile>& files() const { return files_; }  // of the weights

  // For who goes through a model larger than the memory: what was read so far is not kept.
  void forget_pages() const;

  bool is_quantized() const { return quantization_.has_value(); }
  // InputError where weights are in codes, or emberq has been at them otherwise.
  void require_unquantized() const;
  // What the linear `module` ("model.layers.0.self_attn.q_proj") is stored as; nullopt where it has
  // a plain `weight`. A group_size of 0 is one scale per row.
  std::optional<LinearScheme> linear_scheme(const std::string& module) const;
  // The linear `module` of n outputs and k inputs in codes, with its group_size resolved; nullopt
  // likewise. InputError where the tensors are not what the configuration says.
  std::optional<QuantizedWeight> quantized_weight(const std::string& module, int64_t n,
                                                  int64_t k) const;

 private:
  Checkpoint() = default;
  void open_weights();
  void check_side_file(const std::string& where) const;
  void check_attention(const std::string& where) const;
  // InputError names what it must be and what it is.
  Tensor get_as(const std::string& name, std::span<const DType> types,
                const std::vector<int64_t>& shape) const;
  Tensor read_packed(const std::string& module, const QuantizedWeight& weight) const;
  Tensor pack_int8(const std::string& module, const QuantizedWeight& weight) const;
  Tensor pack_e4m3(const std::string& module, const QuantizedWeight& weight) const;
  Tensor read_codes(const std::string& module, const QuantizedWeight& weight) const;
  Tensor read_zero_point(const std::string& module, const QuantizedWeight& weight) const;
  Tensor read_scale(const std::string& module, const QuantizedWeight& weight) const;

  fs::path folder_;
  ModelConfig config_;
  std::optional<QuantizationConfig> quantization_;
  SideFile side_file_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> file_of_;  // tensor -> index into files_
};

}  // namespace emberq
