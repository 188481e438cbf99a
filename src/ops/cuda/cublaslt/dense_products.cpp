#include "ops/cuda/cublaslt/dense_products.h"

#include <algorithm>

#include "ops/buffer.h"
#include "ops/cuda/rows/rows.h"
#include "ops/embed.h"

namespace emberq::cuda {
namespace {

CublasLtShape shape_of(const Linear& op) {
  return {.out = op.out.dtype, .n = op.out.dim, .k = op.x.dim, .m = op.out.rows};
}

}  // namespace

std::string_view DenseProducts::obstacle(const Linear& op) {
  if (op.out.rows <= kFewTokens) return "few tokens";
  if (op.x.dtype != DType::kBF16) return "quantized inputs";
  if (op.bias) return "a bias";
  if (op.x.dim % 8 != 0 || op.out.dim % 8 != 0) return "a size that is no multiple of 8";
  return product(shape_of(op)) ? "" : "cuBLASLt is not found";
}

bool DenseProducts::run(const Linear& op, const void* weight) {
  const int64_t m = op.out.rows, k = op.x.dim;
  CublasLtProduct* const found = product(shape_of(op));
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
