#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

// x <- H x: what is large in a few of n channels is spread over all of them. H is a matrix of ±1
// over sqrt(n), symmetric, and so its own inverse:
//
//   n = m 2^a   H = P ⊗ S, of entries P[i / 2^a, j / 2^a] * S[i % 2^a, j % 2^a]
//   S           Sylvester's, of order 2^a: (-1)^popcount(i & j)
//   P           of the least order m for which n / m is a power of two and m is 1 or q + 1 for a
//               prime q = 4 t + 3: 1; or Paley's in its symmetric form (Paley 1933), -1 at [i, j]
//               where i, j >= 1 and i + j - 2 is a square modulo q, 0 included, else 1
//
// So 80 is 20 * 4, 96 is 12 * 8, 120 is 60 * 2, and powers of two are S alone. An n that has no
// such m, as 14 or 100, is taken in blocks of its largest divisor that has one, 2 or 20, each of
// which is transformed alone.
//
// Sums are made in T in this order: S by butterflies between elements 1, 2, 4, ... apart; then, of
// a P, each row's sum from its first term to its last; then the product with 1 / sqrt(n).
namespace emberq {

constexpr bool is_power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// The order m of P above for n channels; 0: there is none.
constexpr int64_t paley_order(int64_t n) {
  const auto is_prime = [](int64_t q) {
    for (int64_t divisor = 2; divisor * divisor <= q; ++divisor)
      if (q % divisor == 0) return false;
    return q > 1;
  };
  for (int64_t m = n >> std::countr_zero(uint64_t(n)); m <= n; m *= 2)
    if (m == 1 || (m % 4 == 0 && is_prime(m - 1))) return m;
  return 0;
}

// The channels that are transformed together where there are n >= 1.
constexpr int64_t hadamard_size(int64_t n) {
  int64_t blocks = 1;
  while (n % blocks != 0 || paley_order(n / blocks) == 0) ++blocks;
  return n / blocks;
}

// The transform of n channels.
class Hadamard {
 public:
  explicit Hadamard(int64_t n) : n_(n), size_(hadamard_size(n)), order_(paley_order(size_)) {
    if (order_ == 1) return;
    const int64_t q = order_ - 1;
    signs_.assign(size_t(2 * q), 1);
    for (int64_t root = 0; root < q; ++root)
      signs_[size_t(root * root % q)] = signs_[size_t(root * root % q + q)] = -1;
  }

  int64_t size() const { return size_; }
  // Additions and products of a channel.
  double operations() const { return double(order_ - 1) + std::log2(double(size_ / order_)) + 1; }

  // x [n]
  template <class T>
  void operator()(T* x) const {
    const int64_t width = size_ / order_;
    for (int64_t half = 1; half < width; half *= 2)
      for (int64_t begin = 0; begin < n_; begin += 2 * half)
        for (int64_t i = begin; i < begin + half; ++i) {
          const T a = x[i], b = x[i + half];
          x[i] = a + b;
          x[i + half] = a - b;
        }
    if (order_ > 1)
      for (int64_t begin = 0; begin < n_; begin += size_) paley(x + begin, width);
    const T scale = T(1 / std::sqrt(double(size_)));
    for (int64_t i = 0; i < n_; ++i) x[i] *= scale;
  }

 private:
  // x <- P x, for `width` vectors at once: x [order, width].
  template <class T>
  void paley(T* x, int64_t width) const {
    const std::vector<T> from(x, x + size_);
    for (int64_t i = 0; i < order_; ++i) {
      T* sum = x + i * width;
      for (int64_t j = 0; j < width; ++j) sum[j] = from[size_t(j)];
      for (int64_t l = 1; l < order_; ++l) {
        const T sign = T(i == 0 ? 1 : signs_[size_t(i + l - 2)]);
        for (int64_t j = 0; j < width; ++j) sum[j] += sign * from[size_t(l * width + j)];
      }
    }
  }

  int64_t n_, size_, order_;
  std::vector<int> signs_;  // Paley's, by i + j - 2 = 0 ... 2 q - 1
};

template <class T>
void hadamard(T* x, int64_t n) {
  Hadamard transform(n);
  transform(x);
}

}  // namespace emberq
