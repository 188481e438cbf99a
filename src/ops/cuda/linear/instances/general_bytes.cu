#include "ops/cuda/linear/general_dispatch.cuh"

namespace emberq::cuda {
namespace {

template <ByteCode kCode, Product kProduct>
void start(const GeneralCall& call, const ByteTiles& tiles) {
  start_general<ByteSource<kCode, kProduct>>(
      call,
      {.tiles = tiles.tiles,
       .k_tiles = tiles.k_tiles,
       .tile_bytes = tiles.tile_bytes,
       .scale = tiles.scale,
       .groups = tiles.scale ? int(call.op.x.dim / tiles.group_size) : 0,
       .group_size = int(tiles.group_size),
       .group_inputs = kTileInputs / tiles.groups_per_tile},
      tiles.scale ? tiles.group_size : kTileInputs / tiles.groups_per_tile);
}

}  // namespace

void general_bytes(const GeneralCall& call, const ByteTiles& tiles) {
  if (tiles.code == ByteCode::kE4m3)
    start<ByteCode::kE4m3, Product::kBf16>(call, tiles);
  else if (call.integers)
    start<ByteCode::kInteger, Product::kS8>(call, tiles);
  else
    start<ByteCode::kInteger, Product::kBf16>(call, tiles);
}

}  // namespace emberq::cuda
