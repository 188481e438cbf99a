#include "checkpoint/shard_writer.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/json.h"

namespace emberq {
namespace {

// A header is written as it grows: this, ",", entries, "}", spaces.
constexpr std::string_view kHeaderStart = R"({"__metadata__":{"format":"pt"})";

std::string entry_text(const std::string& name, const StoredTensor& tensor, uint64_t begin) {
  const OrderedJson entry = {
      {"dtype", tensor.type},
      {"shape", tensor.shape},
      {"data_offsets", OrderedJson::array({begin, begin + tensor.bytes.size()})},
  };
  return fmt::format(",{}:{}", OrderedJson(name).dump(), entry.dump());
}

// Closed, padded to `bytes` with its length before it.
std::string finished_header(std::string text, size_t bytes) {
  text += '}';
  text.resize(bytes - kHeaderLengthBytes, ' ');
  const uint64_t length = text.size();
  std::string result(kHeaderLengthBytes, '\0');
  std::memcpy(result.data(), &length, kHeaderLengthBytes);
  return result + text;
}

}  // namespace

size_t max_entry_bytes(const std::string& name, const StoredTensor& tensor) {
  constexpr uint64_t kFarthest = 1'000'000'000'000'000'000;  // of as many digits as 2^63
  return entry_text(name, tensor, kFarthest).size();
}

size_t header_bytes_for(size_t entry_bytes) {
  return (kHeaderLengthBytes + kHeaderStart.size() + entry_bytes + 1 + 7) / 8 *
         8;  // 1: the last brace
}

ShardWriter::ShardWriter(const fs::path& path, size_t header_bytes)
    : file_(path), header_bytes_(header_bytes), header_(kHeaderStart) {
  EMBERQ_CHECK(header_bytes % 8 == 0, "a header must take a multiple of 8 bytes, got {}",
               header_bytes);
}

bool ShardWriter::has_space_for(const std::string& name, const StoredTensor& tensor) const {
  const size_t entries = header_.size() - kHeaderStart.size();
  return header_bytes_for(entries + entry_text(name, tensor, data_bytes_).size()) <= header_bytes_;
}

void ShardWriter::add(const std::string& name, const Tensor& tensor) {
  add(name, as_stored(tensor));
}

void ShardWriter::add(const std::string& name, const StoredTensor& tensor) {
  EMBERQ_CHECK(names_.insert(name).second, "the tensor {} is written twice", name);
  EMBERQ_CHECK(has_space_for(name, tensor), "a header of {} bytes has no space for the tensor {}",
               header_bytes_, name);
  header_ += entry_text(name, tensor, data_bytes_);
  file_.write_at(header_bytes_ + data_bytes_, tensor.bytes);
  data_bytes_ += tensor.bytes.size();
}

void ShardWriter::finish() {
  const std::string header = finished_header(header_, header_bytes_);
  file_.write_at(0, std::as_bytes(std::span(header)));
  file_.close();
}

std::string shard_name(int64_t index, int64_t shards) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, shards);
}

void write_index(const fs::path& folder, const std::vector<std::string>& files) {
  Json weight_map;
  uint64_t bytes = 0;
  for (const std::string& name : files) {
    const SafetensorsFile file(folder / name);
    for (const std::string& tensor : file.names()) {
      EMBERQ_CHECK(!weight_map.contains(tensor), "the tensor {} is written twice", tensor);
      weight_map[tensor] = name;
      bytes += file.stored(tensor).bytes.size();
    }
  }
  const Json index = {{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}};
  write_text(folder / kIndexName, index.dump(2) + "\n");
}

SafetensorsWriter::SafetensorsWriter(const fs::path& folder, SafetensorsWriterOptions options)
    : folder_(folder), options_(options) {}

void SafetensorsWriter::add(const std::string& name, const Tensor& tensor) {
  add(name, as_stored(tensor));
}

void SafetensorsWriter::add(const std::string& name, const StoredTensor& tensor) {
  const uint64_t bytes = tensor.bytes.size();
  const bool is_full = shard_ && (shard_->data_bytes() + bytes > options_.max_shard_bytes ||
                                  !shard_->has_space_for(name, tensor));
  if (is_full) shard_->finish();
  if (!shard_ || is_full) {
    const size_t least = header_bytes_for(entry_text(name, tensor, 0).size());
    shard_.emplace(partial_path(shards_++), std::max(options_.header_bytes, least));
  }
  shard_->add(name, tensor);
  total_bytes_ += bytes;
}

fs::path SafetensorsWriter::partial_path(int64_t shard) const {
  return folder_ / fmt::format("model-{:05}.partial", shard + 1);
}

void SafetensorsWriter::finish() {
  EMBERQ_CHECK(shard_, "a model without tensors");
  shard_->finish();
  if (shards_ == 1) return rename_file(partial_path(0), folder_ / "model.safetensors");
  std::vector<std::string> files;
  for (int64_t i = 0; i < shards_; ++i) {
    files.push_back(shard_name(i, shards_));
    rename_file(partial_path(i), folder_ / files.back());
  }
  write_index(folder_, files);
}

void write_safetensors(const fs::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::string text(kHeaderStart);
  uint64_t data_bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    text += entry_text(name, as_stored(tensor), data_bytes);
    data_bytes += tensor.bytes().size();
  }
  const std::string header =
      finished_header(text, header_bytes_for(text.size() - kHeaderStart.size()));
  write_file_atomically(path, [&](FileWriter& file) {
    file.write(std::as_bytes(std::span(header)));
    for (const auto& [name, tensor] : tensors) file.write(tensor.bytes());
  });
}

}  // namespace emberq
