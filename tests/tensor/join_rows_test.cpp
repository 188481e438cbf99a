#include "tensor/join_rows.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace emberq::join_rows_test {
namespace {

Tensor counting(int64_t rows, int64_t columns, float first) {
  std::vector<float> values(size_t(rows * columns));
  for (float& value : values) value = first++;
  return Tensor::of({rows, columns}, values);
}

TEST(JoinRows, PutsMatricesOneBehindTheOther) {
  const Tensor parts[] = {counting(2, 3, 0), counting(1, 3, 100)};
  const Tensor joined = join_rows(parts, 0);
  EXPECT_EQ(joined.shape(), (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(joined.to_float(), (std::vector<float>{0, 1, 2, 3, 4, 5, 100, 101, 102}));
}

TEST(JoinRows, TakesBlocksOfEachInTurn) {
  const Tensor parts[] = {counting(4, 1, 0), counting(4, 1, 10)};
  EXPECT_EQ(join_rows(parts, 2).to_float(), (std::vector<float>{0, 1, 10, 11, 2, 3, 12, 13}));
}

TEST(JoinRows, RefusesMatricesOfOtherWidthsAndUnevenBlocks) {
  const Tensor widths[] = {counting(2, 3, 0), counting(2, 4, 0)};
  EXPECT_THROW(join_rows(widths, 0), Error);
  const Tensor heights[] = {counting(4, 1, 0), counting(2, 1, 0)};
  EXPECT_THROW(join_rows(heights, 2), Error);
  const Tensor odd[] = {counting(3, 1, 0), counting(3, 1, 0)};
  EXPECT_THROW(join_rows(odd, 2), Error);
}

QuantizedWeight weight(int64_t n, float first_scale) {
  return {.scheme = {.bits = 4, .group_size = 8},
          .n = n,
          .k = 16,
          .packed = Tensor::copy_of(
              DType::kI32, {n, 2},
              std::span<const int32_t>(std::vector<int32_t>(size_t(2 * n), int32_t(n)))),
          .scale = counting(n, 2, first_scale)};
}

TEST(JoinRows, JoinsCodesAndScalesOfLinearsInTheSameCodes) {
  QuantizedWeight parts[] = {weight(2, 0), weight(1, 50)};
  ASSERT_TRUE(can_join_rows(parts));
  const QuantizedWeight joined = join_rows(parts, 0);
  EXPECT_EQ(joined.n, 3);
  EXPECT_EQ(joined.k, 16);
  EXPECT_EQ(joined.scale.to_float(), (std::vector<float>{0, 1, 2, 3, 50, 51}));
  EXPECT_EQ(joined.packed.data<int32_t>()[4], 1);
  parts[1].global_scale = 2;
  EXPECT_FALSE(can_join_rows(parts));
  EXPECT_THROW(join_rows(parts, 0), Error);
}

}  // namespace
}  // namespace emberq::join_rows_test
