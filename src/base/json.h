#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/json_fwd.h"

// The only door to nlohmann/json: parsing that names the file, and typed access that names the key.
namespace emberq {

// InputError: "config.json is not valid JSON: ..." `where` names the text in the message. A key
// that comes twice is refused too.
Json parse_json(std::string_view text, std::string_view where);
Json read_json(const fs::path& path);
OrderedJson read_ordered_json(const fs::path& path);

// An object with its place in a file, so that errors say "config.json: rope_scaling.factor must be
// a number, got "eight"". A JSON null counts as absent. Views: the document must outlive them.
class JsonObject {
 public:
  JsonObject(const Json& value, std::string where);  // InputError where value is not an object

  bool has(std::string_view key) const;
  const Json& at(std::string_view key) const;  // InputError where absent
  JsonObject object(std::string_view key) const;
  const Json& array(std::string_view key) const;

  // T is bool, int64_t, int, double, float, std::string, or a vector of int64_t, int, float or
  // std::string. Integers are range-checked; a float is accepted for an integer only where it is
  // integral, as Python writes 1e5.
  template <class T>
  T get(std::string_view key) const;
  template <class T>
  T get_or(std::string_view key, T fallback) const {
    return has(key) ? get<T>(key) : fallback;
  }

  // InputError where a key is none of these: where a typing error, or a key of a later version,
  // must not pass for a default.
  void allow_only(std::initializer_list<std::string_view> keys) const;

  const Json& json() const { return *value_; }
  const std::string& where() const { return where_; }
  // The InputError for this key: "WHERE: KEY <complaint>, got <value>".
  [[noreturn]] void reject(std::string_view key, std::string_view complaint) const;

 private:
  std::string path(std::string_view key) const;

  const Json* value_;
  std::string where_;   // file
  std::string prefix_;  // dotted path of this object inside the file, with a trailing dot
};

}  // namespace emberq
