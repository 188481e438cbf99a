#pragma once

#include <cstdint>
#include <memory>

namespace emberq {

// What a backend keeps of a weight. Each backend has a type of its own, by which it knows its
// weights.
struct DeviceWeight {
  virtual ~DeviceWeight() = default;
};

// A matrix as its backend wants it: Backend::prepare() makes it from a host Tensor or
// QuantizedWeight. Copies share the elements. Never written to a file.
struct Weight {
  int64_t n = 0, k = 0;  // outputs, inputs; rows and columns of a table
  size_t bytes = 0;      // what a product with one token reads
  std::shared_ptr<const DeviceWeight> impl;

  explicit operator bool() const { return impl != nullptr; }
};

}  // namespace emberq
