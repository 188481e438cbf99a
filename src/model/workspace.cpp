#include "model/workspace.h"

#include "format/int6.h"

namespace emberq {

void Workspace::resize(int64_t tokens) {
  tokens_ = tokens;
  if (tokens <= capacity_) return;
  ++moves_;
  capacity_ = tokens;
  const size_t element = size_bytes(backend_->activation_type());
  const auto make = [&](int64_t per_token, size_t bytes) {
    return Buffer(*backend_, size_t(tokens * per_token) * bytes);
  };
  const int64_t query = config_->num_heads * config_->head_dim;
  const int64_t key_value = config_->num_kv_heads * config_->head_dim;
  ids_ = make(1, sizeof(int32_t));
  hidden_ = make(config_->hidden_size, element);
  q_ = make(query, element);
  k_ = make(key_value, element);
  v_ = make(key_value, element);
  if (backend_->prefers_joined_linears()) joined_ = make(query + 2 * key_value, element);
  gate_up_ = make(2 * config_->intermediate_size, element);
  input_ = make(widest_, element);
  codes_ = make(widest_, 1);
  scales_ = make(std::max<int64_t>(1, widest_ / kGroupSizes.front()), sizeof(float));
  query_codes_ = make(query, 1);
  query_scales_ = make(config_->num_heads, sizeof(float));
}

Activations Workspace::input(int64_t dim, ActivationScheme scheme) const {
  if (scheme == ActivationScheme::kNone) return plain(input_, dim);
  Activations x{DType::kI8, codes_.as<void>(), scales_.as<float>(), tokens_,
                dim,        scheme.group_size};
  if (scheme.code == ActivationCode::kFp8) x.dtype = DType::kF8E4M3;
  if (scheme.code == ActivationCode::kInt6) x.code_max = Int6::kMax;
  return x;
}

Activations Workspace::query(QueryScheme scheme) const {
  const int64_t rows = tokens_ * config_->num_heads;
  if (scheme == QueryScheme::kNone) return q().reshaped(rows, config_->head_dim);
  return {scheme == QueryScheme::kFp8Head ? DType::kF8E4M3 : DType::kI8, query_codes_.as<void>(),
          query_scales_.as<float>(), rows, config_->head_dim};
}

}  // namespace emberq
