#pragma once

#include <algorithm>

#include "checkpoint/model_config.h"
#include "ops/backend.h"

namespace emberq {

// A forward pass's memory between operations, for some number of tokens. Every member below is of
// the current tokens() rows.
class Workspace {
 public:
  Workspace(Backend& backend, const ModelConfig& config)
      : backend_(&backend),
        config_(&config),
        widest_(std::max(
            {config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim})) {}

  void resize(int64_t tokens);  // keeps the memory where it is large enough
  int64_t tokens() const { return tokens_; }
  int64_t moves() const { return moves_; }  // changes where the memory moves

  int32_t* ids() const { return ids_.as<int32_t>(); }

  Activations hidden() const { return plain(hidden_, config_->hidden_size); }
  // Rows that begin with q, as a linear that several projections share gives them; q(), k() and v()
  // are elsewhere then.
  Activations joined_qkv(int64_t outputs) const { return plain(joined_, outputs); }
  Activations q() const { return plain(q_, config_->num_heads * config_->head_dim); }
  Activations k() const { return plain(k_, config_->num_kv_heads * config_->head_dim); }
  Activations v() const { return plain(v_, config_->num_kv_heads * config_->head_dim); }
  Activations gate() const { return plain(gate_up_, config_->intermediate_size); }
  Activations up() const {
    Activations x = gate();
    x.data = static_cast<std::byte*>(x.data) + x.bytes();
    return x;
  }
  // Both in one matrix, in place of the two.
  Activations gate_up() const { return plain(gate_up_, 2 * config_->intermediate_size); }

  // What a linear reads: the activation type, or codes. Each of the two is one piece of memory,
  // which the next input overwrites.
  Activations input(int64_t dim, ActivationScheme scheme) const;
  // What attention reads, a row per token and head: q itself, or codes.
  Activations query(QueryScheme scheme) const;

 private:
  Activations plain(const Buffer& buffer, int64_t dim) const {
    return {backend_->activation_type(), buffer.as<void>(), nullptr, tokens_, dim};
  }

  Backend* backend_;
  const ModelConfig* config_;
  int64_t widest_;
  int64_t tokens_ = 0, capacity_ = 0, moves_ = 0;
  Buffer ids_, hidden_, q_, k_, v_, joined_, gate_up_;
  Buffer input_, codes_, scales_, query_codes_, query_scales_;
};

}  // namespace emberq
