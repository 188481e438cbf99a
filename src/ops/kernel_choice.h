#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "ops/argmax.h"
#include "ops/attention.h"
#include "ops/embed.h"
#include "ops/linear.h"
#include "ops/per_token_quantize.h"
#include "ops/rms_norm.h"
#include "ops/rope_append_kv.h"
#include "ops/sample.h"
#include "ops/silu_and_mul.h"

namespace emberq {

// How a backend runs an operation, and how long it should take in a step.
struct KernelChoice {
  std::string kernel;           // "LinearKernel"
  std::string configuration;    // "64 tokens, 11 stages"; empty: the kernel has one
  std::string why_slow;         // why no faster kernel runs: "heads of 80 channels"; or empty
  double roof_seconds = 0;      // the least that the hardware can take; 0: not known
  double expected_seconds = 0;  // as measured of such operations; 0: not measured
};

// An operation of a model's step.
using AnyOperation = std::variant<const Embed*, const RmsNorm*, const PerTokenQuantize*,
                                  const SiluAndMul*, const Linear*, const RopeAppendKv*,
                                  const Attention*, const Argmax*, const Sample*>;

// What reports call it.
template <class Op>
constexpr std::string_view operation_name() {
  if constexpr (std::is_same_v<Op, Embed>)
    return "embed";
  else if constexpr (std::is_same_v<Op, RmsNorm>)
    return "rms_norm";
  else if constexpr (std::is_same_v<Op, PerTokenQuantize>)
    return "per_token_quantize";
  else if constexpr (std::is_same_v<Op, SiluAndMul>)
    return "silu_and_mul";
  else if constexpr (std::is_same_v<Op, Linear>)
    return "linear";
  else if constexpr (std::is_same_v<Op, RopeAppendKv>)
    return "rope_append_kv";
  else if constexpr (std::is_same_v<Op, Attention>)
    return "attention";
  else if constexpr (std::is_same_v<Op, Argmax>)
    return "argmax";
  else
    return "sample";
}

// A backend that says which kernels it starts. run() goes by the same choice.
class KernelChooser {
 public:
  virtual ~KernelChooser() = default;
  virtual KernelChoice choice(const AnyOperation& op) = 0;
};

}  // namespace emberq
