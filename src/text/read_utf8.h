#pragma once

#include <string>

#include "base/file.h"

namespace emberq {

// A whole text file. InputError names it where it cannot be read or is not UTF-8.
std::string read_utf8(const fs::path& path);

}  // namespace emberq
