#include "eval/logit_rows.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace emberq {

LogitRows::LogitRows(Model& model, int64_t rows)
    : model_(&model),
      capacity_(rows),
      logits_(model.backend(), size_t(rows * model.config().vocab_size) * sizeof(float)) {}

Activations LogitRows::on_backend(const Activations& hidden) {
  EMBERQ_CHECK(hidden.rows <= capacity_, "{} rows of logits where {} fit", hidden.rows, capacity_);
  const Activations out{DType::kF32, logits_.as<void>(), nullptr, hidden.rows,
                        model_->config().vocab_size};
  model_->logits(hidden, out);
  return out;
}

Matrix<const float> LogitRows::on_host(const Activations& hidden) {
  const Activations out = on_backend(hidden);
  host_.resize(size_t(capacity_ * out.dim));
  model_->backend().download(host_.data(), out.data, out.bytes());
  model_->backend().synchronize();
  return {host_.data(), out.rows, out.dim};
}

double log_probability(std::span<const float> logits, int id) {
  EMBERQ_CHECK(id >= 0 && size_t(id) < logits.size(), "token id {} of {} logits", id,
               logits.size());
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(double(x) - top);
  return double(logits[size_t(id)]) - top - std::log(sum);
}

int top_id(std::span<const float> logits) {
  return int(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace emberq
