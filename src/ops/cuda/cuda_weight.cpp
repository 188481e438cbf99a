#include "ops/cuda/cuda_weight.h"

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/parallel.h"
#include "format/bf16.h"
#include "format/fp16.h"

namespace emberq::cuda {
namespace {

template <class Stored, class ToFloat>
Buffer upload_rounded(Backend& backend, const Tensor& dense, const ToFloat& to_float) {
  constexpr int64_t kChunk = 1 << 16;  // enough work for a thread
  const Stored* from = dense.data<Stored>();
  std::vector<bf16> values(size_t(dense.size()));
  parallel_for(0, (dense.size() + kChunk - 1) / kChunk, [&](int64_t chunk) {
    const int64_t end = std::min(dense.size(), (chunk + 1) * kChunk);
    for (int64_t i = chunk * kChunk; i < end; ++i)
      values[size_t(i)] = bf16::from_float(to_float(from[i]));
  });
  return upload(backend, values);
}

}  // namespace

const CudaWeight& cuda_weight(const Weight& weight) {
  const auto* own = dynamic_cast<const CudaWeight*>(weight.impl.get());
  EMBERQ_CHECK(own, "the cuda backend was given a weight of another backend");
  return *own;
}

UnquantizedWeight upload_unquantized(Backend& backend, const Tensor& dense) {
  switch (dense.dtype()) {
    case DType::kBF16:
      return {upload(backend, dense.bytes())};
    case DType::kF16:
      return {upload_rounded<fp16>(backend, dense, [](fp16 x) { return x.to_float(); })};
    case DType::kF32:
      return {upload_rounded<float>(backend, dense, [](float x) { return x; })};
    default:
      throw Error(fmt::format("cuda: a weight of {}", name(dense.dtype())));
  }
}

CanonicalWeight upload_canonical(Backend& backend, const QuantizedWeight& weight) {
  CanonicalWeight result{.scheme = weight.scheme,
                         .global_scale = weight.global_scale,
                         .scale_type = weight.scale.dtype()};
  int& group = result.scheme.group_size;
  if (group == 0) group = int(weight.k);
  EMBERQ_CHECK(weight.k % group == 0, "cuda: {} inputs in groups of {}", weight.k, group);
  EMBERQ_REQUIRE(weight.k % 8 == 0,
                 "the cuda backend multiplies weights of multiples of 8 inputs, not {} of [{}, {}]",
                 name(weight.scheme), weight.n, weight.k);
  EMBERQ_REQUIRE(!weight.scheme.zero_point || weight.scheme.bits < 8,
                 "the cuda backend has no zero points of eight-bit weights, as in {}",
                 name(weight.scheme));
  result.packed = upload(backend, weight.packed.bytes());
  result.scale = upload(backend, weight.scale.bytes());
  if (weight.scheme.zero_point) result.zero_point = upload(backend, weight.zero_point.bytes());
  return result;
}

size_t bytes_read(const CudaWeight& prepared, const QuantizedWeight& weight) {
  const auto* tiled = std::get_if<TiledWeight>(&prepared.data);
  const bool general = std::holds_alternative<ByteWeight>(prepared.data),
             bytes = general || (tiled && tiled->format == OperandFormat::kE4m3);
  const size_t codes = bytes ? size_t(weight.n * weight.k) : weight.packed.bytes().size();
  return codes +
         (general ? size_t(weight.scale.size()) * sizeof(float) : weight.scale.bytes().size());
}

bool has_operand(const CanonicalWeight& weight, int64_t k) {
  const int group = weight.scheme.group_size;
  return operand_format(weight.scheme) && weight.scale_type == DType::kBF16 && k % 32 == 0 &&
         (group == k || group == 32 || group == 64 || group == 128);
}

}  // namespace emberq::cuda
