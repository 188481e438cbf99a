#include "ops/backend.h"

#include "base/check.h"
#include "tensor/join_rows.h"

namespace emberq {

std::unique_ptr<Recording> Backend::record(const std::function<void()>&) {
  throw Error(fmt::format("the {} backend does not record operations", name()));
}

Weight Backend::prepare_joined(std::span<const Tensor> parts, int64_t block) {
  return prepare(join_rows(parts, block));
}

Weight Backend::prepare_joined(std::span<const QuantizedWeight> parts, int64_t block) {
  return prepare(join_rows(parts, block));
}

void Backend::refuse(std::string_view operation) const {
  throw Error(fmt::format("the {} backend has no {} operation", name(), operation));
}

Buffer upload(Backend& backend, std::span<const std::byte> bytes) {
  Buffer buffer(backend, bytes.size());
  backend.upload(buffer.as<void>(), bytes.data(), bytes.size());
  return buffer;
}

}  // namespace emberq
