#include "ops/buffer.h"

#include "ops/backend.h"

namespace emberq {

Buffer::Buffer(Backend& backend, size_t bytes)
    : backend_(&backend), data_(backend.allocate(bytes)) {}

Buffer::~Buffer() {
  if (data_) backend_->release(data_);
}

}  // namespace emberq
