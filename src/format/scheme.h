#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

// What a quantized tensor's numbers mean. Names are parsed and printed here only.
namespace emberq {

// What a weight's code stands for before its scale (format/weight_code.h).
enum class WeightCode {
  kInt,    // an integer, -2^(bits-1) ... 2^(bits-1) - 1
  kLut,    // 4 bits: a sign and an index into eight e4m3 magnitudes
  kFloat,  // 6 bits: e2m3; 8 bits: e4m3
};

// How a weight's codes and group scales make a value.
enum class Dequant {
  kExact,  // code * scale, in FP32: what compressed-tensors says
  kE4m3,   // e4m3(code * scale * p) / p with the per-tensor scale p: FireQ's weights, whose
           // scales are e4m3 numbers over p; those of kLut are any
};

// Weights in codes, with one scale for each row and group of `group_size` inputs.
struct WeightScheme {
  int bits = 4;
  int group_size = 128;  // 0: one scale for the row
  Dequant dequant = Dequant::kExact;
  WeightCode code = WeightCode::kInt;
  bool zero_point = false;  // kInt, kExact: the value is (code - zero point of the group) * scale
  bool operator==(const WeightScheme&) const = default;
};

// Whether kE4m3 is a choice: four bits in groups, without zero points.
bool can_dequantize_to_e4m3(const WeightScheme& scheme);

// Groups that the quantizer makes and kernels know; another maker's weights may have others.
inline constexpr std::array kGroupSizes = {32, 64, 128};

// The group of a linear of `inputs` where a scheme asks for `group_size`: that, its half and so on
// down to kGroupSizes' smallest, the first that divides the inputs; 0: none does.
int fitting_group(int group_size, int64_t inputs);

enum class ActivationCode {
  kNone,  // as computed
  kFp8,   // e4m3, scale absmax / 448
  kInt8,  // scale absmax / 127
  kInt6,  // scale absmax / 31
};

// What a linear layer's input is rounded to: codes with one FP32 scale per token (kFp8, kInt8), or
// per token and group of channels (kInt8, kInt6).
struct ActivationScheme {
  ActivationCode code = ActivationCode::kNone;
  int group_size = 0;  // of kGroupSizes; 0: one scale for the token
  bool operator==(const ActivationScheme&) const = default;

  static const ActivationScheme kNone, kFp8Token, kInt8Token;
};
inline constexpr ActivationScheme ActivationScheme::kNone = {};
inline constexpr ActivationScheme ActivationScheme::kFp8Token = {ActivationCode::kFp8};
inline constexpr ActivationScheme ActivationScheme::kInt8Token = {ActivationCode::kInt8};

// What the KV cache stores, with one scale per token, head and K or V (format/kv_code.h).
enum class KvScheme {
  kFp,           // "fp": as computed
  kInt4Head,     // INT4 symmetric, e4m3 scale
  kInt4Asym,     // 0 ... 15 from the smallest to the largest, FP16 scale and FP16 smallest
  kInt4AsymMse,  // the same codes over the range of least squared error
  kLut4Head,     // sign and e4m3 magnitude, BF16 scale chosen by least squared error
  kInt8Head,     // INT8 symmetric, BF16 scale
};

// What attention's queries are rounded to before the product with K.
enum class QueryScheme {
  kNone,
  kFp8Head,   // e4m3, one FP32 scale per token and head
  kInt8Head,  // INT8, one FP32 scale per token and head
};

// What attention's probabilities are rounded to before the product with V, as exp(s - max s).
enum class ProbabilityScheme {
  kNone,
  kFp8,   // e4m3(448 * p) / 448
  kFp16,  // FP16
};

std::string name(const WeightScheme& scheme);  // "int4-g128", "int4-g128-e4m3", "lut4-g64",
                                               // "lut4-g128-e4m3", "fp6e2m3-g128", "int8-channel",
                                               // "int4-g128-asym"
std::string name(const ActivationScheme& scheme);  // "none", "fp8-token", "int8-token",
                                                   // "int8-g128", "int6-g64"
std::string_view name(KvScheme scheme);
std::string_view name(QueryScheme scheme);
std::string_view name(ProbabilityScheme scheme);

// The names of all, in the order of the enumerations: help and errors list them.
std::span<const std::string_view> kv_scheme_names();
std::span<const std::string_view> query_scheme_names();
std::span<const std::string_view> probability_scheme_names();

std::optional<WeightScheme> weight_scheme_from_name(std::string_view name);
std::optional<ActivationScheme> activation_scheme_from_name(std::string_view name);
std::optional<KvScheme> kv_scheme_from_name(std::string_view name);
std::optional<QueryScheme> query_scheme_from_name(std::string_view name);
std::optional<ProbabilityScheme> probability_scheme_from_name(std::string_view name);

// Bits that a weight takes, its share of the scales included, where rows have `inputs` weights.
double bits_per_weight(const WeightScheme& scheme, double scale_bits, double inputs);

}  // namespace emberq
