#include "ops/cuda/linear/general.h"

#include "ops/cuda/linear/codes_to_bf16.h"
#include "ops/cuda/linear/general_calls.h"
#include "ops/cuda/linear/tile_order.h"
#include "ops/cuda/rows/row_config.h"

namespace emberq::cuda {
namespace {

// Calls start(call) with the inputs as the product takes them: integers with integers, or BF16.
template <class Start>
void with_inputs(Backend& backend, const Linear& op, bool integer_weights, cudaStream_t stream,
                 const Start& start) {
  require_vectors("linear", op.x.dim);
  if (op.out.rows == 0) return;
  const bool integers = integer_weights && op.x.dtype == DType::kI8;
  if (!op.x.quantized() || integers) return start(GeneralCall{op, op.x.data, integers, stream});
  const Buffer values = codes_to_bf16(backend, op.x, stream);
  start(GeneralCall{op, values.as<void>(), false, stream});
}

}  // namespace

void linear_general(Backend& backend, const Linear& op, const ByteWeight& weight,
                    cudaStream_t stream) {
  with_inputs(backend, op, has_integers(weight), stream, [&](const GeneralCall& call) {
    general_bytes(call, {.code = weight.code,
                         .tiles = weight.tiles.as<uint8_t>(),
                         .k_tiles = int(weight.k_tiles),
                         .tile_bytes = kByteTileCodeBytes,
                         .scale = weight.scale.as<float>(),
                         .group_size = weight.group_size,
                         .groups_per_tile = 1});
  });
}

void linear_general(Backend& backend, const Linear& op, const TiledWeight& weight,
                    cudaStream_t stream) {
  with_inputs(backend, op, has_integers(weight), stream, [&](const GeneralCall& call) {
    if (weight.format != OperandFormat::kE4m3) return general_nibbles(call, weight);
    general_bytes(call, {.code = ByteCode::kE4m3,
                         .tiles = weight.tiles.as<uint8_t>(),
                         .k_tiles = int(weight.k_tiles),
                         .tile_bytes = tile_bytes<ByteTile>(weight.groups),
                         .scale = nullptr,
                         .group_size = 0,
                         .groups_per_tile = weight.groups});
  });
}

void linear_general(Backend& backend, const Linear& op, const void* weight, cudaStream_t stream) {
  with_inputs(backend, op, false, stream,
              [&](const GeneralCall& call) { general_dense(call, weight); });
}

}  // namespace emberq::cuda
