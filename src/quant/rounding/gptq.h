#pragma once

#include <optional>
#include <vector>

#include "quant/layer/f64_layer.h"
#include "tensor/quantized_weight.h"

namespace emberq {

// Sums over calibration tokens: x is a linear's input in the original model, x̂ its input in the
// model quantized so far, rounded as the linear rounds it.
struct InputSums {
  int64_t tokens = 0;
  std::vector<double> gram;  // [k, k] x̂ x̂^T
  // What the original gives, one of the two; neither where x is x̂:
  std::vector<double> cross;    // [k, k] x x̂^T
  std::vector<double> outputs;  // [n, k] (W x) x̂^T, without the bias
  // [n, k] (r - r̂) x̂^T, for linears that add to the residual stream r; else empty
  std::vector<double> residual;
};

struct InputStatistics {
  int64_t k = 0;
  InputSums all;
  // How far they hold for other text (quant/rounding/generalization.h); as they are here: entirely.
  double shrinkage = 0;           // of the gram, 0 ... 1
  std::optional<InputSums> half;  // of every other window
};

struct GptqOptions {
  double dampening_frac = 0.01;      // of the gram's mean diagonal, added to the diagonal
  double input_correction = 1;       // of the way from W to the W' that makes W' x̂ nearest to W x
  double residual_correction = 0.5;  // of the way to the W' that makes up for r - r̂
  int refinements = 2;               // rounds of refitted scales and coordinate descent
};

// Rounds W so that sum |W' x - Ŵ x̂|^2 is small: GPTQ (Frantar et al., 2210.17323, with columns in
// the order of falling input power and scales fixed before), aimed at the original's outputs rather
// than at W x̂, then refined: the scales by least squares given the codes, and each code given all
// others, as long as the sum falls. Error from
//
//   target = W + (c (outputs - W gram) + d residual) H^-1,   H = gram + damping
//
// With `shrinkage` α the damping is at least α / (1 - α), which is the gram's estimate for other
// text; with `half` c and d are multiplied by the share of each correction that holds there.
//
// Schemes without zero points, Dequant::kExact or LUT4; BF16 scales. Products of LUT4 are
// rounded in all of these steps but the least squares, whose scales are taken where they are better
// with products rounded too.
QuantizedWeight gptq(const F64Linear& linear, const WeightScheme& scheme,
                     const InputStatistics& inputs, const GptqOptions& options);

}  // namespace emberq
