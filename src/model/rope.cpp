#include "model/rope.h"

#include <algorithm>
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

void RopeTable::reserve(int64_t count) {
  if (count <= count_) return;
  ++moves_;
  count_ = std::max(count, 2 * count_);
  const int64_t half = int64_t(frequencies_.size());
  std::vector<float> cos(size_t(count_ * half)), sin(cos.size());
  parallel_for(0, count_, [&](int64_t position) {
    for (int64_t j = 0; j < half; ++j) {
      const double angle = double(position) * frequencies_[size_t(j)];
      cos[size_t(position * half + j)] = float(std::cos(angle));
      sin[size_t(position * half + j)] = float(std::sin(angle));
    }
  });
  cos_ = upload(*backend_, cos);
  sin_ = upload(*backend_, sin);
}

}  // namespace emberq
