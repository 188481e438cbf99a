#pragma once

#include <string_view>

namespace emberq {

// src/report/page.html, which the build compiles in (tools/embed.cmake).
std::string_view page_template();

}  // namespace emberq
