#include "base/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace emberq {
namespace {

// Columns that a terminal gives the text: code points, which is right for what tables here hold.
size_t width(const std::string& text) {
  return size_t(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

bool is_number(const std::string& cell) {
  return !cell.empty() && (std::isdigit(static_cast<unsigned char>(cell[0])) ||
                           ((cell[0] == '-' || cell[0] == '+') && cell.size() > 1));
}

}  // namespace

std::string format_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  std::vector<bool> right;
  for (size_t r = 0; r < rows.size(); ++r)
    for (size_t c = 0; c < rows[r].size(); ++c) {
      if (widths.size() <= c) widths.push_back(3), right.push_back(rows.size() > 1);
      widths[c] = std::max(widths[c], width(rows[r][c]));
      if (r > 0 && !is_number(rows[r][c])) right[c] = false;
    }

  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t c = 0; c < widths.size(); ++c) {
      const std::string cell = c < rows[r].size() ? rows[r][c] : "";
      const std::string padding(widths[c] - width(cell), ' ');
      text += fmt::format("| {}{}{} ", right[c] ? padding : "", cell, right[c] ? "" : padding);
    }
    text += "|\n";
    if (r > 0) continue;
    for (size_t c = 0; c < widths.size(); ++c)
      text += fmt::format("|{:->{}}{}", "", widths[c] + 1, right[c] ? ":" : "-");
    text += "|\n";
  }
  return text;
}

}  // namespace emberq
