#include "ops/cuda/cuda_weight.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "format/bf16.h"
#include "format/fp16.h"
#include "ops/cuda/runtime/upload_ring.h"
#include "tensor/join_rows.h"

namespace emberq::cuda {
namespace {

Buffer upload_rows(Backend& backend, const JoinedRows& rows) {
  Buffer buffer(backend, rows.bytes());
  upload_ring_of(backend).upload(
      buffer.as<void>(), rows.bytes(),
      [&](size_t begin, std::span<std::byte> bytes) { rows.copy(begin, bytes); });
  return buffer;
}

// The elements from `begin` on, rounded, as bytes of BF16.
template <class Stored, class ToFloat>
void round_rows(const JoinedRows& rows, size_t begin, std::span<std::byte> bytes,
                const ToFloat& to_float) {
  constexpr size_t kPiece = 4096;
  std::array<Stored, kPiece> stored;
  std::array<bf16, kPiece> rounded;
  const size_t first = begin / sizeof(bf16), count = bytes.size() / sizeof(bf16);
  for (size_t done = 0; done < count; done += kPiece) {
    const size_t now = std::min(kPiece, count - done);
    rows.copy((first + done) * sizeof(Stored),
              std::as_writable_bytes(std::span(stored).first(now)));
    for (size_t i = 0; i < now; ++i) rounded[i] = bf16::from_float(to_float(stored[i]));
    std::memcpy(bytes.data() + done * sizeof(bf16), rounded.data(), now * sizeof(bf16));
  }
}

template <class Stored, class ToFloat>
Buffer upload_rounded(Backend& backend, const JoinedRows& rows, const ToFloat& to_float) {
  const size_t bytes = rows.bytes() / sizeof(Stored) * sizeof(bf16);
  Buffer buffer(backend, bytes);
  upload_ring_of(backend).upload(buffer.as<void>(), bytes,
                                 [&](size_t begin, std::span<std::byte> piece) {
                                   round_rows<Stored>(rows, begin, piece, to_float);
                                 });
  return buffer;
}

// One of the tensors of each part.
JoinedRows joined(std::span<const QuantizedWeight> parts, Tensor QuantizedWeight::*tensor,
                  int64_t block) {
  std::vector<Tensor> tensors;
  for (const QuantizedWeight& part : parts) tensors.push_back(part.*tensor);
  return {tensors, block};
}

}  // namespace

const CudaWeight& cuda_weight(const Weight& weight) {
  const auto* own = dynamic_cast<const CudaWeight*>(weight.impl.get());
  EMBERQ_CHECK(own, "the cuda backend was given a weight of another backend");
  return *own;
}

UnquantizedWeight upload_unquantized(Backend& backend, std::span<const Tensor> parts,
                                     int64_t block) {
  const JoinedRows rows(parts, block);
  switch (rows.dtype()) {
    case DType::kBF16:
      return {upload_rows(backend, rows)};
    case DType::kF16:
      return {upload_rounded<fp16>(backend, rows, [](fp16 x) { return x.to_float(); })};
    case DType::kF32:
      return {upload_rounded<float>(backend, rows, [](float x) { return x; })};
    default:
      throw Error(fmt::format("cuda: a weight of {}", name(rows.dtype())));
  }
}

CanonicalWeight upload_canonical(Backend& backend, std::span<const QuantizedWeight> parts,
                                 int64_t block) {
  EMBERQ_CHECK(can_join_rows(parts), "cuda: weights in different codes");
  const QuantizedWeight& first = parts.front();
  CanonicalWeight result{.scheme = first.scheme,
                         .global_scale = first.global_scale,
                         .scale_type = first.scale.dtype()};
  int& group = result.scheme.group_size;
  if (group == 0) group = int(first.k);
  EMBERQ_CHECK(first.k % group == 0, "cuda: {} inputs in groups of {}", first.k, group);
  EMBERQ_REQUIRE(first.k % 8 == 0,
                 "the cuda backend multiplies weights of multiples of 8 inputs, not {} of [{}, {}]",
                 name(first.scheme), first.n, first.k);
  EMBERQ_REQUIRE(!first.scheme.zero_point || first.scheme.bits < 8,
                 "the cuda backend has no zero points of eight-bit weights, as in {}",
                 name(first.scheme));
  result.packed = upload_rows(backend, joined(parts, &QuantizedWeight::packed, block));
  result.scale = upload_rows(backend, joined(parts, &QuantizedWeight::scale, block));
  if (first.scheme.zero_point)
    result.zero_point = upload_rows(backend, joined(parts, &QuantizedWeight::zero_point, block));
  return result;
}

size_t bytes_read(const CudaWeight& prepared, std::span<const QuantizedWeight> parts) {
  const auto* tiled = std::get_if<TiledWeight>(&prepared.data);
  const bool general = std::holds_alternative<ByteWeight>(prepared.data),
             in_bytes = general || (tiled && tiled->format == OperandFormat::kE4m3);
  size_t bytes = 0;
  for (const QuantizedWeight& part : parts) {
    bytes += in_bytes ? size_t(part.n * part.k) : part.packed.bytes().size();
    bytes += general ? size_t(part.scale.size()) * sizeof(float) : part.scale.bytes().size();
  }
  return bytes;
}

bool has_operand(const CanonicalWeight& weight, int64_t k) {
  const int group = weight.scheme.group_size;
  return operand_format(weight.scheme) && weight.scale_type == DType::kBF16 && k % 32 == 0 &&
         (group == k || group == 32 || group == 64 || group == 128);
}

}  // namespace emberq::cuda
