#include "model/workspace.h"

namespace emberq {

void Workspace::resize(int64_t tokens) {
  tokens_ = tokens;
  if (tokens <= capacity_) return;
  capacity_ = tokens;
  const size_t element = size_bytes(backend_->activation_type());
  const auto make = [&](int64_t per_token, size_t bytes) {
    return Buffer(*backend_, size_t(tokens * per_token) * bytes);
  };
  const int64_t query = config_->num_heads * config_->head_dim;
  const int64_t key_value = config_->num_kv_heads * config_->head_dim;
  ids_ = make(1, sizeof(int32_t));
  cos_ = make(config_->head_dim / 2, sizeof(float));
  sin_ = make(config_->head_dim / 2, sizeof(float));
  hidden_ = make(config_->hidden_size, element);
  q_ = make(query, element);
  k_ = make(key_value, element);
  v_ = make(key_value, element);
  gate_ = make(config_->intermediate_size, element);
  up_ = make(config_->intermediate_size, element);
  input_ = make(widest_, element);
  codes_ = make(widest_, 1);
  scales_ = make(1, sizeof(float));
  query_codes_ = make(query, 1);
  query_scales_ = make(config_->num_heads, sizeof(float));
}

}  // namespace emberq
