#include "tensor/join_rows.h"

#include <gtest/gtest.h>

#include <algorithm>

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

// The bytes of the joined matrix, a row at a time.
std::vector<std::byte> rows_in_turn(std::span<const Tensor> parts, int64_t block) {
  std::vector<std::byte> all;
  const size_t row_bytes = size_t(parts[0].shape()[1]) * sizeof(float);
  const auto add = [&](const Tensor& part, int64_t row) {
    const auto bytes = part.bytes().subspan(size_t(row) * row_bytes, row_bytes);
    all.insert(all.end(), bytes.begin(), bytes.end());
  };
  for (int64_t first = 0; first < parts[0].shape()[0]; first += block)
    for (const Tensor& part : parts)
      for (int64_t row = first; row < first + block; ++row) add(part, row);
  return all;
}

TEST(JoinedRows, CopyAnyOfTheirBytes) {
  const Tensor same[] = {counting(6, 3, 0), counting(6, 3, 100), counting(6, 3, 200)},
               others[] = {counting(2, 3, 0), counting(5, 3, 100), counting(1, 3, 200)};
  const auto expect_ranges = [](const JoinedRows& rows, const std::vector<std::byte>& want) {
    ASSERT_EQ(rows.bytes(), want.size());
    for (size_t begin = 0; begin <= want.size(); ++begin)
      for (size_t end = begin; end <= want.size(); ++end) {
        std::vector<std::byte> got(end - begin);
        rows.copy(begin, got);
        ASSERT_TRUE(std::equal(got.begin(), got.end(), want.begin() + std::ptrdiff_t(begin)))
            << begin << " to " << end;
      }
  };
  expect_ranges(JoinedRows(same, 2), rows_in_turn(same, 2));
  std::vector<std::byte> want;
  for (const Tensor& part : others)
    want.insert(want.end(), part.bytes().begin(), part.bytes().end());
  expect_ranges(JoinedRows(others, 0), want);
}

TEST(JoinRows, OfLargeMatricesAreTheSame) {
  const Tensor parts[] = {counting(512, 600, 0), counting(512, 600, 0.5f)};
  const Tensor joined = join_rows(parts, 8);
  EXPECT_TRUE(std::ranges::equal(joined.bytes(), rows_in_turn(parts, 8)));
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
