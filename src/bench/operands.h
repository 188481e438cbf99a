#pragma once

#include <cstdint>
#include <vector>

#include "ops/backend.h"

namespace emberq::bench {

// SplitMix64: fast enough for gigabytes on the host.
class RandomWords {
 public:
  explicit RandomWords(uint64_t seed) : state_(seed) {}
  uint64_t operator()() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }

 private:
  uint64_t state_;
};
std::vector<uint64_t> random_words(size_t bytes, uint64_t seed);

// Random operands, never zeros throughout: what a product draws, and so its clock, depends on them.
// On the device a block of some megabytes repeats.
Buffer random_bytes(Backend& backend, size_t bytes);
Buffer random_e4m3(Backend& backend, size_t count);  // all codes but NaN
Buffer random_bf16(Backend& backend, size_t count);  // of magnitude 1/2 to 2
Buffer random_f32(Backend& backend, size_t count);   // of magnitude 1/2 to 2
// Of the backend's own type.
Buffer random_activations(Backend& backend, size_t bytes);

// Codes of all kinds, and BF16 scales near 2^-8 for groups of 128. `scheme` has four bits.
QuantizedWeight random_weight(int64_t n, int64_t k, const WeightScheme& scheme);
// The same codes by the product in e4m3, with each scale rounded to an e4m3 number by 2^-8.
QuantizedWeight with_e4m3_product(const QuantizedWeight& weight);
// Rows of it, as a smaller weight.
QuantizedWeight rows_of(const QuantizedWeight& weight, const std::vector<int64_t>& rows);

// Up to `most` of 0 ... count - 1, evenly spread, the first and the last among them.
std::vector<int64_t> spread_over(int64_t count, int64_t most);

}  // namespace emberq::bench
