#include "format/scheme.h"

#include <charconv>

namespace emberq {
namespace {

// Takes `prefix` and the number after it off the front of `text`.
std::optional<int> take_number(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value <= 0) return std::nullopt;
  text.remove_prefix(size_t(end - text.data()));
  return value;
}

}  // namespace

std::string name(const WeightScheme& scheme) {
  return "int" + std::to_string(scheme.bits) + "-g" + std::to_string(scheme.group_size) +
         (scheme.product == WeightProduct::kE4m3 ? "-e4m3" : "");
}

std::optional<WeightScheme> weight_scheme_from_name(std::string_view text) {
  const auto bits = take_number(text, "int");
  const auto group_size = take_number(text, "-g");
  if (!bits || !group_size || *bits > 8) return std::nullopt;
  WeightScheme scheme{.bits = *bits, .group_size = *group_size};
  if (text == "-e4m3")
    scheme.product = WeightProduct::kE4m3;
  else if (!text.empty())
    return std::nullopt;
  return scheme;
}

std::string_view name(ActivationScheme scheme) {
  return scheme == ActivationScheme::kNone ? "none" : "fp8-token";
}
std::string_view name(KvScheme scheme) { return scheme == KvScheme::kFp ? "fp" : "kv4-head"; }
std::string_view name(QueryScheme scheme) {
  return scheme == QueryScheme::kNone ? "none" : "fp8-head";
}

namespace {

template <class Scheme>
std::optional<Scheme> one_of(std::string_view text, Scheme a, Scheme b) {
  if (text == name(a)) return a;
  if (text == name(b)) return b;
  return std::nullopt;
}

}  // namespace

std::optional<ActivationScheme> activation_scheme_from_name(std::string_view text) {
  return one_of(text, ActivationScheme::kNone, ActivationScheme::kFp8Token);
}
std::optional<KvScheme> kv_scheme_from_name(std::string_view text) {
  return one_of(text, KvScheme::kFp, KvScheme::kInt4Head);
}
std::optional<QueryScheme> query_scheme_from_name(std::string_view text) {
  return one_of(text, QueryScheme::kNone, QueryScheme::kFp8Head);
}

}  // namespace emberq
