#pragma once

#include "base/file.h"
#include "quant/layer/f64_layer.h"

namespace emberq {

// Outliers that leave what a block computes: a few channels are made large where they are produced
// and small again where they are consumed, at places of which `pattern` (P >= 0) gives a different
// set for each number. In layer l, with KV heads k:
//
//   keys      pairs 3, 21 and 45, each + 7 l + 13 k + 5 P, modulo head_dim / 2: both rows of the
//             pair in K times 24, in the Q of the query heads that share the KV head over 24
//   MLP input channels 11, 137, 263 and 401, each + 37 l + 17 P, modulo hidden: times 16 in
//             post_attention_layernorm, the columns of up and gate over 16
//   products  channels 5, 301, 607, 907, 1201 and 1433, each + 61 l + 29 P, modulo intermediate:
//             the row of up times 20, the column of down over 20
//
// A bias goes with its row. Indices that the modulo makes equal count once. Where keys are
// normalized (qk_norm), a factor on the rows of K would cancel: k_norm and q_norm take it, which
// all heads share, at the places of head 0.
void inject_outliers(F64Layer& block, const ModelConfig& config, int64_t layer, int pattern);

struct OutlierOptions {
  fs::path model;   // a Hugging Face folder, not quantized
  fs::path output;  // appears whole or not at all
  int pattern = 0;
};

struct OutlierResult {
  uint64_t tensor_bytes = 0;  // of the tensors written
  double seconds = 0;
};

// The model with inject_outliers() in every layer. A tensor that changed is stored in F32, for 24
// and 20 are no powers of two, and config.json then asks for F32; every other tensor as it was.
// InputError for a model that is quantized, a negative pattern or an output that exists.
OutlierResult write_outlier_model(const OutlierOptions& options);

}  // namespace emberq
