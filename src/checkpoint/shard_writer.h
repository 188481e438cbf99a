#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/file.h"
#include "checkpoint/safetensors.h"

// Weights written to .safetensors files. Whoever owns the folder removes what an interrupted run
// leaves there (OutputDirectory), or writes it again.
namespace emberq {

// The bytes that a tensor adds to a header at most, wherever its data lie in the file.
size_t max_entry_bytes(const std::string& name, const StoredTensor& tensor);

// The bytes of a header with entries of `entry_bytes` in all, a multiple of 8.
size_t header_bytes_for(size_t entry_bytes);

// Writes one .safetensors file as its tensors come, with one tensor in memory at a time. The header
// is written last, into the space reserved for it, and is padded with spaces: before finish() no
// reader takes the file for a whole one.
class ShardWriter {
 public:
  // `header_bytes`: the reserved space, a multiple of 8.
  ShardWriter(const fs::path& path, size_t header_bytes);

  // Whether the header has space for one more entry.
  bool has_space_for(const std::string& name, const StoredTensor& tensor) const;
  void add(const std::string& name, const Tensor& tensor);
  void add(const std::string& name, const StoredTensor& tensor);
  void finish();

  uint64_t data_bytes() const { return data_bytes_; }  // of the tensors so far

 private:
  FileWriter file_;
  size_t header_bytes_;
  std::string header_;  // so far
  uint64_t data_bytes_ = 0;
  std::unordered_set<std::string> names_;
};

inline constexpr std::string_view kIndexName = "model.safetensors.index.json";

// "model-0000i-of-0000N.safetensors", of shard i - 1.
std::string shard_name(int64_t index, int64_t shards);

// Writes kIndexName: which of the folder's files holds each tensor, and the bytes of all.
void write_index(const fs::path& folder, const std::vector<std::string>& files);

struct SafetensorsWriterOptions {
  uint64_t max_shard_bytes = 5'000'000'000;  // as transformers cuts them
  size_t header_bytes = 256 << 10;           // reserved for the header of each shard, or its first
                                             // tensor's entry where that takes more
};

// Writes the weights of a model into its folder as they come. A shard ends where the next tensor
// would take it past its size, or past its header's space. The files have names that no reader
// knows until finish().
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(const fs::path& folder, SafetensorsWriterOptions options = {});

  void add(const std::string& name, const Tensor& tensor);
  void add(const std::string& name, const StoredTensor& tensor);
  // Names the files: model.safetensors, or shard_name() of each with their index.
  void finish();

  uint64_t total_bytes() const { return total_bytes_; }  // of the tensors so far

 private:
  fs::path partial_path(int64_t shard) const;

  fs::path folder_;
  SafetensorsWriterOptions options_;
  int64_t shards_ = 0;                // with the one that is open
  std::optional<ShardWriter> shard_;  // the last, open until finish()
  uint64_t total_bytes_ = 0;
};

// One small file, whole or not at all.
void write_safetensors(const fs::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors);

}  // namespace emberq
