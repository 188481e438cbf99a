#include "tensor/join_rows.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/parallel.h"

namespace emberq {

JoinedRows::JoinedRows(std::span<const Tensor> parts, int64_t block)
    : parts_(parts.begin(), parts.end()),
      row_bytes_(size_t(parts.front().shape().at(1)) * size_bytes(parts.front().dtype())),
      block_bytes_(size_t(block) * row_bytes_) {
  const Tensor& first = parts_.front();
  for (const Tensor& part : parts_) {
    EMBERQ_CHECK(
        part.dtype() == first.dtype() && part.shape().at(1) == columns() &&
            (block == 0 || (part.shape()[0] == first.shape()[0] && part.shape()[0] % block == 0)),
        "join_rows: {} {} beside {} {}", name(part.dtype()), shape_text(part.shape()),
        name(first.dtype()), shape_text(first.shape()));
    rows_ += part.shape()[0];
  }
}

std::span<const std::byte> JoinedRows::run_at(size_t begin) const {
  if (block_bytes_ > 0) {
    const size_t block = begin / block_bytes_, in_block = begin % block_bytes_;
    return parts_[block % parts_.size()].bytes().subspan(
        block / parts_.size() * block_bytes_ + in_block, block_bytes_ - in_block);
  }
  size_t part = 0;
  for (; begin >= parts_[part].bytes().size(); ++part) begin -= parts_[part].bytes().size();
  return parts_[part].bytes().subspan(begin);
}

void JoinedRows::copy(size_t begin, std::span<std::byte> to) const {
  while (!to.empty()) {
    const std::span<const std::byte> from = run_at(begin);
    const size_t bytes = std::min(from.size(), to.size());
    std::memcpy(to.data(), from.data(), bytes);
    begin += bytes;
    to = to.subspan(bytes);
  }
}

Tensor join_rows(std::span<const Tensor> parts, int64_t block) {
  constexpr size_t kPiece = 1 << 19;  // enough work for a thread
  const JoinedRows joined(parts, block);
  const size_t bytes = joined.bytes();
  const std::shared_ptr<std::byte[]> memory = std::make_shared_for_overwrite<std::byte[]>(bytes);
  parallel_for(0, int64_t((bytes + kPiece - 1) / kPiece), [&](int64_t piece) {
    const size_t begin = size_t(piece) * kPiece;
    joined.copy(begin, {memory.get() + begin, std::min(kPiece, bytes - begin)});
  });
  return {joined.dtype(), {joined.rows(), joined.columns()}, {memory, memory.get()}, memory.get()};
}

bool can_join_rows(std::span<const QuantizedWeight> parts) {
  const QuantizedWeight& first = parts.front();
  return std::ranges::all_of(parts, [&](const QuantizedWeight& part) {
    return part.scheme == first.scheme && part.k == first.k &&
           part.global_scale == first.global_scale &&
           part.packed.shape().at(1) == first.packed.shape().at(1) &&
           part.scale.dtype() == first.scale.dtype() &&
           part.scale.shape().at(1) == first.scale.shape().at(1);
  });
}

QuantizedWeight join_rows(std::span<const QuantizedWeight> parts, int64_t block) {
  EMBERQ_CHECK(can_join_rows(parts), "join_rows: weights in different codes");
  const auto joined = [&](const Tensor QuantizedWeight::*tensor) {
    std::vector<Tensor> tensors;
    for (const QuantizedWeight& part : parts) tensors.push_back(part.*tensor);
    return join_rows(tensors, block);
  };
  QuantizedWeight result = parts.front();
  result.n = 0;
  for (const QuantizedWeight& part : parts) result.n += part.n;
  result.packed = joined(&QuantizedWeight::packed);
  result.scale = joined(&QuantizedWeight::scale);
  if (result.scheme.zero_point) result.zero_point = joined(&QuantizedWeight::zero_point);
  return result;
}

}  // namespace emberq
