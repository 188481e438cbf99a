#pragma once

#include <string>

#include "ops/backend.h"

// The INT4 x e4m3 collective of CUTLASS's example 55, to compare with. CUTLASS is headers, so only
// a build with EMBERQ_CUTLASS_DIR has it.
namespace emberq::bench {

std::string cutlass_version();  // "4.2.0"; empty in a build without

// An int4-g128-e4m3 weight for CUTLASS: codes in its order, and for each group the e4m3 products of
// the codes -8 to -1 instead of a scale.
struct CutlassWeight {
  int64_t n = 0, k = 0;
  float global_scale = 1;
  Buffer codes;    // n * k / 2 bytes
  Buffer numbers;  // [k / 128, n] of 8 bytes
  size_t bytes = 0;
};
CutlassWeight cutlass_weight(Backend& backend, const QuantizedWeight& weight);

// out[m, n] = sum_k x[m, k] * w[n, k] in BF16, of e4m3 x without scales, on the backend's stream.
class CutlassProduct {
 public:
  // n and k must be multiples of these. With other k, CUTLASS's function that orders codes writes
  // past their end.
  static constexpr int64_t kOutputs = 16, kInputs = 256;
  CutlassProduct(Backend& backend, int64_t n, int64_t k, int64_t m);

  // Tiles of 128 outputs by 16 to 256 tokens, each data-parallel and with CUTLASS's stream-K.
  static int variants();
  static std::string name(int variant);  // "128x16" or "128x16 stream-K"
  // False if the variant does not support this shape.
  bool run(int variant, const void* x, const CutlassWeight& weight, void* out) const;

 private:
  Backend* backend_;
  int64_t n_, k_, m_;
  Buffer workspace_;
};

}  // namespace emberq::bench
