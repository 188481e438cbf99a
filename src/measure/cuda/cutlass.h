#pragma once

#include <string>

#include "ops/backend.h"

// CUTLASS's product of four-bit integers with e4m3 numbers, the collective of its example 55, to
// compare with. CUTLASS is headers: it is here in a build that was given them (EMBERQ_CUTLASS_DIR).
namespace emberq::cuda {

std::string cutlass_version();  // "4.2.0"; empty in a build without

// A weight of int4-g128-e4m3 as it takes it: codes in its order, and for each group the e4m3
// numbers of the codes -8 to -1 instead of a scale.
struct CutlassWeight {
  int64_t n = 0, k = 0;
  float per_tensor_scale = 1;
  Buffer codes;    // n * k / 2 bytes
  Buffer numbers;  // [k / 128, n] of 8 bytes
  size_t bytes = 0;
};
CutlassWeight cutlass_weight(Backend& backend, const QuantizedWeight& weight);

// out[m, n] = sum_k x[m, k] * w[n, k] in BF16, of e4m3 x without scales, on the backend's stream.
class CutlassProduct {
 public:
  // Of which there must be whole ones: with fewer inputs, what CUTLASS orders codes by writes past
  // them.
  static constexpr int64_t kOutputs = 16, kInputs = 256;
  CutlassProduct(Backend& backend, int64_t n, int64_t k, int64_t m);

  // Tiles of 128 outputs by 16 to 256 tokens, each whole and with K cut where CUTLASS's stream-K
  // would.
  static int variants();
  static std::string name(int variant);  // "128x16" or "128x16 stream-K"
  // False where it does not multiply this shape.
  bool run(int variant, const void* x, const CutlassWeight& weight, void* out) const;

 private:
  Backend* backend_;
  int64_t n_, k_, m_;
  Buffer workspace_;
};

}  // namespace emberq::cuda
