#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "tensor/tensor.h"

// A .safetensors file: 8 bytes of header length (little end first), a JSON header that may be
// padded with spaces, then the elements of every tensor, without a hole between them.
namespace emberq {

struct TensorEntry {
  std::string name;
  std::string type;            // as the file names it
  std::optional<DType> dtype;  // nullopt where emberq does not read that type
  std::vector<int64_t> shape;
  size_t begin, end;  // bytes, from the start of the data section
};

inline constexpr size_t kHeaderLengthBytes = 8;  // the header's length, before it

struct SafetensorsHeader {
  size_t data_begin = 0;             // of the data section, in the file
  std::vector<TensorEntry> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
};

// A tensor as its file stores it, of a type that emberq need not read.
struct StoredTensor {
  std::string_view type;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;  // valid as long as its SafetensorsFile
};

StoredTensor as_stored(const Tensor& tensor);  // valid as long as the tensor

// Checks everything that a header can get wrong against the bytes of the whole file, as the
// reference implementation does; but a tensor of an unknown type, whose bytes cannot be told from
// its shape, is listed. InputError names `where` and, past the JSON, the tensor.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view where);

// One file, mapped; tensors are views of it, which keep it mapped.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const fs::path& path);

  const fs::path& path() const { return file_.path(); }
  size_t file_bytes() const { return file_.bytes().size(); }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  std::vector<std::string> names() const;  // in the order of their data
  bool has(const std::string& name) const { return index_.contains(name); }
  // Elements aligned for their type: copied where the file has put them at an odd place. InputError
  // where there is no such tensor, or its type is unknown.
  Tensor get(const std::string& name) const;
  StoredTensor stored(const std::string& name) const;  // InputError where there is no such tensor
  void forget_pages() const { file_.forget_pages(); }
  // Starts to read a tensor from the disk; InputError where there is no such tensor.
  void read_ahead(const std::string& name) const { file_.read_ahead(stored(name).bytes); }

 private:
  const TensorEntry& entry(const std::string& name) const;

  MappedFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string, size_t> index_;  // into header_.tensors
};

}  // namespace emberq
