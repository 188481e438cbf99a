#include "model/logit_rows.h"

#include <algorithm>
#include <functional>

#include "base/check.h"

namespace emberq {

LogitRows::LogitRows(Model& model, int64_t rows)
    : model_(&model),
      capacity_(rows),
      logits_(model.backend(), size_t(rows * model.config().vocab_size) * sizeof(float)),
      rows_(model.backend(), size_t(rows) * sizeof(int32_t)) {}

Activations LogitRows::memory(int64_t rows) const {
  EMBERQ_CHECK(rows <= capacity_, "{} rows of logits where {} fit", rows, capacity_);
  return {DType::kF32, logits_.as<void>(), nullptr, rows, model_->config().vocab_size};
}

Activations LogitRows::on_backend(const Activations& hidden) {
  const Activations out = memory(hidden.rows);
  model_->logits(hidden, nullptr, out);
  return out;
}

Activations LogitRows::on_backend(const Activations& hidden, std::span<const int32_t> rows) {
  const Activations out = memory(int64_t(rows.size()));
  for (const int32_t row : rows)
    EMBERQ_CHECK(row >= 0 && row < hidden.rows, "logits of row {} of {}", row, hidden.rows);
  const bool increase = std::ranges::adjacent_find(rows, std::greater_equal()) == rows.end();
  if (increase && out.rows == hidden.rows) return on_backend(hidden);
  model_->backend().upload(rows_.as<void>(), rows.data(), rows.size_bytes());
  model_->logits(hidden, rows_.as<int32_t>(), out);
  return out;
}

Matrix<const float> LogitRows::download(const Activations& logits) {
  host_.resize(size_t(capacity_ * logits.dim));
  model_->backend().download(host_.data(), logits.data, logits.bytes());
  model_->backend().synchronize();
  return {host_.data(), logits.rows, logits.dim};
}

Matrix<const float> LogitRows::on_host(const Activations& hidden) {
  return download(on_backend(hidden));
}

Matrix<const float> LogitRows::on_host(const Activations& hidden, std::span<const int32_t> rows) {
  return download(on_backend(hidden, rows));
}

}  // namespace emberq
