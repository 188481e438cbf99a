#pragma once

#include <cstdint>
#include <vector>

#include "ops/backend.h"

namespace emberq {

// Random numbers to multiply, never zeros throughout: what a product draws, and so its clock,
// depends on them. A generator fast enough for gigabytes on the host; on the device a block of it
// repeats.
std::vector<uint64_t> random_words(size_t bytes, uint64_t seed);
Buffer random_bytes(Backend& backend, size_t bytes);
Buffer random_e4m3(Backend& backend, size_t count);  // all codes but NaN
Buffer random_bf16(Backend& backend, size_t count);  // of magnitude 1/2 to 2

// Codes of all kinds, and BF16 scales near 2^-8 for groups of 128. `scheme` has four bits.
QuantizedWeight random_weight(int64_t n, int64_t k, const WeightScheme& scheme);
// The same codes by the product in e4m3, with each scale rounded to an e4m3 number by 2^-8.
QuantizedWeight with_e4m3_product(const QuantizedWeight& weight);
// Rows of it, as a smaller weight.
QuantizedWeight rows_of(const QuantizedWeight& weight, const std::vector<int64_t>& rows);

// Up to `most` of 0 ... count - 1, evenly spread, the first and the last among them.
std::vector<int64_t> spread_over(int64_t count, int64_t most);

}  // namespace emberq
