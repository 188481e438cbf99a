#pragma once

#include <cuda_bf16.h>

#include <cstdint>

// Four bytes as BF16 numbers, exactly.
namespace emberq::cuda {

// Numbers 0 and 1, then 2 and 3.
struct Bf16Pairs {
  uint32_t pair[2];
};

// The exponent moves to BF16's place, where it is short by 120; the product puts that right, also
// for subnormal numbers.
__device__ inline Bf16Pairs e4m3_to_bf16(uint32_t bytes) {
  const auto widen = [](uint32_t high_bytes) {
    const uint32_t bits = (high_bytes & 0x80008000) | (high_bytes >> 4 & 0x07f007f0);
    constexpr uint32_t kTwoTo120 = 0x7b807b80;
    const __nv_bfloat162 product = __hmul2(reinterpret_cast<const __nv_bfloat162&>(bits),
                                           reinterpret_cast<const __nv_bfloat162&>(kTwoTo120));
    return reinterpret_cast<const uint32_t&>(product);
  };
  return {{widen(__byte_perm(bytes, 0, 0x1404)), widen(__byte_perm(bytes, 0, 0x3424))}};
}

// Byte + 128 is put in the last bits of 2^23; what is left of that without 2^23 + 128 is an integer
// whose float ends in sixteen zeros.
__device__ inline Bf16Pairs s8_to_bf16(uint32_t bytes) {
  const uint32_t unsigned_bytes = bytes ^ 0x80808080;
  const auto number = [&](uint32_t i) {
    return __float_as_uint(__fsub_rn(
        __uint_as_float(__byte_perm(unsigned_bytes, 0x4b000000, 0x7540 + i)), 0x1.0001p23f));
  };
  return {{__byte_perm(number(0), number(1), 0x7632), __byte_perm(number(2), number(3), 0x7632)}};
}

}  // namespace emberq::cuda
