#include "ops/cuda/cublaslt/dense_products.h"

#include <algorithm>

#include "ops/buffer.h"
#include "ops/cuda/rows/rows.h"
#include "ops/embed.h"

namespace emberq::cuda {

bool DenseProducts::run(const Linear& op, const void* weight) {
  const int64_t m = op.out.rows, k = op.x.dim;
  if (m <= kFewTokens || op.x.dtype != DType::kBF16 || op.bias || k % 8 != 0 || op.out.dim % 8 != 0)
    return false;
  CublasLtProduct* const found = product({.out = op.out.dtype, .n = op.out.dim, .k = k, .m = m});
  if (!found) return false;
  if (!op.rows) return found->run(0, op.x.data, weight, op.out.data, op.residual.data);
  // The chosen rows, side by side.
  const Buffer chosen(*backend_, size_t(m * k) * size_bytes(DType::kBF16));
  const Weight rows{.n = op.x.rows, .k = k};
  embed({.table = &rows, .ids = op.rows, .out = {DType::kBF16, chosen.as<void>(), nullptr, m, k}},
        op.x.data, stream_);
  return found->run(0, chosen.as<void>(), weight, op.out.data, op.residual.data);
}

CublasLtProduct* DenseProducts::product(const CublasLtShape& shape) {
  if (!library_) library_.emplace(*backend_, stream_, "");
  if (!library_->present()) return nullptr;
  auto found = std::ranges::find(products_, shape, [](const auto& entry) { return entry.first; });
  if (found == products_.end())
    found = products_.insert(found, {shape, std::make_unique<CublasLtProduct>(*library_, shape)});
  return found->second->algorithms() > 0 ? found->second.get() : nullptr;
}

}  // namespace emberq::cuda
