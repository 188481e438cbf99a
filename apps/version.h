#pragma once

#include <string_view>

namespace emberq {

// "0.1.0 (c2a9eed-dirty)": the project's version and what `git describe` says of the checkout. Its
// definition is written by tools/version.cmake in each build.
std::string_view version();
std::string_view release();  // "0.1.0"
std::string_view commit();   // "c2a9eed-dirty"; empty where the sources are no checkout

}  // namespace emberq
