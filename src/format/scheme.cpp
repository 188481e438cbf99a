#include "format/scheme.h"

#include <algorithm>
#include <charconv>

namespace emberq {
namespace {

// Takes `prefix` and the number after it off the front of `text`.
std::optional<int> take_number(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  int value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + prefix.size(), end, value);
  if (error != std::errc() || value <= 0) return std::nullopt;
  text.remove_prefix(size_t(rest - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::string_view prefix(WeightCode code) {
  return code == WeightCode::kInt ? "int" : code == WeightCode::kLut ? "lut" : "fp";
}

// The format of a kFloat code, behind its bits.
std::string_view float_format(int bits) { return bits == 6 ? "e2m3" : "e4m3"; }

bool has_width(WeightCode code, int bits) {
  if (code == WeightCode::kLut) return bits == 4;
  return code == WeightCode::kFloat ? bits == 6 || bits == 8 : bits >= 2 && bits <= 8;
}

}  // namespace

bool can_dequantize_to_e4m3(const WeightScheme& scheme) {
  return scheme.bits == 4 && scheme.code != WeightCode::kFloat && scheme.group_size > 0 &&
         !scheme.zero_point;
}

std::string name(const WeightScheme& scheme) {
  std::string text(prefix(scheme.code));
  text += std::to_string(scheme.bits);
  if (scheme.code == WeightCode::kFloat) text += float_format(scheme.bits);
  text += scheme.group_size ? "-g" + std::to_string(scheme.group_size) : "-channel";
  if (scheme.dequant == Dequant::kE4m3) text += "-e4m3";
  if (scheme.zero_point) text += "-asym";
  return text;
}

std::optional<WeightScheme> weight_scheme_from_name(std::string_view text) {
  for (const WeightCode code : {WeightCode::kInt, WeightCode::kLut, WeightCode::kFloat}) {
    const auto bits = take_number(text, prefix(code));
    if (!bits) continue;
    if (!has_width(code, *bits)) return std::nullopt;
    if (code == WeightCode::kFloat && !take(text, float_format(*bits))) return std::nullopt;
    WeightScheme scheme{.bits = *bits, .group_size = 0, .code = code};
    if (!take(text, "-channel")) {
      const auto group_size = take_number(text, "-g");
      if (!group_size) return std::nullopt;
      scheme.group_size = *group_size;
    }
    const bool int4_groups = code == WeightCode::kInt && *bits == 4 && scheme.group_size > 0;
    if (can_dequantize_to_e4m3(scheme) && take(text, "-e4m3")) scheme.dequant = Dequant::kE4m3;
    if (int4_groups && scheme.dequant == Dequant::kExact && take(text, "-asym"))
      scheme.zero_point = true;
    return text.empty() ? std::optional(scheme) : std::nullopt;
  }
  return std::nullopt;
}

int fitting_group(int group_size, int64_t inputs) {
  while (group_size >= kGroupSizes.front() && inputs % group_size != 0) group_size /= 2;
  return group_size >= kGroupSizes.front() ? group_size : 0;
}

std::string name(const ActivationScheme& scheme) {
  if (scheme.code == ActivationCode::kNone) return "none";
  if (scheme.code == ActivationCode::kFp8) return "fp8-token";
  const std::string bits = scheme.code == ActivationCode::kInt8 ? "int8" : "int6";
  return bits + (scheme.group_size ? "-g" + std::to_string(scheme.group_size) : "-token");
}

std::optional<ActivationScheme> activation_scheme_from_name(std::string_view text) {
  for (const ActivationScheme& scheme :
       {ActivationScheme::kNone, ActivationScheme::kFp8Token, ActivationScheme::kInt8Token})
    if (text == name(scheme)) return scheme;
  for (const ActivationCode code : {ActivationCode::kInt8, ActivationCode::kInt6})
    for (const int group_size : kGroupSizes)
      if (text == name({code, group_size})) return ActivationScheme{code, group_size};
  return std::nullopt;
}

double bits_per_weight(const WeightScheme& scheme, double scale_bits, double inputs) {
  const double group = scheme.group_size ? scheme.group_size : inputs;
  return scheme.bits + (scale_bits + (scheme.zero_point ? scheme.bits : 0)) / group;
}

namespace {

// The names of a scheme's values, in their order.
constexpr std::array<std::string_view, 6> kKvNames = {
    "fp", "int4-head", "int4-asym", "int4-asym-mse", "lut4-head", "int8-head"};
constexpr std::array<std::string_view, 3> kQueryNames = {"none", "fp8-head", "int8-head"};
constexpr std::array<std::string_view, 3> kProbabilityNames = {"none", "fp8", "fp16"};

template <class Scheme, size_t kCount>
std::optional<Scheme> find(const std::array<std::string_view, kCount>& names,
                           std::string_view text) {
  for (size_t i = 0; i < kCount; ++i)
    if (names[i] == text) return Scheme(i);
  return std::nullopt;
}

}  // namespace

std::span<const std::string_view> kv_scheme_names() { return kKvNames; }
std::span<const std::string_view> query_scheme_names() { return kQueryNames; }
std::span<const std::string_view> probability_scheme_names() { return kProbabilityNames; }

std::string_view name(KvScheme scheme) { return kKvNames[size_t(scheme)]; }
std::string_view name(QueryScheme scheme) { return kQueryNames[size_t(scheme)]; }
std::string_view name(ProbabilityScheme scheme) { return kProbabilityNames[size_t(scheme)]; }

std::optional<KvScheme> kv_scheme_from_name(std::string_view text) {
  return find<KvScheme>(kKvNames, text);
}
std::optional<QueryScheme> query_scheme_from_name(std::string_view text) {
  return find<QueryScheme>(kQueryNames, text);
}
std::optional<ProbabilityScheme> probability_scheme_from_name(std::string_view text) {
  return find<ProbabilityScheme>(kProbabilityNames, text);
}

}  // namespace emberq
