#pragma once

#include <string>
#include <vector>

namespace emberq {

// A markdown table whose columns line up in a terminal too. The first row is the header; a cell
// that starts with a digit or a sign is set to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace emberq
