#include "checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/json.h"

namespace emberq {
namespace {

static_assert(std::endian::native == std::endian::little, "files are mapped as they are");

constexpr size_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit
constexpr std::string_view kMetadata = "__metadata__";

// A list of numbers that are not negative: a shape, or offsets.
std::vector<int64_t> sizes(const JsonObject& entry, std::string_view key) {
  auto values = entry.get<std::vector<int64_t>>(key);
  if (std::ranges::any_of(values, [](int64_t value) { return value < 0; }))
    entry.reject(key, "must not be negative");
  return values;
}

// nullopt where the elements or the bytes are more than 63 bits can count.
std::optional<size_t> bytes_of(DType dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = 1;
  for (const int64_t extent : shape)
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  if (__builtin_mul_overflow(bytes, int64_t(size_bytes(dtype)), &bytes)) return std::nullopt;
  return size_t(bytes);
}

TensorEntry parse_entry(const JsonObject& header, const std::string& name) {
  const JsonObject entry = header.object(name);
  const auto type = entry.get<std::string>("dtype");
  const auto dtype = dtype_from_name(type);
  const std::vector<int64_t> shape = sizes(entry, "shape");
  const std::vector<int64_t> offsets = sizes(entry, "data_offsets");
  if (offsets.size() != 2 || offsets[0] > offsets[1])
    entry.reject("data_offsets", "must be a begin and an end");
  const auto begin = size_t(offsets[0]), end = size_t(offsets[1]);
  if (dtype) {
    const auto bytes = bytes_of(*dtype, shape);
    if (!bytes) entry.reject("shape", "is too large");
    EMBERQ_REQUIRE(end - begin == *bytes,
                   "{}: {} of {} {} takes {} bytes, its data_offsets span {}", header.where(), name,
                   type, shape_text(shape), *bytes, end - begin);
  }
  return {.name = name, .type = type, .dtype = dtype, .shape = shape, .begin = begin, .end = end};
}

// The tensors, in the order of their data, must cover all of it once.
void check_cover(const std::vector<TensorEntry>& tensors, size_t data_bytes,
                 std::string_view where) {
  size_t covered = 0;
  for (const TensorEntry& tensor : tensors) {
    EMBERQ_REQUIRE(tensor.end <= data_bytes, "{}: {} ends at byte {} of the data, which has {}",
                   where, tensor.name, tensor.end, data_bytes);
    EMBERQ_REQUIRE(tensor.begin >= covered, "{}: {} overlaps the tensor before it", where,
                   tensor.name);
    EMBERQ_REQUIRE(tensor.begin == covered, "{}: {} bytes before {} belong to no tensor", where,
                   tensor.begin - covered, tensor.name);
    covered = tensor.end;
  }
  EMBERQ_REQUIRE(covered == data_bytes, "{}: the last {} bytes belong to no tensor", where,
                 data_bytes - covered);
}

// The header's JSON, as a view of the file.
std::string_view header_text(std::span<const std::byte> file, std::string_view where) {
  EMBERQ_REQUIRE(
      file.size() >= kHeaderLengthBytes,
      "{} is not a safetensors file: it has {} bytes, its header's length alone takes {}", where,
      file.size(), kHeaderLengthBytes);
  uint64_t length = 0;
  std::memcpy(&length, file.data(), kHeaderLengthBytes);
  EMBERQ_REQUIRE(length <= kMaxHeaderBytes,
                 "{} is not a safetensors file: its header would take {} bytes, the limit is {}",
                 where, length, kMaxHeaderBytes);
  EMBERQ_REQUIRE(length <= file.size() - kHeaderLengthBytes,
                 "{} is cut short: its header takes {} bytes, the file has {}", where, length,
                 file.size());
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kHeaderLengthBytes,
                              length);
  EMBERQ_REQUIRE(text.starts_with('{'),
                 "{} is not a safetensors file: its header does not start with '{{'", where);
  return text;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           std::string_view where) {
  const std::string_view text = header_text(file, where);
  const Json json = parse_json(text, fmt::format("the header of {}", where));
  const JsonObject entries(json, std::string(where));
  SafetensorsHeader header;
  header.data_begin = kHeaderLengthBytes + text.size();
  for (const auto& [name, value] : json.items()) {
    if (name != kMetadata) {
      header.tensors.push_back(parse_entry(entries, name));
      continue;
    }
    const JsonObject metadata = entries.object(name);
    for (const auto& [key, ignored] : metadata.json().items())
      header.metadata[key] = metadata.get<std::string>(key);
  }
  std::ranges::sort(header.tensors, {},
                    [](const TensorEntry& t) { return std::pair(t.begin, t.end); });
  check_cover(header.tensors, file.size() - header.data_begin, where);
  return header;
}

SafetensorsFile::SafetensorsFile(const fs::path& path)
    : file_(path), header_(parse_safetensors_header(file_.bytes(), path.string())) {
  for (size_t i = 0; i < header_.tensors.size(); ++i) index_[header_.tensors[i].name] = i;
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const TensorEntry& tensor : header_.tensors) names.push_back(tensor.name);
  return names;
}

const TensorEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = index_.find(name);
  EMBERQ_REQUIRE(found != index_.end(), "{} has no tensor {}", path().string(), name);
  return header_.tensors[found->second];
}

StoredTensor SafetensorsFile::stored(const std::string& name) const {
  const TensorEntry& found = entry(name);
  return {
      .type = found.type,
      .shape = found.shape,
      .bytes = file_.bytes().subspan(header_.data_begin + found.begin, found.end - found.begin)};
}

Tensor SafetensorsFile::get(const std::string& name) const {
  const TensorEntry& found = entry(name);
  EMBERQ_REQUIRE(found.dtype, "{}: {} is of the type {}, which emberq does not read",
                 path().string(), name, found.type);
  const DType dtype = *found.dtype;
  const std::byte* data = stored(name).bytes.data();
  const Tensor view(dtype, found.shape, file_.owner(), data);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % size_bytes(dtype) == 0;
  return aligned ? view : Tensor::copy_of(dtype, found.shape, view.bytes());
}

StoredTensor as_stored(const Tensor& tensor) {
  return {.type = name(tensor.dtype()), .shape = tensor.shape(), .bytes = tensor.bytes()};
}

}  // namespace emberq
