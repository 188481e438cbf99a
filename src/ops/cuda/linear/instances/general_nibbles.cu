#include "ops/cuda/linear/general_dispatch.cuh"

namespace emberq::cuda {
namespace {

template <OperandFormat kFormat, Product kProduct = Product::kBf16>
void start(const GeneralCall& call, const TiledWeight& weight, int tile_bytes) {
  using Source = NibbleSource<kFormat, kProduct>;
  const int group_inputs = kTileInputs / weight.groups;
  start_general<Source>(call,
                        {.tiles = weight.tiles.as<uint8_t>(),
                         .k_tiles = int(weight.k_tiles),
                         .tile_bytes = tile_bytes,
                         .group_inputs = group_inputs,
                         .params = weight.params},
                        Source::kHasProducts ? call.op.x.dim : group_inputs);
}

}  // namespace

void general_nibbles(const GeneralCall& call, const TiledWeight& weight) {
  const int bytes =
      with_tile(weight.format, [&]<class Tile>() { return tile_bytes<Tile>(weight.groups); });
  switch (weight.format) {
    case OperandFormat::kLut4:
      return start<OperandFormat::kLut4>(call, weight, bytes);
    case OperandFormat::kInt4:
      return call.integers ? start<OperandFormat::kInt4, Product::kS8>(call, weight, bytes)
                           : start<OperandFormat::kInt4>(call, weight, bytes);
    case OperandFormat::kLut4E4m3:
      return start<OperandFormat::kLut4E4m3>(call, weight, bytes);
    case OperandFormat::kInt4E4m3:
      return start<OperandFormat::kInt4E4m3>(call, weight, bytes);
    case OperandFormat::kE4m3:
      fail("four bits", "tiles of bytes given to a kernel for four bits");
  }
}

}  // namespace emberq::cuda
