#include "quant/recipe/recipe.h"

namespace emberq {
namespace {

// The published methods: each quantizes what its paper does.

constexpr std::string_view kFireq = R"({
  "name": "fireq",
  "smoothing": {"value_scale": 0.9, "gate_up": "mean", "down": "mean",
                "pre_rope": {"alpha": 8}, "post_rope": {"beta": 8, "top_k": 8}},
  "weights": "int4-g128-e4m3", "activations": "fp8-token", "kv": "int4-head", "query": "fp8-head"})";

constexpr std::string_view kFireqUnsmoothed = R"({
  "name": "fireq-unsmoothed",
  "weights": "int4-g128-e4m3", "activations": "fp8-token", "kv": "int4-head", "query": "fp8-head"})";

constexpr std::string_view kFireqW4 = R"({"name": "fireq-w4", "weights": "int4-g128-e4m3"})";

constexpr std::string_view kKv4 = R"({"name": "kv4-only", "kv": "int4-head"})";

constexpr std::string_view kFireqKv4 = R"({
  "name": "fireq-kv4",
  "smoothing": {"pre_rope": {"alpha": 8}, "post_rope": {"beta": 8, "top_k": 8}}, "kv": "int4-head"})";

constexpr std::string_view kFireqSmoothing = R"({
  "name": "fireq-smoothing",
  "smoothing": {"value_scale": 0.9, "gate_up": "mean", "down": "mean",
                "pre_rope": {"alpha": 8}, "post_rope": {"beta": 8, "top_k": 8}}})";

constexpr std::string_view kFlexq = R"({
  "name": "flexq",
  "weights": "int6-g128", "activations": "int6-g128",
  "sensitive_activations": {"scheme": "int8-g128", "share": 0.25}})";

constexpr std::string_view kSmoothquant = R"({
  "name": "smoothquant",
  "smoothing": {"qkv": {"smoothquant": 0.85}, "gate_up": {"smoothquant": 0.85}},
  "weights": "int8-channel", "activations": "int8-token"})";

constexpr std::string_view kFp8 =
    R"({"name": "fp8", "weights": "fp8e4m3-channel", "activations": "fp8-token"})";

constexpr std::string_view kQserve = R"({
  "name": "qserve",
  "smoothing": {"pre_rope": {"smoothquant": 0.5}}, "rotation": {"residual": true},
  "weights": "int4-g128-asym", "activations": "int8-token", "kv": "int4-asym"})";

constexpr std::string_view kRtn4 = R"({"name": "rtn4", "weights": "int4-g128"})";

// Ours.

constexpr std::string_view kEmberq4 = R"({
  "name": "emberq4",
  "smoothing": {"qkv": "search", "o": "search", "gate_up": "search", "down": "search",
                "pre_rope": {"rms_balance": 0.5}},
  "rotation": {"keys": true}, "subtract_kv_mean": true,
  "weights": {"default": "lut4-g128", "v_proj": "fp6e2m3-g128"}, "activations": "fp8-token",
  "kv": "int4-asym-mse", "query": "fp8-head", "probability": "fp8",
  "rounding": {"method": "gptq"}, "calibration_windows": 160})";

constexpr std::string_view kEmberq6 = R"({
  "name": "emberq6",
  "smoothing": {"down": {"rms_balance": 0.5}, "pre_rope": {"rms_balance": 0.5}},
  "rotation": {"residual": true, "values": true, "keys": true, "down": 512},
  "weights": {"default": "int6-g128", "v_proj": "int8-g128"}, "activations": "int8-token",
  "kv": "int8-head", "query": "int8-head", "probability": "fp16",
  "rounding": {"method": "gptq"}, "calibration_windows": 160})";

constexpr std::string_view kMixed = R"({
  "name": "mixed",
  "smoothing": {"qkv": "search", "o": "search", "gate_up": "search", "down": "search",
                "pre_rope": {"rms_balance": 0.5}},
  "rotation": {"keys": true}, "subtract_kv_mean": true,
  "weights": "lut4-g128", "bit_allocation": {"target_bits": 4.5}, "activations": "fp8-token",
  "kv": "int4-asym-mse", "query": "fp8-head", "probability": "fp8",
  "rounding": {"method": "gptq"}, "calibration_windows": 160})";

}  // namespace

std::vector<BuiltinRecipe> builtin_recipes() {
  return {
      {"emberq4", "W4A8-FP8 KV4, some 4.2 bits a weight: the default", kEmberq4},
      {"emberq6", "W6A8-INT8 KV8, next to no loss", kEmberq6},
      {"mixed", "4, 6 and 8 bits by sensitivity (--target-bits, --max-ppl-increase)", kMixed},
      {"fireq", "FireQ as published: W4A8-FP8 KV4 with all smoothing", kFireq},
      {"fireq-unsmoothed", "the same with no smoothing", kFireqUnsmoothed},
      {"fireq-w4", "FireQ's weight rounding alone", kFireqW4},
      {"kv4-only", "the INT4 KV cache alone", kKv4},
      {"fireq-kv4", "the INT4 KV cache with N and S", kFireqKv4},
      {"fireq-smoothing", "FireQ's smoothing alone, nothing rounded", kFireqSmoothing},
      {"flexq", "FlexQ as published: W6A6, A8 where it is most sensitive", kFlexq},
      {"smoothquant", "W8A8-INT8, one scale a row, inputs smoothed", kSmoothquant},
      {"fp8", "W8A8-FP8, one scale a row", kFp8},
      {"qserve", "W4A8-INT8 KV4, progressive groups, rotated", kQserve},
      {"rtn4", "W4 alone, rounded to nearest", kRtn4},
  };
}

}  // namespace emberq
