#pragma once

#include <span>
#include <vector>

#include "tensor/quantized_weight.h"

namespace emberq {

// The rows of several matrices as one matrix, in the order of join_rows(): its bytes are copied
// from where the parts have them.
class JoinedRows {
 public:
  JoinedRows(std::span<const Tensor> parts, int64_t block);

  DType dtype() const { return parts_.front().dtype(); }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return parts_.front().shape()[1]; }
  size_t bytes() const { return size_t(rows_) * row_bytes_; }
  // The bytes from `begin` on. Several threads may call it.
  void copy(size_t begin, std::span<std::byte> to) const;

 private:
  // The bytes from `begin` on that lie beside one another in a part.
  std::span<const std::byte> run_at(size_t begin) const;

  std::vector<Tensor> parts_;
  size_t row_bytes_, block_bytes_;
  int64_t rows_ = 0;
};

// The rows of several matrices as one matrix: `block` rows of the first, as many of the second and
// so on, then the next of each; or with block 0 all rows of the first, then all of the second. The
// matrices have the same columns and type and, with a block, as many rows, a multiple of it.
Tensor join_rows(std::span<const Tensor> parts, int64_t block);

// Whether linears in these codes can be one matrix: their schemes, scales' types and global scales
// are the same.
bool can_join_rows(std::span<const QuantizedWeight> parts);
QuantizedWeight join_rows(std::span<const QuantizedWeight> parts, int64_t block);

}  // namespace emberq
