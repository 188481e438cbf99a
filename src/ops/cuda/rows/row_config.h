#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <span>
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

// The index of the first configuration that holds such rows. The last one holds the longest rows,
// and any number of them.
constexpr size_t pick_rows(std::span<const RowConfig> configs, int64_t rows, int64_t dim) {
  size_t i = 0;
  while (i + 1 < configs.size() && (dim > configs[i].max_dim() || rows > configs[i].max_rows)) ++i;
  return i;
}

// Calls start.operator()<C>() with the configuration that is picked.
template <const auto& kConfigs, class Start>
void dispatch_rows(std::string_view operation, int64_t rows, int64_t dim, const Start& start) {
  require_max_dim(operation, dim, kConfigs.back().max_dim());
  const size_t picked = pick_rows(kConfigs, rows, dim);
  const auto try_config = [&]<size_t I>() {
    constexpr RowConfig kConfig = kConfigs[I];
    if (I == picked) start.template operator()<kConfig>();
  };
  [&]<size_t... I>(std::index_sequence<I...>) { (try_config.template operator()<I>(), ...); }
  (std::make_index_sequence<kConfigs.size()>());
}

}  // namespace emberq::cuda
