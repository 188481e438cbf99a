#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

namespace emberq::cuda {

// How a kernel that holds each row in registers spreads it over threads.
struct RowConfig {
  int threads;             // of a CTA
  int vectors;             // of eight elements, in each thread
  int min_blocks_per_sm;   // bounds the registers of a thread
  int cluster = 1;         // CTAs that share a row
  int max_rows = INT_MAX;  // for more rows a later configuration is better

  constexpr int max_dim() const { return cluster * threads * vectors * 8; }
};

inline constexpr int kLargestHadamard = 1024;  // columns of a block that one warp transforms

// Each throws Error. A row starts at a multiple of 16 bytes only if `dim` is a multiple of 8.
void require_vectors(std::string_view operation, int64_t dim);
void require_max_dim(std::string_view operation, int64_t dim, int64_t max_dim);
void require_hadamard(std::string_view operation, int64_t size);

// Calls start.operator()<C>() with the first of kConfigs that holds such rows. The last one holds
// the longest rows, and any number of them.
template <const auto& kConfigs, class Start>
void dispatch_rows(std::string_view operation, int64_t rows, int64_t dim, const Start& start) {
  require_max_dim(operation, dim, kConfigs.back().max_dim());
  const auto try_config = [&]<size_t I>() {
    constexpr RowConfig kConfig = kConfigs[I];
    if (dim > kConfig.max_dim() || rows > kConfig.max_rows) return false;
    start.template operator()<kConfig>();
    return true;
  };
  [&]<size_t... I>(std::index_sequence<I...>) {
    (void)(try_config.template operator()<I>() || ...);
  }
  (std::make_index_sequence<kConfigs.size()>());
}

}  // namespace emberq::cuda
