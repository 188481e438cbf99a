#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "format/bf16.h"
#include "format/fp16.h"

namespace emberq::tensor_test {
namespace {

template <class T>
Tensor row_of(DType dtype, const std::vector<T>& values) {
  return Tensor::copy_of(dtype, {int64_t(values.size())}, std::span(values));
}

// Row vectors of `count` ones in each floating type, one of them replaced.
struct Floating {
  DType dtype;
  Tensor (*make)(size_t count, size_t at, double value);
};
template <DType kType, class T, class Convert>
Tensor ones_but(size_t count, size_t at, double value, Convert convert) {
  std::vector<T> values(count, convert(1.0));
  values[at] = convert(value);
  return row_of(kType, values);
}
const Floating kFloating[] = {
    {DType::kF64,
     [](size_t n, size_t at, double x) {
       return ones_but<DType::kF64, double>(n, at, x, [](double v) { return v; });
     }},
    {DType::kF32,
     [](size_t n, size_t at, double x) {
       return ones_but<DType::kF32, float>(n, at, x, [](double v) { return float(v); });
     }},
    {DType::kF16,
     [](size_t n, size_t at, double x) {
       return ones_but<DType::kF16, fp16>(n, at, x,
                                          [](double v) { return fp16::from_float(float(v)); });
     }},
    {DType::kBF16,
     [](size_t n, size_t at, double x) {
       return ones_but<DType::kBF16, bf16>(n, at, x,
                                           [](double v) { return bf16::from_float(float(v)); });
     }},
};

TEST(Tensor, OfNothingIsFalseAndAViewIsTrue) {
  EXPECT_FALSE(Tensor());
  EXPECT_TRUE(Tensor::of({1}, std::vector<float>{0}));
}

TEST(Tensor, KnowsItsSizeInElementsAndBytes) {
  const Tensor tensor = row_of(DType::kBF16, std::vector<bf16>(12));
  EXPECT_EQ(tensor.size(), 12);
  EXPECT_EQ(tensor.bytes().size(), 24u);
  EXPECT_EQ(Tensor::of({}, std::vector<float>{7}).size(), 1);        // a scalar
  EXPECT_EQ(Tensor::of({3, 0, 2}, std::vector<float>{}).size(), 0);  // no elements
}

TEST(Tensor, RefusesAShapeThatItsValuesDoNotFill) {
  try {
    Tensor::of({2, 3}, std::vector<float>(5));
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("a tensor of F32 [2, 3] has 24 bytes, given 20"),
              std::string::npos)
        << e.what();
  }
}

TEST(Tensor, HoldsACopyOfItsOwn) {
  std::vector<float> values = {1, 2};
  const Tensor tensor = Tensor::of({2}, values);
  values[0] = 9;
  EXPECT_EQ(tensor.data<float>()[0], 1);
}

TEST(Tensor, KeepsTheOwnerOfAViewAlive) {
  auto memory = std::make_shared<std::vector<float>>(std::vector<float>{1, 2, 3, 4});
  const std::weak_ptr<std::vector<float>> watch = memory;
  const auto* data = reinterpret_cast<const std::byte*>(memory->data() + 2);
  {
    const Tensor copy = [&] {
      const Tensor view(DType::kF32, {2}, {memory, data}, data);
      memory.reset();
      return view;
    }();
    EXPECT_EQ(copy.to_float(), (std::vector<float>{3, 4}));
    EXPECT_FALSE(watch.expired());
  }
  EXPECT_TRUE(watch.expired());
}

TEST(Tensor, WidensEveryFloatingTypeExactly) {
  for (const Floating& type : kFloating) {
    const Tensor tensor = type.make(3, 1, -0.15625);
    EXPECT_EQ(tensor.to_double(), (std::vector<double>{1, -0.15625, 1})) << name(type.dtype);
    EXPECT_EQ(tensor.to_float(), (std::vector<float>{1, -0.15625f, 1})) << name(type.dtype);
  }
  EXPECT_EQ(row_of(DType::kF64, std::vector{0.1}).to_double()[0], 0.1);
  EXPECT_EQ(row_of(DType::kF64, std::vector{0.1}).to_float()[0], 0.1f);
}

TEST(Tensor, OfIntegersIsNoFloatingPoint) {
  const Tensor codes = row_of(DType::kI32, std::vector<int32_t>{1});
  EXPECT_THROW(codes.to_float(), Error);
  EXPECT_THROW(codes.to_double(), Error);
  EXPECT_THROW(codes.find_non_finite(), Error);
}

TEST(FindNonFinite, FindsOneAtAnyPlaceAroundItsBlocks) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const Floating& type : kFloating)
    for (const size_t at : {0u, 1u, 4095u, 4096u, 8192u, 8999u})
      for (const double bad : {infinity, -infinity, std::nan("")})
        EXPECT_EQ(type.make(9000, at, bad).find_non_finite(), int64_t(at))
            << name(type.dtype) << " " << bad;
}

TEST(FindNonFinite, FindsTheFirstOfTwo) {
  std::vector<float> values(100, 1);
  values[7] = NAN, values[5] = INFINITY;
  EXPECT_EQ(Tensor::of({100}, values).find_non_finite(), 5);
}

TEST(FindNonFinite, FindsTheFirstInALargeTensor) {
  std::vector<float> values(1'000'000, 1.0f);
  for (const size_t at : {999'999u, 700'000u, 500'000u, 131'072u, 131'071u, 3u}) {
    values[at] = NAN;
    EXPECT_EQ(Tensor::of({1000, 1000}, values).find_non_finite(), int64_t(at));
  }
}

TEST(ToFloat, OfALargeTensorKeepsEveryElementInItsPlace) {
  std::vector<float> values(1'000'003);
  for (size_t i = 0; i < values.size(); ++i) values[i] = float(i);
  EXPECT_EQ(Tensor::of({int64_t(values.size())}, values).to_float(), values);
}

TEST(FindNonFinite, PassesTheLargestAndTheSmallestNumbers) {
  EXPECT_EQ(Tensor::of({4}, std::vector<float>{3.4028235e38f, -3.4028235e38f, 1e-45f, -0.0f})
                .find_non_finite(),
            -1);
  EXPECT_EQ(row_of(DType::kF16, std::vector<fp16>{{0x7bff}, {0xfbff}, {1}}).find_non_finite(), -1);
  EXPECT_EQ(row_of(DType::kBF16, std::vector<bf16>{{0x7f7f}, {0xff7f}, {1}}).find_non_finite(), -1);
  EXPECT_EQ(Tensor::of({0}, std::vector<float>{}).find_non_finite(), -1);
}

TEST(Matrix, ViewsRowsOfRowMajorMemory) {
  float data[6] = {0, 1, 2, 3, 4, 5};
  const Matrix<float> matrix{data, 2, 3};
  EXPECT_EQ(matrix.row(1)[2], 5);
  EXPECT_EQ(matrix.size(), 6);
  EXPECT_EQ(matrix.bytes(), 24u);
  const Matrix<const float> constant = matrix;
  EXPECT_EQ(constant.row(1), data + 3);
}

TEST(ShapeText, ReadsAsAList) {
  EXPECT_EQ(shape_text(std::vector<int64_t>{512, 1536}), "[512, 1536]");
  EXPECT_EQ(shape_text(std::vector<int64_t>{}), "[]");
}

}  // namespace
}  // namespace emberq::tensor_test
