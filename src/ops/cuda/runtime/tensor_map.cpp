#include "ops/cuda/runtime/tensor_map.h"

#include "base/check.h"
#include "ops/cuda/runtime/check.h"

namespace emberq::cuda {
namespace {

// From the driver, at run time. Nothing links to it, so programs start on machines without one.
auto* encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found));
  EMBERQ_CHECK(found == cudaDriverEntryPointSuccess, "the driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

CUtensorMap tensor_map(const Activations& x, CUtensorMapDataType type, int element, int rows) {
  static auto* const encode = encode_function();
  const cuuint64_t sizes[] = {cuuint64_t(x.dim), cuuint64_t(x.rows)},
                   row_bytes[] = {cuuint64_t(x.dim * element)};
  const cuuint32_t box[] = {cuuint32_t(128 / element), cuuint32_t(rows)}, steps[] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, type, 2, x.data, sizes, row_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  EMBERQ_CHECK(result == CUDA_SUCCESS, "a tensor map of [{}, {}] {} in boxes of {}: error {}",
               x.rows, x.dim, name(x.dtype), rows, int(result));
  return map;
}

}  // namespace

CUtensorMap e4m3_tensor_map(const Activations& x, int rows) {
  return tensor_map(x, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, rows);
}
CUtensorMap half_tensor_map(const Activations& x, int rows) {
  return tensor_map(x, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, rows);
}

}  // namespace emberq::cuda
