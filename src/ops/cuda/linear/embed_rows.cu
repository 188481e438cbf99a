// Rows of a quantized table. Of tiles, a source (general_source.cuh) gives sixteen rows to a warp,
// and the four lanes that have a part of the token's row write it.
#include <cuda_bf16.h>

#include "ops/cuda/linear/canonical.cuh"
#include "ops/cuda/linear/embed_rows.h"
#include "ops/cuda/linear/general_source.cuh"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

struct EmbedCanonicalKernel {
  struct Args {
    CanonicalCodes table;
    const int32_t* ids;  // [tokens]
    __nv_bfloat16* out;  // [tokens, k]
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 4;

  static __device__ void run(const Args& a) {
    const int id = a.ids[blockIdx.x];
    if (id < 0 || id >= a.table.n) __trap();
    for (int k = int(threadIdx.x); k < a.table.k; k += kThreads)
      a.out[int64_t(blockIdx.x) * a.table.k + k] = __float2bfloat16_rn(a.table.value(id, k));
  }
};

template <class Source>
struct EmbedTilesKernel {
  struct Args {
    typename Source::Args source;
    const int32_t* ids;  // [tokens]
    __nv_bfloat16* out;  // [tokens, k]
    int64_t rows;        // of the table
    int k;
  };
  static constexpr int kThreads = 256;
  static constexpr int kMinBlocksPerSm = 2;

  static __device__ float number(uint32_t pair, int i) {
    return __uint_as_float(i == 0 ? pair << 16 : pair & 0xffff0000);
  }

  static __device__ void run(const Args& a) {
    const int id = a.ids[blockIdx.x], lane = lane_index();
    if (id < 0 || id >= a.rows) __trap();
    const bool high = id % 16 >= 8;
    if (lane / 4 != id % 8) return;
    const Source source(a.source, id / 16);
    __nv_bfloat16* row = a.out + int64_t(blockIdx.x) * a.k;
    for (int k_tile = int(threadIdx.x) / 32; k_tile < a.source.k_tiles; k_tile += kThreads / 32) {
      typename Source::Raw raw;
      source.load(k_tile, raw);
#pragma unroll
      for (int step = 0; step < kTileSteps; ++step) {
        uint32_t codes[8];
        source.fragment(raw, k_tile, step, codes);
#pragma unroll
        for (int q = 0; q < 2; ++q) {
          const int k = k_tile * kTileInputs + step * kStepInputs + 16 * q + lane % 4 * 4;
          if (k >= a.k) continue;
          const uint32_t pairs[2] = {high ? codes[4 * q + 1] : codes[4 * q],
                                     high ? codes[4 * q + 3] : codes[4 * q + 2]};
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const WeightScales scales = source.scales(k + i);
            row[k + i] = __float2bfloat16_rn(number(pairs[i / 2], i % 2) *
                                             (high ? scales.high : scales.low));
          }
        }
      }
    }
  }
};

template <class Source>
void start(const Embed& op, const typename Source::Args& source, cudaStream_t stream) {
  if (op.out.rows == 0) return;
  launch<EmbedTilesKernel<Source>>(dim3(unsigned(op.out.rows)), stream,
                                   {.source = source,
                                    .ids = op.ids,
                                    .out = static_cast<__nv_bfloat16*>(op.out.data),
                                    .rows = op.table->n,
                                    .k = int(op.out.dim)});
}

template <ByteCode kCode>
using Bytes = ByteSource<kCode, Product::kBf16>;

template <OperandFormat kFormat>
void start_nibbles(const Embed& op, const TiledWeight& table, cudaStream_t stream) {
  const int bytes =
      with_tile(kFormat, [&]<class Tile>() { return tile_bytes<Tile>(table.groups); });
  start<NibbleSource<kFormat, Product::kBf16>>(op,
                                               {.tiles = table.tiles.as<uint8_t>(),
                                                .k_tiles = int(table.k_tiles),
                                                .tile_bytes = bytes,
                                                .group_inputs = kTileInputs / table.groups,
                                                .params = table.params},
                                               stream);
}

}  // namespace

void embed_rows(const Embed& op, const CanonicalWeight& table, cudaStream_t stream) {
  if (op.out.rows == 0) return;
  launch<EmbedCanonicalKernel>(dim3(unsigned(op.out.rows)), stream,
                               {.table = CanonicalCodes::of(table, op.table->n, op.table->k),
                                .ids = op.ids,
                                .out = static_cast<__nv_bfloat16*>(op.out.data)});
}

void embed_rows(const Embed& op, const ByteWeight& table, cudaStream_t stream) {
  const auto start_bytes = [&]<ByteCode kCode>() {
    start<Bytes<kCode>>(op,
                        {.tiles = table.tiles.as<uint8_t>(),
                         .k_tiles = int(table.k_tiles),
                         .tile_bytes = kByteTileCodeBytes,
                         .scale = table.scale.as<float>(),
                         .groups = int(op.table->k / table.group_size),
                         .group_size = int(table.group_size)},
                        stream);
  };
  if (table.code == ByteCode::kE4m3)
    start_bytes.template operator()<ByteCode::kE4m3>();
  else
    start_bytes.template operator()<ByteCode::kInteger>();
}

void embed_rows(const Embed& op, const TiledWeight& table, cudaStream_t stream) {
  switch (table.format) {
    case OperandFormat::kLut4:
      return start_nibbles<OperandFormat::kLut4>(op, table, stream);
    case OperandFormat::kInt4:
      return start_nibbles<OperandFormat::kInt4>(op, table, stream);
    case OperandFormat::kLut4E4m3:
      return start_nibbles<OperandFormat::kLut4E4m3>(op, table, stream);
    case OperandFormat::kInt4E4m3:
      return start_nibbles<OperandFormat::kInt4E4m3>(op, table, stream);
    case OperandFormat::kE4m3:
      return start<Bytes<ByteCode::kE4m3>>(op,
                                           {.tiles = table.tiles.as<uint8_t>(),
                                            .k_tiles = int(table.k_tiles),
                                            .tile_bytes = tile_bytes<ByteTile>(table.groups),
                                            .scale = nullptr,
                                            .groups = 0,
                                            .group_size = 0,
                                            .group_inputs = kTileInputs / table.groups},
                                           stream);
  }
}

}  // namespace emberq::cuda
