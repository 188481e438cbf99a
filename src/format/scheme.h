#pragma once

#include <optional>
#include <string>
#include <string_view>

// What a quantized tensor's numbers mean. Names are parsed and printed here only.
namespace emberq {

// How a weight's codes and group scales make a value.
enum class WeightProduct {
  kExact,  // code * scale, in FP32: what compressed-tensors says
  kE4m3,   // e4m3(code * scale * p) / p with the per-tensor scale p: FireQ (fireq.md 1.1)
};

// Symmetric integer weights with one scale for each row and group of `group_size` inputs.
struct WeightScheme {
  int bits = 4;
  int group_size = 128;
  WeightProduct product = WeightProduct::kExact;
  bool operator==(const WeightScheme&) const = default;
};

// What a linear layer's input is rounded to.
enum class ActivationScheme {
  kNone,      // as computed
  kFp8Token,  // e4m3, one FP32 scale per token (absmax / 448)
};

// What the KV cache stores.
enum class KvScheme {
  kFp,        // as computed
  kInt4Head,  // INT4 symmetric, one e4m3 scale per token, head and K or V
};

// What attention's queries are rounded to before the product with K.
enum class QueryScheme {
  kNone,
  kFp8Head,  // e4m3, one FP32 scale per token and head
};

std::string name(const WeightScheme& scheme);    // "int4-g128", "int4-g128-e4m3"
std::string_view name(ActivationScheme scheme);  // "none", "fp8-token"
std::string_view name(KvScheme scheme);          // "fp", "kv4-head"
std::string_view name(QueryScheme scheme);       // "none", "fp8-head"

std::optional<WeightScheme> weight_scheme_from_name(std::string_view name);
std::optional<ActivationScheme> activation_scheme_from_name(std::string_view name);
std::optional<KvScheme> kv_scheme_from_name(std::string_view name);
std::optional<QueryScheme> query_scheme_from_name(std::string_view name);

}  // namespace emberq
