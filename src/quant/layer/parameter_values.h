#pragma once

#include <array>
#include <vector>

#include "model/parameters.h"
#include "quant/layer/f64_layer.h"

namespace emberq {

// A layer's parameter in double; empty where the model has none.
template <class Block>  // F64Layer, const or not
auto& parameter_values(Block& block, const Parameter& parameter) {
  constexpr std::array kNorms = {&F64Layer::input_layernorm, &F64Layer::post_attention_layernorm,
                                 &F64Layer::q_norm, &F64Layer::k_norm};  // by Norm
  if (parameter.kind == ParameterKind::kNorm) return block.*kNorms[size_t(parameter.norm)];
  auto& linear = block[parameter.module];
  return parameter.kind == ParameterKind::kWeight ? linear.weight : linear.bias;
}

}  // namespace emberq
