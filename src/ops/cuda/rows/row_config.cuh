#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "base/error.h"

namespace emberq::cuda {

// How a kernel that holds each row in registers spreads it over threads.
struct RowConfig {
  int threads;             // in a block
  int vectors;             // of eight elements, that each thread holds
  int blocks;              // at least so many at once on a multiprocessor: bounds the registers
  int cluster = 1;         // blocks that share a row
  int max_rows = INT_MAX;  // more have a better one

  constexpr int max_dim() const { return cluster * threads * vectors * 8; }
};

// Rows start at multiples of 16 bytes only where they are whole vectors.
inline void require_vectors(const char* operation, int64_t dim) {
  if (dim <= 0 || dim % 8 != 0)
    fail("dim % 8 == 0", std::string(operation) +
                             ": the cuda backend takes rows of multiples of 8, got " +
                             std::to_string(dim));
}

// start.operator()<C>() with the first of kConfigs that holds such rows.
template <const auto& kConfigs, class Start>
void start_first_that_holds(const char* operation, int64_t rows, int64_t dim, const Start& start) {
  const auto try_config = [&]<size_t I>() {
    constexpr RowConfig kConfig = kConfigs[I];
    if (dim > kConfig.max_dim() || rows > kConfig.max_rows) return false;
    start.template operator()<kConfig>();
    return true;
  };
  const bool started = [&]<size_t... I>(std::index_sequence<I...>) {
    return (try_config.template operator()<I>() || ...);
  }
  (std::make_index_sequence<kConfigs.size()>());
  if (!started)
    fail("dim <= kConfigs.back().max_dim()",
         std::string(operation) + ": the cuda backend takes rows of up to " +
             std::to_string(kConfigs.back().max_dim()) + ", got " + std::to_string(dim));
}

}  // namespace emberq::cuda
