#pragma once

#include <cstddef>
#include <utility>

namespace emberq {

class Backend;

// Memory of a backend, released with it. The backend must live longer.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Backend& backend, size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  explicit operator bool() const { return data_ != nullptr; }

 private:
  void swap(Buffer& other) {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
  }

  Backend* backend_ = nullptr;
  void* data_ = nullptr;
};

}  // namespace emberq
