#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/model_config.h"
#include "ops/backend.h"

namespace emberq {

// Radians per position of each channel pair, [head_dim / 2], with the scaling that the checkpoint
// asks for.
std::vector<double> rope_frequencies(const RopeConfig& rope, int64_t head_dim);

// cos and sin of position * frequency in a backend's memory, for positions from 0 on.
class RopeTable {
 public:
  RopeTable(Backend& backend, std::vector<double> frequencies)
      : backend_(&backend), frequencies_(std::move(frequencies)) {}

  const std::vector<double>& frequencies() const { return frequencies_; }
  // Makes the table hold positions [0, count). Operations that read it must have ended.
  void reserve(int64_t count);
  int64_t moves() const { return moves_; }  // changes where the tables move
  // [positions, head_dim / 2] each
  const float* cos() const { return cos_.as<float>(); }
  const float* sin() const { return sin_.as<float>(); }

 private:
  Backend* backend_;
  std::vector<double> frequencies_;
  int64_t count_ = 0, moves_ = 0;
  Buffer cos_, sin_;
};

}  // namespace emberq
