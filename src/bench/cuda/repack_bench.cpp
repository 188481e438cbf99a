#include "bench/repack_bench.h"

#include "base/check.h"
#include "bench/cuda/gpu_meter.h"
#include "bench/operands.h"
#include "format/bf16.h"
#include "format/pack.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq::bench {
namespace {

constexpr int64_t kComparedTiles = 64;

using cuda::kTileInputs;
using cuda::kTileRows;
using cuda::TiledWeight;

size_t tile_bytes(const TiledWeight& weight) {
  return cuda::with_tile(
      weight.format, [&]<class Tile>() { return size_t(cuda::tile_bytes<Tile>(weight.groups)); });
}
size_t tiles_of(const TiledWeight& weight) {
  return size_t(weight.row_blocks * weight.k_tiles * cuda::GemmConfig::kMWarpgroups);
}

// One tile in device order, for a weight with one scale in each row of a tile.
template <class Tile>
std::vector<uint32_t> expected_tile(const QuantizedWeight& weight, int64_t row_tile,
                                    int64_t k_tile) {
  std::vector<uint32_t> tile(cuda::tile_bytes<Tile>(1) / 4);
  const auto* packed = weight.packed.data<uint32_t>();
  const auto* scale = weight.scale.data<uint16_t>();
  for (int in_tile = 0; in_tile < kTileRows; ++in_tile) {
    const int64_t row = row_tile * kTileRows + in_tile;
    if (row >= weight.n) break;
    for (int k = 0; k < kTileInputs; ++k) {
      const auto place = Tile::place(in_tile, k);
      const auto code = size_t(row * weight.k + k_tile * kTileInputs + k);
      tile[size_t(place.word)] |= Tile::bits(place, uint32_t(packed_code(packed, code, 4) + 8));
    }
    const int pair = in_tile / 16 * 8 + in_tile % 8, half = in_tile / 8 % 2;
    tile[size_t(cuda::kTileWords + pair)] |=
        uint32_t(scale[row * (weight.k / kTileInputs) + k_tile]) << 16 * half;
  }
  return tile;
}

void check_order(Backend& backend, const QuantizedWeight& weight, const TiledWeight& made) {
  for (const int64_t tile : spread_over(int64_t(tiles_of(made)), kComparedTiles)) {
    const int64_t row_tile = tile / 2 / made.k_tiles * 2 + tile % 2,
                  k_tile = tile / 2 % made.k_tiles;
    const auto expected = cuda::with_tile(
        made.format, [&]<class Tile>() { return expected_tile<Tile>(weight, row_tile, k_tile); });
    std::vector<uint32_t> is(expected.size());
    const size_t bytes = is.size() * sizeof(uint32_t);
    backend.download(is.data(), made.tiles.as<std::byte>() + size_t(tile) * bytes, bytes);
    backend.synchronize();
    EMBERQ_CHECK(is == expected, "bench repack: {} weights of {} x {}: tile {} is not in order",
                 name(weight.scheme), weight.n, weight.k, tile);
  }
}

RepackRow measure(Backend& backend, GpuMeter& meter, const GemmShape& shape,
                  const std::string& scheme) {
  const QuantizedWeight weight = random_weight(shape.n, shape.k, *weight_scheme_from_name(scheme));
  const cuda::CanonicalWeight canonical = cuda::upload_canonical(backend, {&weight, 1}, 0);
  const auto repack = [&] {
    return cuda::repack(backend, canonical, shape.n, shape.k, cuda::stream_of(backend));
  };
  const TiledWeight made = repack();
  check_order(backend, weight, made);
  const size_t read = weight.packed.bytes().size() + weight.scale.bytes().size(),
               written = tiles_of(made) * tile_bytes(made);
  return {.shape = shape,
          .scheme = scheme,
          .bytes = double(read + written),
          .time = meter.time([&](int) { repack(); })};
}

}  // namespace

RepackResult run_repack_bench(const RepackBench& bench) {
  const auto backend = make_cuda_backend();
  GpuMeter meter(*backend, Regime::kCold);
  RepackResult report{.conditions = meter.conditions()};
  report.conditions.peaks = meter.measure_peaks();
  for (const GemmShape& shape : bench.shapes)
    for (const std::string& scheme : bench.schemes)
      report.rows.push_back(measure(*backend, meter, shape, scheme));
  return report;
}

}  // namespace emberq::bench
