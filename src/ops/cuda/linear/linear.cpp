#include "ops/cuda/linear/linear.h"

#include <algorithm>
#include <vector>

#include "ops/backend.h"
#include "ops/cuda/linear/repack.h"
#include "ops/cuda/linear/repack_bytes.h"
#include "ops/cuda/linear/tile_order.h"

namespace emberq::cuda {

// dispatch.cuh; one source file each in instances/.
template <OperandFormat kFormat>
void linear_of(const LinearCall& call);

TiledWeight repack(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                   cudaStream_t stream) {
  const WeightScheme& scheme = canonical.scheme;
  TiledWeight result{.format = operand_format(scheme).value(),
                     .params = operand_params(scheme, canonical.global_scale),
                     .groups = groups_per_tile(scheme.group_size),
                     .row_blocks = (n + GemmConfig::kRows - 1) / GemmConfig::kRows,
                     .k_tiles = (k + kTileInputs - 1) / kTileInputs};
  const auto bytes_of_tile = with_tile(
      result.format, [&]<class Tile>() { return size_t(tile_bytes<Tile>(result.groups)); });
  const int64_t tiles = result.row_blocks * result.k_tiles * GemmConfig::kMWarpgroups;
  result.tiles = Buffer(backend, size_t(tiles) * bytes_of_tile);
  if (result.format == OperandFormat::kE4m3)
    repack_byte_tiles(canonical, result, n, k, stream);
  else
    repack_tiles(canonical, result, n, k, stream);
  return result;
}

Workspace::Workspace(Backend& backend, int count) : multiprocessors(count) {
  int tokens = 0, warpgroups = 0;
  for (const GemmConfig& config : kGemmConfigs) {
    tokens = std::max(tokens, config.tokens);
    warpgroups = std::max(warpgroups, config.math_warpgroups());
  }
  const auto rows = size_t(count) * GemmConfig::kRows;
  partial = Buffer(backend, rows * size_t(tokens) * sizeof(float));
  flags = upload(backend, std::vector<int>(size_t(count) * size_t(warpgroups)));
}

void linear(const LinearCall& call) {
  if (call.op.x.rows == 0) return;
  switch (call.weight.format) {
    case OperandFormat::kLut4:
      return linear_of<OperandFormat::kLut4>(call);
    case OperandFormat::kInt4:
      return linear_of<OperandFormat::kInt4>(call);
    case OperandFormat::kLut4E4m3:
      return linear_of<OperandFormat::kLut4E4m3>(call);
    case OperandFormat::kInt4E4m3:
      return linear_of<OperandFormat::kInt4E4m3>(call);
    case OperandFormat::kE4m3:
      return linear_of<OperandFormat::kE4m3>(call);
  }
}

}  // namespace emberq::cuda
