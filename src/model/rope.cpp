#include "model/rope.h"

#include <cmath>
#include <numbers>

#include "base/parallel.h"

namespace emberq {
namespace {

// Llama 3.1: wavelengths that the original context saw often are kept, those it never saw whole are
// stretched by `factor`, and between the two the share moves linearly.
double llama3_frequency(const RopeConfig& rope, double frequency) {
  const double turns = double(rope.original_max_position_embeddings) * frequency /
                       (2 * std::numbers::pi);  // in the original context
  if (turns > rope.high_freq_factor) return frequency;
  if (turns < rope.low_freq_factor) return frequency / rope.factor;
  const double kept =
      (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return kept * frequency + (1 - kept) * frequency / rope.factor;
}

}  // namespace

std::vector<double> rope_frequencies(const RopeConfig& rope, int64_t head_dim) {
  std::vector<double> frequencies;
  for (int64_t j = 0; j < head_dim / 2; ++j) {
    const double frequency = std::pow(rope.theta, -2.0 * double(j) / double(head_dim));
    switch (rope.type) {
      case RopeType::kDefault:
        frequencies.push_back(frequency);
        break;
      case RopeType::kLinear:
        frequencies.push_back(frequency / rope.factor);
        break;
      case RopeType::kLlama3:
        frequencies.push_back(llama3_frequency(rope, frequency));
        break;
    }
  }
  return frequencies;
}

void rope_angles(std::span<const double> frequencies, int64_t position, int64_t tokens, float* cos,
                 float* sin) {
  const int64_t half = int64_t(frequencies.size());
  parallel_for(0, tokens, [&](int64_t t) {
    for (int64_t j = 0; j < half; ++j) {
      const double angle = double(position + t) * frequencies[size_t(j)];
      cos[t * half + j] = float(std::cos(angle));
      sin[t * half + j] = float(std::sin(angle));
    }
  });
}

}  // namespace emberq
