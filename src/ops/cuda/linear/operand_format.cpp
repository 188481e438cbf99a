#include "ops/cuda/linear/operand_format.h"

#include "base/check.h"
#include "format/fp8.h"
#include "format/weight_code.h"
#include "ops/cuda/linear/expand.h"

namespace emberq::cuda {

std::optional<OperandFormat> operand_format(const WeightScheme& scheme) {
  const bool lut = scheme.code == WeightCode::kLut, e4m3 = scheme.dequant == Dequant::kE4m3;
  if (scheme.code == WeightCode::kFloat) return OperandFormat::kE4m3;
  if (scheme.bits != 4 || scheme.zero_point) return std::nullopt;
  if (e4m3) return lut ? OperandFormat::kLut4E4m3 : OperandFormat::kInt4E4m3;
  return lut ? OperandFormat::kLut4 : OperandFormat::kInt4;
}

OperandParams operand_params(const WeightScheme& scheme, float global_scale) {
  const std::optional<OperandFormat> format = operand_format(scheme);
  EMBERQ_CHECK(format, "{} has no operand", name(scheme));
  switch (*format) {
    case OperandFormat::kLut4: {
      std::array<uint8_t, 16> values{};
      for (int u = 0; u < 16; ++u) values[size_t(u)] = fp8_encode(weight_code_value(scheme, u));
      return {.table = make_byte_table(values)};
    }
    case OperandFormat::kInt4:
      return {.factor = kInt4Factor};
    case OperandFormat::kE4m3:
      return {};
    default:
      return {.factor = 1 / global_scale};
  }
}

}  // namespace emberq::cuda
