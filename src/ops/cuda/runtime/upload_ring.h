#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstddef>
#include <functional>
#include <span>

#include "ops/backend.h"
#include "ops/cuda/runtime/handle.h"

namespace emberq::cuda {

// Brings bytes from the host to the device through page-locked memory. All threads fill a part of
// it while the device copies the parts before, so that the slower of the two is what it takes. The
// memory is allocated when it is first used.
class UploadRing {
 public:
  // Of smaller uploads the driver takes a copy itself.
  static constexpr size_t kLeastBytes = 64 << 10;
  // Makes the bytes from `begin` on of what is uploaded. Several threads call it, each for bytes of
  // its own, which begin at a multiple of 256.
  using Fill = std::function<void(size_t begin, std::span<std::byte> to)>;

  explicit UploadRing(const Stream& stream) : stream_(stream) {}  // which may come later

  // The copies are asynchronous; fill() has made all bytes when this returns.
  void upload(void* to, size_t bytes, const Fill& fill);

 private:
  static constexpr size_t kSlots = 4, kSlotBytes = size_t(16) << 20;
  struct Slot {
    Handle<void*, cudaFreeHost> memory;
    Event copied;  // all that was in it
    size_t used = 0;
  };
  // Memory that nothing is copied from, at most so much.
  std::span<std::byte> reserve(size_t most);

  const Stream& stream_;
  std::array<Slot, kSlots> slots_;
  size_t current_ = 0;
};

// That of a backend which make_cuda_backend() has made.
UploadRing& upload_ring_of(Backend& backend);

}  // namespace emberq::cuda
