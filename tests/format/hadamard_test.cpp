#include "format/hadamard.h"

#include <gtest/gtest.h>

#include "support/hadamard_matrix.h"
#include "support/random.h"

namespace emberq::hadamard_test {
namespace {

// Column j of the matrix of n channels.
std::vector<double> column(const Hadamard& transform, int64_t n, int64_t j) {
  std::vector<double> x(static_cast<size_t>(n));
  x[size_t(j)] = 1;
  transform(x.data());
  return x;
}

TEST(Hadamard, OfEverySizeIsASymmetricMatrixOfSignsThatIsItsOwnInverse) {
  for (int64_t n = 1; n <= 160; ++n) {
    const Hadamard transform(n);
    const int64_t size = transform.size();
    ASSERT_EQ(n % size, 0);
    std::vector<std::vector<double>> columns;
    for (int64_t j = 0; j < n; ++j) columns.push_back(column(transform, n, j));
    const double magnitude = 1 / std::sqrt(double(size));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double entry = columns[size_t(j)][size_t(i)];
        ASSERT_EQ(std::abs(entry), i / size == j / size ? magnitude : 0.0)
            << n << ": " << i << ", " << j;
        ASSERT_EQ(entry, columns[size_t(i)][size_t(j)]) << n << ": " << i << ", " << j;
      }
    for (int64_t j = 0; j < n; ++j) {
      transform(columns[size_t(j)].data());
      for (int64_t i = 0; i < n; ++i)
        ASSERT_NEAR(columns[size_t(j)][size_t(i)], i == j ? 1 : 0, 1e-13) << n;
    }
  }
}

// What the header says of each size, by hand.
TEST(Hadamard, HasTheEntriesThatItsDefinitionNames) {
  struct Case {
    int64_t n, paley, width;
  };
  for (const Case& c : {Case{1, 1, 1}, Case{2, 1, 2}, Case{64, 1, 64}, Case{128, 1, 128},
                        Case{12, 12, 1}, Case{20, 20, 1}, Case{24, 12, 2}, Case{80, 20, 4},
                        Case{96, 12, 8}, Case{120, 60, 2}, Case{72, 72, 1}, Case{192, 12, 16},
                        Case{14, 1, 2}, Case{100, 20, 1}, Case{112, 1, 16}, Case{7, 1, 1}}) {
    const Hadamard transform(c.n);
    EXPECT_EQ(transform.size(), c.paley * c.width) << c.n;
    for (int64_t j = 0; j < c.n; ++j) {
      const std::vector<double> entries = column(transform, c.n, j);
      for (int64_t i = 0; i < c.n; ++i)
        ASSERT_NEAR(entries[size_t(i)], test::hadamard_entry(i, j, c.paley, c.width), 1e-15)
            << c.n << ": " << i << ", " << j;
    }
  }
}

TEST(Hadamard, HasTheLargestBlocksThereAre) {
  for (int64_t n = 1; n <= 256; ++n)
    for (int64_t size = hadamard_size(n) + 1; size <= n; ++size)
      ASSERT_TRUE(n % size != 0 || paley_order(size) == 0) << n << " in blocks of " << size;
}

// The sums of powers of two are those of checkpoints that exist.
TEST(Hadamard, OfPowersOfTwoAddsNeighboursFirstBitForBit) {
  for (int64_t n = 1; n <= 512; n *= 2) {
    const std::vector<float> x = test::normal_floats(size_t(n), uint64_t(n));
    std::vector<float> expected = x, transformed = x;
    for (int64_t distance = 1; distance < n; distance *= 2) {
      const std::vector<float> from = expected;
      for (int64_t i = 0; i < n; ++i)
        expected[size_t(i)] = i & distance ? from[size_t(i - distance)] - from[size_t(i)]
                                           : from[size_t(i)] + from[size_t(i + distance)];
    }
    for (float& value : expected) value *= float(1 / std::sqrt(double(n)));
    hadamard(transformed.data(), n);
    EXPECT_EQ(transformed, expected) << n;
  }
}

}  // namespace
}  // namespace emberq::hadamard_test
