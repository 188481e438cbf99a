#include "tensor/join_rows.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"

namespace emberq {

Tensor join_rows(std::span<const Tensor> parts, int64_t block) {
  const Tensor& first = parts.front();
  const int64_t columns = first.shape().at(1);
  const size_t row_bytes = size_t(columns) * size_bytes(first.dtype());
  int64_t rows = 0;
  for (const Tensor& part : parts) {
    EMBERQ_CHECK(
        part.dtype() == first.dtype() && part.shape().at(1) == columns &&
            (block == 0 || (part.shape()[0] == first.shape()[0] && part.shape()[0] % block == 0)),
        "join_rows: {} {} beside {} {}", name(part.dtype()), shape_text(part.shape()),
        name(first.dtype()), shape_text(first.shape()));
    rows += part.shape()[0];
  }
  std::vector<std::byte> joined(size_t(rows) * row_bytes);
  std::byte* to = joined.data();
  const auto copy = [&](const Tensor& part, int64_t begin, int64_t count) {
    const size_t bytes = size_t(count) * row_bytes;
    std::memcpy(to, part.bytes().data() + size_t(begin) * row_bytes, bytes);
    to += bytes;
  };
  if (block == 0) {
    for (const Tensor& part : parts) copy(part, 0, part.shape()[0]);
  } else {
    for (int64_t begin = 0; begin < first.shape()[0]; begin += block)
      for (const Tensor& part : parts) copy(part, begin, block);
  }
  return Tensor::copy_of(first.dtype(), {rows, columns}, std::span<const std::byte>(joined));
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
