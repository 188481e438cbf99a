#pragma once

#include <string>
#include <string_view>

#include "base/file.h"

namespace emberq {

// InputError "WHAT is not UTF-8 at byte N" where the text is not.
void require_utf8(std::string_view text, std::string_view what);

// A whole text file. InputError names it where it cannot be read or is not UTF-8.
std::string read_utf8(const fs::path& path);

}  // namespace emberq
