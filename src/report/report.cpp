#include "report/report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "base/check.h"
#include "base/json.h"
#include "report/template.h"

namespace emberq {
namespace {

constexpr std::string_view kMarker = "{{DATA}}";  // where the data goes in page.html

enum class Kind { kString, kObject, kRows, kStrings };

struct Section {
  std::string_view key;
  Kind kind;
};

constexpr std::array kSections{
    Section{"title", Kind::kString},     Section{"model", Kind::kString},
    Section{"recipe", Kind::kString},    Section{"created", Kind::kString},
    Section{"version", Kind::kString},   Section{"command", Kind::kString},
    Section{"summary", Kind::kObject},   Section{"methods", Kind::kRows},
    Section{"linears", Kind::kRows},     Section{"keys", Kind::kRows},
    Section{"activations", Kind::kRows}, Section{"layer_errors", Kind::kRows},
    Section{"choices", Kind::kRows},     Section{"notes", Kind::kStrings},
};

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kString:
      return "a string";
    case Kind::kObject:
      return "an object";
    case Kind::kRows:
      return "a list of objects";
    case Kind::kStrings:
      return "a list of strings";
  }
  return "";
}

bool is_kind(const OrderedJson& value, Kind kind) {
  const auto every = [&](auto is) {
    return value.is_array() && std::all_of(value.begin(), value.end(), is);
  };
  switch (kind) {
    case Kind::kString:
      return value.is_string();
    case Kind::kObject:
      return value.is_object();
    case Kind::kRows:
      return every([](const OrderedJson& row) { return row.is_object(); });
    case Kind::kStrings:
      return every([](const OrderedJson& row) { return row.is_string(); });
  }
  return false;
}

// A misspelled section would be left out of the page without a word.
void check(const OrderedJson& data) {
  EMBERQ_REQUIRE(data.is_object(), "the report's data must be an object, got {}", data.type_name());
  for (const auto& [key, value] : data.items()) {
    const auto section = std::find_if(kSections.begin(), kSections.end(),
                                      [&name = key](const Section& s) { return s.key == name; });
    EMBERQ_REQUIRE(section != kSections.end(), "the report's data: {} is not a known key", key);
    EMBERQ_REQUIRE(value.is_null() || is_kind(value, section->kind),
                   "the report's data: {} must be {}", key, name_of(section->kind));
  }
}

// A float that became a double would be written with 17 digits, of which 10 say nothing.
void round_numbers(OrderedJson& value) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isfinite(number)) value = std::strtod(fmt::format("{:.6g}", number).c_str(), nullptr);
  } else if (value.is_structured()) {
    for (OrderedJson& element : value) round_numbers(element);
  }
}

// JSON that may stand in a <script>: there, "</script" and "<!--" have a meaning even in a string,
// and "<" occurs nowhere else in JSON.
std::string embeddable(const OrderedJson& data) {
  const std::string json = data.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  std::string text;
  text.reserve(json.size());
  for (const char c : json) {
    if (c == '<')
      text += "\\u003c";
    else
      text += c;
  }
  return text;
}

}  // namespace

std::string report_page(const OrderedJson& data) {
  check(data);
  OrderedJson rounded = data;
  round_numbers(rounded);
  std::string page(page_template());
  const size_t marker = page.find(kMarker);
  EMBERQ_CHECK(marker != page.npos, "the template of the report has no place for the data");
  return page.replace(marker, kMarker.size(), embeddable(rounded));
}

}  // namespace emberq
