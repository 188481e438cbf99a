#include "measure/repack_bench.h"

#include "base/check.h"
#include "format/bf16.h"
#include "format/pack.h"
#include "measure/cuda/gpu_meter.h"
#include "measure/operands.h"
#include "ops/cuda/cuda_weight.h"
#include "ops/cuda/runtime/stream.h"

namespace emberq {
namespace {

constexpr int kRepeats = 25;
constexpr int64_t kComparedTiles = 64;

using cuda::W4Weight;
using device::kW4Inputs;
using device::kW4Rows;

int64_t tiles_of(const W4Weight& weight) { return weight.row_blocks * weight.k_tiles * 2; }

// One tile as its order says, for a weight with one scale in a tile's row.
std::vector<uint32_t> expected_tile(const QuantizedWeight& weight, cuda::W4Codes codes,
                                    int64_t row_tile, int64_t k_tile) {
  std::vector<uint32_t> tile(device::w4_tile_bytes(codes, 1) / 4);
  const auto* packed = weight.packed.data<uint32_t>();
  const auto* scale = weight.scale.data<uint16_t>();
  for (int in_tile = 0; in_tile < kW4Rows; ++in_tile) {
    const int64_t row = row_tile * kW4Rows + in_tile;
    if (row >= weight.n) break;
    for (int k = 0; k < kW4Inputs; ++k) {
      const auto place = device::w4_place(codes, in_tile, k);
      const auto code = size_t(row * weight.k + k_tile * kW4Inputs + k);
      tile[size_t(place.word)] |=
          device::w4_bits(codes, place, uint32_t(packed_code(packed, code, 4) + 8));
    }
    const int pair = in_tile / 16 * 8 + in_tile % 8, half = in_tile / 8 % 2;
    tile[size_t(device::kW4Words + pair)] |= uint32_t(scale[row * (weight.k / kW4Inputs) + k_tile])
                                             << 16 * half;
  }
  return tile;
}

void check_order(Backend& backend, const QuantizedWeight& weight, const W4Weight& made) {
  for (const int64_t tile : spread_over(tiles_of(made), kComparedTiles)) {
    const int64_t row_tile = tile / 2 / made.k_tiles * 2 + tile % 2,
                  k_tile = tile / 2 % made.k_tiles;
    const std::vector<uint32_t> expected = expected_tile(weight, made.codes, row_tile, k_tile);
    std::vector<uint32_t> is(expected.size());
    const size_t bytes = is.size() * sizeof(uint32_t);
    backend.download(is.data(), made.tiles.as<std::byte>() + size_t(tile) * bytes, bytes);
    backend.synchronize();
    EMBERQ_CHECK(is == expected, "bench repack: {} weights of {} x {}: tile {} is not in order",
                 name(weight.scheme), weight.n, weight.k, tile);
  }
}

RepackRow measure(Backend& backend, cuda::GpuMeter& meter, const GemmShape& shape,
                  const std::string& scheme) {
  const QuantizedWeight weight = random_weight(shape.n, shape.k, *weight_scheme_from_name(scheme));
  const cuda::CanonicalWeight canonical = cuda::upload_canonical(backend, weight);
  const auto repack = [&] {
    return cuda::repack(backend, canonical, shape.n, shape.k, cuda::stream_of(backend));
  };
  const W4Weight made = repack();
  check_order(backend, weight, made);
  const size_t read = weight.packed.bytes().size() + weight.scale.bytes().size(),
               written =
                   size_t(tiles_of(made)) * size_t(device::w4_tile_bytes(made.codes, made.sets));
  return {.shape = shape,
          .scheme = scheme,
          .bytes = double(read + written),
          .time = meter.time([&](int) { repack(); }, kRepeats)};
}

}  // namespace

RepackReport run_repack_bench(const RepackBench& bench) {
  const auto backend = make_cuda_backend();
  cuda::GpuMeter meter(*backend, Regime::kCold);
  RepackReport report{.card = meter.card(),
                      .driver = meter.driver(),
                      .peaks = meter.measure_peaks(),
                      .repeats = kRepeats,
                      .flushed_bytes = int64_t(cuda::GpuMeter::kFlushedBytes)};
  for (const GemmShape& shape : bench.shapes)
    for (const std::string& scheme : bench.schemes)
      report.rows.push_back(measure(*backend, meter, shape, scheme));
  return report;
}

}  // namespace emberq
