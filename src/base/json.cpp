#include "base/json.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <unordered_set>
#include <vector>

#include "base/check.h"

namespace emberq {
namespace {

constexpr int kMaxDepth = 100;  // what follows parsing recurses

// Refuses what the parser would let pass: a key that comes twice, of which it would keep the last,
// and nesting without end.
template <class AnyJson>
auto strictness(std::string_view where) {
  using Event = typename AnyJson::parse_event_t;
  return [where, keys = std::vector<std::unordered_set<std::string>>()](
             int depth, Event event, const AnyJson& value) mutable {
    EMBERQ_REQUIRE(depth < kMaxDepth, "{} is nested deeper than {} levels", where, kMaxDepth);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key)
      EMBERQ_REQUIRE(keys.back().insert(value.template get<std::string>()).second,
                     "{} has the key {} twice", where, value.dump());
    return true;
  };
}

template <class AnyJson>
AnyJson parse(std::string_view text, std::string_view where) {
  try {
    return AnyJson::parse(text, strictness<AnyJson>(where));
  } catch (const typename AnyJson::parse_error& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: ..." -> from "parse error"
    const std::string_view what = e.what();
    const size_t start = what.find("] ");
    throw InputError(fmt::format("{} is not valid JSON: {}", where,
                                 start == what.npos ? what : what.substr(start + 2)));
  } catch (const typename AnyJson::exception& e) {
    throw InputError(fmt::format("{} is not valid JSON: {}", where, e.what()));
  }
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where) { return parse<Json>(text, where); }
Json read_json(const fs::path& path) { return parse<Json>(read_text(path), path.string()); }
OrderedJson read_ordered_json(const fs::path& path) {
  return parse<OrderedJson>(read_text(path), path.string());
}

JsonObject::JsonObject(const Json& value, std::string where)
    : value_(&value), where_(std::move(where)) {
  EMBERQ_REQUIRE(value.is_object(), "{} must hold a JSON object, got {}", where_, shown(value));
}

std::string JsonObject::path(std::string_view key) const { return prefix_ + std::string(key); }

bool JsonObject::has(std::string_view key) const {
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

const Json& JsonObject::at(std::string_view key) const {
  EMBERQ_REQUIRE(has(key), "{}: {} is missing", where_, path(key));
  return *value_->find(key);
}

JsonObject JsonObject::object(std::string_view key) const {
  const Json& value = at(key);
  if (!value.is_object()) reject(key, "must be an object");
  JsonObject result(value, where_);
  result.prefix_ = path(key) + ".";
  return result;
}

const Json& JsonObject::array(std::string_view key) const {
  const Json& value = at(key);
  if (!value.is_array()) reject(key, "must be an array");
  return value;
}

void JsonObject::allow_only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : value_->items())
    EMBERQ_REQUIRE(value.is_null() || std::find(keys.begin(), keys.end(), key) != keys.end(),
                   "{}: {} is not a known key", where_, path(key));
}

void JsonObject::reject(std::string_view key, std::string_view complaint) const {
  const auto found = value_->find(key);
  throw InputError(fmt::format("{}: {} {}, got {}", where_, path(key), complaint,
                               found == value_->end() ? "nothing" : shown(*found)));
}

namespace {

// What a JSON value is as T, nullopt where it is no T; and what it must be.
template <class T>
struct Typed;

template <>
struct Typed<bool> {
  static constexpr const char* kMustBe = "must be true or false";
  static std::optional<bool> from(const Json& value) {
    return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
  }
};

template <>
struct Typed<int64_t> {
  static constexpr const char* kMustBe = "must be an integer";
  static std::optional<int64_t> from(const Json& value) {
    constexpr uint64_t kMax = uint64_t(std::numeric_limits<int64_t>::max());
    if (value.is_number_unsigned() && value.get<uint64_t>() > kMax) return std::nullopt;
    if (value.is_number_integer()) return value.get<int64_t>();
    if (!value.is_number_float()) return std::nullopt;
    const double number = value.get<double>();
    if (std::abs(number) >= 0x1p53 || number != std::trunc(number)) return std::nullopt;
    return int64_t(number);
  }
};

template <>
struct Typed<int> {
  static constexpr const char* kMustBe = "must be a 32-bit integer";
  static std::optional<int> from(const Json& value) {
    const auto number = Typed<int64_t>::from(value);
    return number && *number == int(*number) ? std::optional(int(*number)) : std::nullopt;
  }
};

template <>
struct Typed<double> {
  static constexpr const char* kMustBe = "must be a number";
  static std::optional<double> from(const Json& value) {
    return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
  }
};

template <>
struct Typed<float> {
  static constexpr const char* kMustBe = Typed<double>::kMustBe;
  static std::optional<float> from(const Json& value) {
    const auto number = Typed<double>::from(value);
    return number ? std::optional(float(*number)) : std::nullopt;
  }
};

template <>
struct Typed<std::string> {
  static constexpr const char* kMustBe = "must be a string";
  static std::optional<std::string> from(const Json& value) {
    return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
  }
};

template <class T>
struct Typed<std::vector<T>> {
  static constexpr const char* kMustBe = std::is_same_v<T, std::string>
                                             ? "must be a list of strings"
                                         : std::is_integral_v<T> ? "must be a list of integers"
                                                                 : "must be a list of numbers";
  static std::optional<std::vector<T>> from(const Json& value) {
    if (!value.is_array()) return std::nullopt;
    std::vector<T> list;
    for (const Json& element : value) {
      const auto typed = Typed<T>::from(element);
      if (!typed) return std::nullopt;
      list.push_back(*typed);
    }
    return list;
  }
};

}  // namespace

template <class T>
T JsonObject::get(std::string_view key) const {
  const auto typed = Typed<T>::from(at(key));
  if (!typed) reject(key, Typed<T>::kMustBe);
  return *typed;
}

template bool JsonObject::get(std::string_view) const;
template int64_t JsonObject::get(std::string_view) const;
template int JsonObject::get(std::string_view) const;
template double JsonObject::get(std::string_view) const;
template float JsonObject::get(std::string_view) const;
template std::string JsonObject::get(std::string_view) const;
template std::vector<int64_t> JsonObject::get(std::string_view) const;
template std::vector<int> JsonObject::get(std::string_view) const;
template std::vector<float> JsonObject::get(std::string_view) const;
template std::vector<std::string> JsonObject::get(std::string_view) const;

}  // namespace emberq
