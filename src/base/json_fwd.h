#pragma once

#include <nlohmann/json_fwd.hpp>

// For headers that only name these types: base/json.h costs each file that includes it a second and
// a half of compilation.
namespace emberq {

using Json = nlohmann::json;                 // keys sorted, found in O(log n)
using OrderedJson = nlohmann::ordered_json;  // keys as written; for files and reports we write
class JsonObject;

}  // namespace emberq
