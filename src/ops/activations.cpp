#include "ops/activations.h"

#include "base/check.h"

namespace emberq {

void check(const Activations& x, std::string_view operation) {
  EMBERQ_CHECK(x.group == 0 || (x.quantized() && x.group > 0 && x.dim % x.group == 0),
               "{}: {} rows of {} in groups of {}", operation, name(x.dtype), x.dim, x.group);
  EMBERQ_CHECK(x.dtype != DType::kI8 || x.code_max == 31 || x.code_max == 127,
               "{}: I8 codes of up to {}, neither 31 nor 127", operation, x.code_max);
}

}  // namespace emberq
