#include "ops/cuda/runtime/upload_ring.h"

#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "ops/cuda/runtime/check.h"

namespace emberq::cuda {

void UploadRing::upload(void* to, size_t bytes, const Fill& fill) {
  constexpr size_t kPiece = 256 << 10;  // enough work for a thread
  auto* device = static_cast<std::byte*>(to);
  const auto copy = [&](size_t begin, std::span<const std::byte> from) {
    CUDA_CHECK(
        cudaMemcpyAsync(device + begin, from.data(), from.size(), cudaMemcpyHostToDevice, stream_));
  };
  if (bytes < kLeastBytes) {
    std::vector<std::byte> all(bytes);
    fill(0, all);
    return copy(0, all);
  }
  for (size_t begin = 0; begin < bytes;) {
    const std::span<std::byte> part = reserve(bytes - begin);
    parallel_for(0, int64_t((part.size() + kPiece - 1) / kPiece), [&](int64_t piece) {
      const size_t at = size_t(piece) * kPiece;
      fill(begin + at, part.subspan(at, std::min(kPiece, part.size() - at)));
    });
    copy(begin, part);
    begin += part.size();
  }
}

std::span<std::byte> UploadRing::reserve(size_t most) {
  constexpr size_t kAlignment = 256;
  if (slots_[current_].used == kSlotBytes) {
    CUDA_CHECK(cudaEventRecord(slots_[current_].copied, stream_));
    current_ = (current_ + 1) % kSlots;
    if (slots_[current_].memory) CUDA_CHECK(cudaEventSynchronize(slots_[current_].copied));
    slots_[current_].used = 0;
  }
  Slot& slot = slots_[current_];
  if (!slot.memory) {
    CUDA_CHECK(cudaEventCreateWithFlags(slot.copied.address(), cudaEventDisableTiming));
    CUDA_CHECK(cudaMallocHost(slot.memory.address(), kSlotBytes));
  }
  const size_t bytes = std::min(most, kSlotBytes - slot.used);
  void* const memory = slot.memory;
  const std::span<std::byte> part(static_cast<std::byte*>(memory) + slot.used, bytes);
  slot.used = std::min(kSlotBytes, (slot.used + bytes + kAlignment - 1) / kAlignment * kAlignment);
  return part;
}

}  // namespace emberq::cuda
