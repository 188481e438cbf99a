#pragma once

#include "ops/cuda/linear/general.h"

// Between general.cpp and the sources of general kernels in instances/, which compile in parallel.
namespace emberq::cuda {

struct GeneralCall {
  const Linear& op;
  const void* x;  // BF16, of codes too; or if `integers`, I8 codes
  bool integers;
  cudaStream_t stream;
};

// Tiles of bytes, with scales of their own or beside them.
struct ByteTiles {
  ByteCode code;
  const uint8_t* tiles;
  int k_tiles, tile_bytes;
  const float* scale;   // ByteWeight::scale; null: in the tiles
  int64_t group_size;   // of `scale`
  int groups_per_tile;  // of the tiles
};

void general_bytes(const GeneralCall& call, const ByteTiles& tiles);
void general_nibbles(const GeneralCall& call, const TiledWeight& weight);
void general_dense(const GeneralCall& call, const void* weight);

}  // namespace emberq::cuda
