#include "ops/cuda/tensor_map.h"

#include "base/check.h"
#include "ops/cuda/cuda_check.h"

namespace emberq::cuda {
namespace {

// Of the driver that is there: nothing links to it, so that programs start where there is none.
auto* encode_function() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found;
  CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                              cudaEnableDefault, &found));
  EMBERQ_CHECK(found == cudaDriverEntryPointSuccess, "the driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

CUtensorMap map_rows(const Activations& x, int rows) {
  static auto* const encode = encode_function();
  const cuuint64_t sizes[] = {cuuint64_t(x.dim), cuuint64_t(x.rows)},
                   row_bytes[] = {cuuint64_t(x.dim)};
  const cuuint32_t box[] = {128, cuuint32_t(rows)}, steps[] = {1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, x.data, sizes, row_bytes, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  EMBERQ_CHECK(result == CUDA_SUCCESS, "a tensor map of [{}, {}] e4m3 in boxes of {}: error {}",
               x.rows, x.dim, rows, int(result));
  return map;
}

}  // namespace emberq::cuda
