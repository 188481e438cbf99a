// Canonical to device order. A block takes one tile through shared memory: it reads rows 16 bytes
// at a time, then a thread makes the eight words that it will read when it multiplies, each from
// four neighbouring codes of two rows, and one pair of scales, or of products, of each set.
#include <array>

#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/cuda/linear/linear.h"
#include "ops/cuda/runtime/launch.cuh"

namespace emberq::cuda {
namespace {

using device::kW4Inputs;
using device::kW4Rows;

template <W4Codes kCodes>
struct RepackKernel {
  struct Args {
    const uint4* packed;    // [n, k / 32]
    const uint16_t* scale;  // [n, groups]
    uint8_t* tiles;
    int n, k, groups, group_size, sets;
    // Of products: the first eight codes' numbers, and p.
    float numbers[8], per_tensor_scale;
  };
  static constexpr int kThreads = 128;
  static constexpr int kBlocks = 16;
  static constexpr int kVectorInputs = 32, kVectors = kW4Inputs / kVectorInputs;  // of a row

  static __device__ uint4 codes(const Args& a, int row, int k) {
    if (row >= a.n || k >= a.k) return {};
    return a.packed[int64_t(row) * (a.k / kVectorInputs) + k / kVectorInputs];
  }
  static __device__ uint32_t scale(const Args& a, int row, int k) {
    if (row >= a.n || k >= a.k) return 0;
    return a.scale[int64_t(row) * a.groups + k / a.group_size];
  }
  static __device__ uint2 products(const Args& a, int row, int k) {
    const float scale_of_codes = __uint_as_float(scale(a, row, k) << 16) * a.per_tensor_scale;
    uint32_t words[2] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i)
      words[i / 4] |= uint32_t(fp8_encode(a.numbers[i] * scale_of_codes)) << i % 4 * 8;
    return {words[0], words[1]};
  }

  static __device__ void run(const Args& a) {
    const int thread = int(threadIdx.x), lane = thread % 32;
    const int first_k = int(blockIdx.x) * kW4Inputs, k_tiles = int(gridDim.x);
    // The tile's place: [block of two][k tile][of the two].
    const int64_t tile = (int64_t(blockIdx.y / 2) * k_tiles + blockIdx.x) * 2 + blockIdx.y % 2;
    uint8_t* out = a.tiles + tile * device::w4_tile_bytes(kCodes, a.sets);
    const int first_row = int(blockIdx.y) * kW4Rows;

    // A vector more for each row, so that the reads of a warp are on different banks.
    __shared__ uint4 rows[kW4Rows][kVectors + 1];
#pragma unroll
    for (int i = thread; i < kW4Rows * kVectors; i += kThreads) {
      const int row = i / kVectors, vector = i % kVectors;
      rows[row][vector] = codes(a, first_row + row, first_k + vector * kVectorInputs);
    }
    // Thread 32 s + p: pair p of set s.
    const int set = thread / 32, pair_row = first_row + lane / 8 * 16 + lane % 8;
    const int k = first_k + set * (kW4Inputs / a.sets);
    uint4 group = {};  // scales are its x alone
    if (set < a.sets) {
      if constexpr (device::are_products(kCodes)) {
        const uint2 even = products(a, pair_row, k), odd = products(a, pair_row + 8, k);
        group = {even.x, even.y, odd.x, odd.y};
      } else {
        group.x = scale(a, pair_row, k) | scale(a, pair_row + 8, k) << 16;
      }
    }
    __syncthreads();

    const int in_tile = thread / 32 * 16 + lane / 4;
    const auto* even = reinterpret_cast<const uint16_t*>(rows[in_tile]) + lane % 4;
    const auto* odd = reinterpret_cast<const uint16_t*>(rows[in_tile + 8]) + lane % 4;
    uint32_t words[8];
#pragma unroll
    for (int w = 0; w < 8; ++w) words[w] = device::w4_word(kCodes, even[4 * w], odd[4 * w]);
    auto* to = reinterpret_cast<uint4*>(out);
    to[thread] = {words[0], words[1], words[2], words[3]};
    to[128 + thread] = {words[4], words[5], words[6], words[7]};
    if (set >= a.sets) return;
    if constexpr (device::are_products(kCodes))
      reinterpret_cast<uint4*>(out + device::kW4CodeBytes)[thread] = group;
    else
      reinterpret_cast<uint32_t*>(out + device::kW4CodeBytes)[thread] = group.x;
  }
};

template <W4Codes kCodes>
void start(const CanonicalWeight& canonical, const W4Weight& to, int64_t n, int64_t k,
           cudaStream_t stream) {
  const int group_size = canonical.scheme.group_size;
  typename RepackKernel<kCodes>::Args args{.packed = canonical.packed.as<uint4>(),
                                           .scale = canonical.scale.as<uint16_t>(),
                                           .tiles = to.tiles.as<uint8_t>(),
                                           .n = int(n),
                                           .k = int(k),
                                           .groups = int(k / group_size),
                                           .group_size = group_size,
                                           .sets = to.sets,
                                           .per_tensor_scale = canonical.per_tensor_scale};
  for (int u = 0; u < 8; ++u) args.numbers[u] = weight_code_value(canonical.scheme, u);
  launch<RepackKernel<kCodes>>(dim3(unsigned(to.k_tiles), unsigned(2 * to.row_blocks)), stream,
                               args);
}

}  // namespace

W4Weight repack(Backend& backend, const CanonicalWeight& canonical, int64_t n, int64_t k,
                cudaStream_t stream) {
  const WeightScheme& scheme = canonical.scheme;
  W4Weight result{.row_blocks = (n + W4Config::kRows - 1) / W4Config::kRows,
                  .k_tiles = (k + kW4Inputs - 1) / kW4Inputs,
                  .sets = scheme.group_size < kW4Inputs ? kW4Inputs / scheme.group_size : 1};
  if (scheme.product == WeightProduct::kE4m3) {
    result.codes =
        scheme.code == WeightCode::kLut ? W4Codes::kSignedProducts : W4Codes::kIntProducts;
    result.factor = 1 / canonical.per_tensor_scale;
  } else if (scheme.code == WeightCode::kLut) {
    result.codes = W4Codes::kSigned;
    std::array<uint8_t, 16> numbers;
    for (int u = 0; u < 16; ++u) numbers[size_t(u)] = fp8_encode(weight_code_value(scheme, u));
    result.table = device::w4_table(numbers);
  } else {
    result.codes = W4Codes::kIntegers;
    result.factor = device::kW4IntegerFactor;
  }
  const int64_t tiles = result.row_blocks * result.k_tiles * 2;
  result.tiles =
      Buffer(backend, size_t(tiles) * size_t(device::w4_tile_bytes(result.codes, result.sets)));
  switch (result.codes) {
    case W4Codes::kSigned:
      start<W4Codes::kSigned>(canonical, result, n, k, stream);
      break;
    case W4Codes::kIntegers:
      start<W4Codes::kIntegers>(canonical, result, n, k, stream);
      break;
    default:  // products of either kind are made alike
      start<W4Codes::kIntProducts>(canonical, result, n, k, stream);
  }
  return result;
}

}  // namespace emberq::cuda
