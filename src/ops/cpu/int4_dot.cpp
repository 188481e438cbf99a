// Thirty-two INT4 codes at a time: two byte shuffles look them up in the group's table of e4m3
// numbers, which widen to FP16 by a shift (the exponent is then short by 2^8) and to floats by the
// machine.
#include "ops/cpu/cpu_weight.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

namespace emberq::cpu {
namespace {

// acc + x[0..8) * the low eight FP16 numbers.
__m256 multiply_add(__m256 acc, const float* x, __m128i halves) {
  return _mm256_fmadd_ps(_mm256_loadu_ps(x), _mm256_cvtph_ps(halves), acc);
}

// 16 e4m3 bytes as FP16 numbers of 2^-8 times the value: sign to bit 15, the rest to bits 13:7.
__m256i widen_e4m3(__m128i bytes) {
  const __m256i wide = _mm256_cvtepi8_epi16(bytes);
  return _mm256_and_si256(_mm256_slli_epi16(wide, 7), _mm256_set1_epi16(int16_t(0xbfff)));
}

}  // namespace

float dot_int4_group(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                     const float* x) {
  const __m128i lookup = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table.data()));
  const __m128i nibble = _mm_set1_epi8(15);
  __m256 acc0 = _mm256_setzero_ps(), acc1 = acc0, acc2 = acc0, acc3 = acc0;
  int64_t i = 0;
  for (; i + 32 <= codes; i += 32) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + i / 2));
    const __m128i even = _mm_shuffle_epi8(lookup, _mm_and_si128(bytes, nibble));
    const __m128i odd = _mm_shuffle_epi8(lookup, _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble));
    const __m256i low = widen_e4m3(_mm_unpacklo_epi8(even, odd));
    const __m256i high = widen_e4m3(_mm_unpackhi_epi8(even, odd));
    acc0 = multiply_add(acc0, x + i, _mm256_castsi256_si128(low));
    acc1 = multiply_add(acc1, x + i + 8, _mm256_extracti128_si256(low, 1));
    acc2 = multiply_add(acc2, x + i + 16, _mm256_castsi256_si128(high));
    acc3 = multiply_add(acc3, x + i + 24, _mm256_extracti128_si256(high, 1));
  }
  const __m256 acc = _mm256_add_ps(_mm256_add_ps(acc0, acc1), _mm256_add_ps(acc2, acc3));
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, acc);
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  return sum * 0x1p8f + dot_int4_group_plain(packed + i / 2, codes - i, table, x + i);
}

}  // namespace emberq::cpu

#else

namespace emberq::cpu {

float dot_int4_group(const uint8_t* packed, int64_t codes, const Int4Weight::Table& table,
                     const float* x) {
  return dot_int4_group_plain(packed, codes, table, x);
}

}  // namespace emberq::cpu

#endif
